"""Bodies of requests: JSON decoded into typed forms, every fault with the field's place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec
import msgspec.inspect

from marketbell.control.payloads import check_twice
from marketbell.control.shapes import Field
from marketbell.errors import InvalidError

T = TypeVar("T")

BODY: Final = ("body",)

_FAULT: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_FIELD: Final = re.compile(
    r"Object (?:missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL
)
_SHOWN: Final = 64


class Decoder(Generic[T]):
    """Decodes one kind of body; fields that are not known are refused."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, body: bytes) -> T:
        """
        The typed form of a body.

        Raises InvalidError: not JSON, not UTF-8, a key twice in one object, or a field that is
        missing, unknown or of another type, with its place.
        """
        form = self.unchecked(body)
        check_twice(body, BODY)
        return form

    def unchecked(self, body: bytes) -> T:
        """The same, but of keys that are there twice the last one counts."""
        try:
            return self._decode(body)
        except msgspec.ValidationError as fault:
            raise mistyped(str(fault), self._kind) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise malformed(fault) from None


def malformed(fault: Exception) -> InvalidError:
    """The error for bytes that are not JSON."""
    if isinstance(fault, UnicodeDecodeError):
        detail = "The body is not UTF-8; encode it as UTF-8, without compression"
    elif isinstance(fault, RecursionError):
        detail = "The body is nested too deep; flatten it"
    else:
        what = str(fault).removeprefix("JSON is malformed: ")
        what = what.replace("Input data was truncated", "it is empty, or its end is missing")
        detail = f"The body is not JSON: {what}"
    return InvalidError(BODY, detail, kind="value_error.jsondecode")


def mistyped(text: str, kind: type | None = None) -> InvalidError:
    """The error for what the decoder of a kind of body refused, from its text."""
    found = _FAULT.fullmatch(text)
    what, path = (found["what"], found["path"] or "") if found else (text, "")
    place: list[str | int] = [
        name or (int(index) if index.isdigit() else index) for name, index in _STEP.findall(path)
    ]
    named = _FIELD.fullmatch(what)
    if named is None:
        wanted = what[:200].replace("`", "'")
        words = _words(kind, place) if kind is not None and what.startswith("Invalid enum") else ()
        if words:
            detail = f"{wanted}; give one of {', '.join(words)}"
            return InvalidError((*BODY, *place), detail, kind="type_error")
        return InvalidError((*BODY, *place), f"{wanted} here", kind="type_error")
    field: Field = (*BODY, *place, named["name"][:_SHOWN])
    if "missing" in what:
        return InvalidError(
            field, "The field is missing; it is required", kind="value_error.missing"
        )
    return InvalidError(field, "There is no such field; remove it", kind="value_error.extra")


def _words(kind: type, place: Sequence[str | int]) -> tuple[str, ...]:
    """The words that may stand at a place of a body; none if it is not one of words."""
    at: msgspec.inspect.Type | None = msgspec.inspect.type_info(kind)
    for step in [*place, None]:
        options = at.types if isinstance(at, msgspec.inspect.UnionType) else (at,)
        at = next((one for one in options if _holds(one, step)), None)
        if isinstance(at, msgspec.inspect.StructType):
            at = next((field.type for field in at.fields if field.encode_name == step), None)
        elif isinstance(at, msgspec.inspect.DictType):
            at = at.value_type
        elif isinstance(at, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
            at = at.item_type
    if isinstance(at, msgspec.inspect.EnumType):
        return tuple(str(one.value) for one in at.cls)
    if isinstance(at, msgspec.inspect.LiteralType):
        return tuple(str(word) for word in at.values)
    return ()


def _holds(kind: msgspec.inspect.Type | None, step: str | int | None) -> bool:
    """Whether a value of this kind may have such a part; None asks for one of words."""
    match step:
        case None:
            return isinstance(kind, (msgspec.inspect.EnumType, msgspec.inspect.LiteralType))
        case str():
            return isinstance(kind, (msgspec.inspect.StructType, msgspec.inspect.DictType))
    return isinstance(kind, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType))


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields: the body of a POST that takes none, and of an answer that says no more."""


NOTHING: Final = Decoder(Nothing)
"""Refuses every body but `{}`."""
