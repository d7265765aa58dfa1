"""Query strings: parameters read one by one, unknown ones refused."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from marketbell.api.instants import instant_of
from marketbell.control.shapes import EVENT_TYPES_MAX, check_event_type
from marketbell.errors import InvalidError
from marketbell.model import Instant

_PARAMETERS_MAX: Final = 600
_LISTED: Final = re.compile(r"(event_types)\[[0-9]*\]")
_EVENT_TYPES: Final = "event_types"
_WHOLE: Final = re.compile(r"-?[0-9]{1,9}")
_ZONE: Final = re.compile(r" ([0-9]{2}:?[0-9]{2})$")


class Query:
    """
    The parameters of one request.

    Raises InvalidError for a parameter that the operation does not have, so that no filter is
    passed over in silence, and for one that is empty or there twice.
    """

    def __init__(self, raw: bytes, known: Collection[str]) -> None:
        self.known = known
        """The parameters that the operation has."""
        self._texts: dict[str, str] = {}
        self._event_types: list[str] = []
        try:
            pairs = parse_qsl(
                raw.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_PARAMETERS_MAX,
            )
        except ValueError:
            raise InvalidError(("query",), "The query string cannot be read") from None
        for written, text in pairs:
            name = _LISTED.sub(r"\1", written)
            if name not in known:
                raise InvalidError(
                    ("query", written[:64]),
                    "There is no such parameter here"
                    + (f"; there are {', '.join(known)}" if known else ""),
                )
            if "\x00" in text:
                raise InvalidError(
                    ("query", name), "The parameter has the character NUL; remove it"
                )
            if not text:
                raise InvalidError(
                    ("query", name), "The parameter is empty; give it a value or leave it out"
                )
            if name == _EVENT_TYPES:
                self._event_types.extend(text.split(","))
            elif name in self._texts:
                raise InvalidError(("query", name), "The parameter is there twice")
            else:
                self._texts[name] = text

    def text(self, name: str) -> str | None:
        """A parameter as it stands; None if it is not there."""
        return self._texts.get(name)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """`true` or `false`."""
        text = self._texts.get(name)
        if text is None:
            return default
        if text.lower() in {"true", "1"}:
            return True
        if text.lower() in {"false", "0"}:
            return False
        raise InvalidError(("query", name), f"{text[:64]!r} is neither true nor false")

    def number(self, name: str, allowed: Collection[int]) -> int | None:
        """A whole number that is allowed."""
        text = self.text(name)
        if text is None:
            return None
        if _WHOLE.fullmatch(text) and int(text) in allowed:
            return int(text)
        if isinstance(allowed, range):
            wanted = f"from {allowed.start} to {allowed.stop - 1}"
        else:
            wanted = f"of {', '.join(str(number) for number in allowed)}"
        raise InvalidError(("query", name), f"{text[:64]!r} is not a whole number {wanted}")

    def instant(self, name: str) -> Instant | None:
        """A time in ISO 8601; a `+` that was not encoded, and so became a space, is forgiven."""
        text = self.text(name)
        if text is None:
            return None
        return instant_of(_ZONE.sub(r"+\1", text), ("query", name))

    def event_types(self) -> frozenset[str] | None:
        """`event_types` as `a,b`, repeated, or as `event_types[]=a` and `event_types[0]=a`."""
        names = frozenset(name for name in self._event_types if name)
        if len(names) > EVENT_TYPES_MAX:
            raise InvalidError(("query", _EVENT_TYPES), f"At most {EVENT_TYPES_MAX} event types")
        for name in names:
            check_event_type(name, ("query", _EVENT_TYPES))
        return names or None
