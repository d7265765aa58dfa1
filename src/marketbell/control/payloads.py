"""Which payloads are taken: one JSON object in strict UTF-8 that every reader reads alike. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

from marketbell.control.shapes import Field
from marketbell.errors import InvalidError

DEPTH_MAX: Final = 64
"""Objects and lists within one another."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPE: Final = re.compile(rb'\\(?:["\\]|u00)')
"""An escape of a quote, or of what may be one or a backslash."""
_TWOFOLD: Final = re.compile(rb"\\(?:\\|u00)")
_NOT_BRACKETS: Final = bytes(value for value in range(256) if value not in b"{}[]")
_ROUND: Final = bytes.maketrans(b"{}[]", b"()()")
_DECODE: Final = msgspec.json.Decoder().decode
_RAW: Final = msgspec.json.Decoder(msgspec.Raw).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def check_payload(payload: bytes, field: Field) -> None:
    """
    Return if the bytes are one JSON object that cannot be read in two ways.

    Refused with InvalidError are: anything but an object; what is not UTF-8; half surrogate
    pairs and NUL in strings; keys that are twice in one object; numbers that no double or
    4,300 digits hold; more than 64 levels.
    """
    if payload[:1] != b"{":
        raise InvalidError(field, "The payload must be a JSON object, written as {...}")
    if payload.count(b"{") + payload.count(b"[") > DEPTH_MAX and _deeper(payload, DEPTH_MAX):
        raise InvalidError(
            field, f"The payload is nested deeper than {DEPTH_MAX} levels; flatten it"
        )
    try:
        value = _DECODE(payload)
    except UnicodeDecodeError:
        raise InvalidError(field, "The payload is not UTF-8; encode it as UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as fault:
        raise InvalidError(
            field, f"The payload is not JSON ({fault})", kind="value_error.jsondecode"
        ) from None
    if _doubtful(payload, _ENCODE(value)):
        check_twice(payload, field)
        if _NUL.search(payload):
            raise InvalidError(field, "The payload has the character U+0000; remove it")


def _doubtful(payload: bytes, again: bytes) -> bool:
    """
    Whether a text may hold a key twice, or NUL; `again` is its value written anew.

    Each has as many quotes around strings as the other, unless a key fell away. They can be told
    from quotes within strings where no backslash is itself escaped.
    """
    if b"\\" not in payload:
        return again != payload and again.count(b'"') != payload.count(b'"')
    escape = _ESCAPE.search(payload)
    if escape is None:
        return again.count(b'"') != payload.count(b'"')
    if _TWOFOLD.search(payload, escape.start()):
        return True
    return _around(again) != _around(payload)


def _around(text: bytes) -> int:
    return text.count(b'"') - text.count(b'\\"')


def is_object(payload: bytes) -> bool:
    """Whether the bytes are a well-formed JSON object and nothing else."""
    if payload[:1] != b"{":
        return False
    try:
        _RAW(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def check_twice(text: bytes, field: Field) -> None:
    """Return if no object of a well-formed JSON text has a key twice; else raise InvalidError."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InvalidError(
                field, f"The key {_twice(pairs)[:64]!r} is twice in one object; send it once"
            )
        return found

    try:
        json.loads(text, object_pairs_hook=unique, parse_int=_skip, parse_float=_skip)
    except UnicodeDecodeError:
        raise InvalidError(field, "The text is not UTF-8; encode it as UTF-8") from None
    except RecursionError:
        raise InvalidError(field, "The text is nested too deep; flatten it") from None


def _twice(pairs: list[tuple[str, object]]) -> str:
    """The first key that has stood there before."""
    seen: set[str] = set()
    for key, _value in pairs:
        if key in seen:
            return key
        seen.add(key)
    raise LookupError("each key is there once")


def _skip(_number: str) -> None:
    return None


def _deeper(text: bytes, levels: int) -> bool:
    """Whether more brackets stand within one another; each round takes the innermost away."""
    brackets = _STRING.sub(b"", text).translate(_ROUND, _NOT_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"()", b"")
    return bool(brackets)
