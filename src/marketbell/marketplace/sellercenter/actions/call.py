"""Actions and calls: one action's work with its rules, and one request as it sees it."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element as Posted

import msgspec

from marketbell.marketplace.sellercenter import times
from marketbell.marketplace.sellercenter.envelope import Success
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Instant

GET: Final = frozenset({"GET"})
POST: Final = frozenset({"POST"})

_WHOLE: Final = re.compile(r"[0-9]{1,18}")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request whose signature was good."""

    seller: Seller
    parameters: Mapping[str, str]
    """Decoded."""
    posted: Posted | None = None
    """The `Request` element of the body, for actions that take one."""
    zone: datetime.tzinfo
    """Of all times that are shown."""

    def text(self, name: str) -> str:
        """A parameter, "" if it is not there."""
        return self.parameters.get(name, "").strip()

    def needed(self, name: str) -> str:
        """A parameter that must be there. ActionError 1."""
        text = self.text(name)
        if not text:
            raise ActionError(1, name)
        return text

    def count(self, name: str, default: int, bounds: tuple[int, int], number: int) -> int:
        """A whole number within bounds, both included. ActionError of that number."""
        text = self.text(name)
        if not text:
            return default
        if not _WHOLE.fullmatch(text) or not bounds[0] <= int(text) <= bounds[1]:
            raise ActionError(number, text[:64])
        return int(text)

    def instant(self, name: str, number: int) -> Instant | None:
        """A date or time, None if it is not there. ActionError of that number."""
        text = self.text(name)
        if not text:
            return None
        at = times.read_filter(text, self.zone)
        if at is None:
            raise ActionError(number, text[:64])
        return at

    def until(self, name: str, number: int) -> Instant | None:
        """The end of what a date or time still names, None if it is not there: the next second."""
        at = self.instant(name, number)
        return None if at is None else at + 1_000

    @property
    def request(self) -> Posted:
        """The posted `Request`. ActionError 30 if there is none."""
        if self.posted is None:
            raise ActionError(30)
        return self.posted


Work: TypeAlias = Callable[[Call], Awaitable[Success]]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One action: how it is called, and what it does."""

    name: str
    methods: frozenset[str]
    work: Work
    versions: tuple[str, ...] = ("1.0",)
    takes_body: bool = False


def bracketed(text: str) -> list[str] | None:
    """
    The values of a list in brackets, None if it is none: `["a","b"]`, `[1,2]`, `[a, b]`.

    JSON first; what is no JSON is split at its commas, for callers that leave out the quotes.
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = [part.strip().strip("\"'") for part in text[1:-1].split(",")]
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
        return None
    return [str(value) for value in values if str(value)]


def whole(text: str) -> int | None:
    """An id in digits, None for anything else."""
    return int(text) if _WHOLE.fullmatch(text) else None
