"""Bodies of requests: JSON decoded into typed forms, every fault with the field's place."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

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
_ANY_KEY: Final = "..."
"""What stands for the key of a map in the decoder's own words."""
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
            raise self._mistyped(body, str(fault)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise malformed(fault) from None

    def _mistyped(self, body: bytes, text: str) -> InvalidError:
        """The error for what was refused, with the keys where a map's place leaves them out."""
        fault = mistyped(text, self._kind)
        place = list(fault.field[len(BODY) :])
        if _ANY_KEY not in place[1:]:
            return fault
        try:
            whole = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
            return malformed(broken)
        for at, step in enumerate(place):
            if step == _ANY_KEY:
                key = self._key_refused(whole, place[:at], text)
                if key is None:  # what was refused is not what the key stands for at last
                    check_twice(body, BODY)
                    return fault
                place[at] = key
        shown = [step[:_SHOWN] if isinstance(step, str) else step for step in place]
        return InvalidError((*BODY, *shown), fault.detail, kind=fault.kind)

    def _key_refused(self, whole: Any, place: Sequence[str | int], text: str) -> str | None:
        """The first key of the map there whose value is refused so; the map has no other afterwards."""
        first, last = place[0], place[-1]
        holder = whole
        for step in place[:-1]:
            holder = holder[step]
        held: dict[str, object] = holder[last]
        keys = list(held)

        def refused(count: int) -> bool:
            holder[last] = {key: held[key] for key in keys[:count]}
            try:
                # Alone: a field that is missing is told after all values.
                self._decode(msgspec.json.encode({first: whole[first]}))
            except msgspec.ValidationError as fault:
                return str(fault) == text
            return False

        if not refused(len(keys)):
            return None
        at = bisect.bisect_left(range(len(keys)), True, key=lambda place: refused(place + 1))
        holder[last] = {keys[at]: held[keys[at]]}
        return keys[at]


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
