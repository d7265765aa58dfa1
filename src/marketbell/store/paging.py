"""Slices of lists by key: between which keys, which way, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from marketbell import ids
from marketbell.errors import InvalidError
from marketbell.model import NEVER
from marketbell.store import keys
from marketbell.store.base import Page, Slice
from marketbell.store.statements import Statement
from marketbell.store.transaction import Transaction, Value

T = TypeVar("T")
Key = TypeVar("Key", int, str)

_ABOVE_NAMES: Final = "\U0010ffff"
"""The last character there is; texts are compared byte by byte, and no name begins with it."""


class Span(msgspec.Struct, Generic[Key], frozen=True, kw_only=True):
    """The rows of a page: keys above `low` and below `high`, walked down or up."""

    low: Key
    high: Key
    down: bool
    reverse: bool
    """Walked against the list's order, because what lies before a row was asked for."""
    limit: int

    @property
    def way(self) -> str:
        """How the name of the statement that walks this way ends."""
        return "down" if self.down else "up"

    @property
    def values(self) -> dict[str, Value]:
        """Parameters of the statement; it reads one row more than is shown."""
        return {"low": self.low, "high": self.high, "limit": self.limit + 1}

    def slice(self, rows: Sequence[Any], value: Callable[[Any], T]) -> Slice[T]:
        """What was asked for, in the list's order, with whether anything follows."""
        kept = list(rows[: self.limit])
        if self.reverse:
            kept.reverse()
        return Slice(data=tuple(value(row) for row in kept), done=len(rows) <= self.limit)


def span_of_ids(
    transaction: Transaction, position: Statement, prefix: str, page: Page, *, descending: bool
) -> Span[int]:
    """
    The span of a page in a list that is ordered by integer keys.

    `position` is the statement that finds a public id's place. An id that is no longer kept
    stands where it would have stood. InvalidError for what is not an id of that kind.
    """

    def place(public_id: str) -> tuple[int, int]:
        if not ids.is_id(prefix, public_id):
            raise InvalidError(
                ("query", "iterator"),
                f"The iterator {public_id!r} is not an id that begins with {prefix}; "
                "give one that a list has returned.",
            )
        key = ids.key_of(public_id)
        if key is not None:
            return key, key
        row: Any = transaction.row(position, {"public_id": public_id, **keys.around(public_id)})
        if row is None:
            return NEVER, NEVER
        key, found = row
        return (key, key) if found else (key - 1, key)

    return _span(page, place, 0, NEVER, descending=descending)


def span_of_names(page: Page) -> Span[str]:
    """The span of a page in a list that is ordered by names."""

    def place(name: str) -> tuple[str, str]:
        return name, name

    return _span(page, place, "", _ABOVE_NAMES, descending=page.descending)


def _span(
    page: Page, place: Callable[[str], tuple[Key, Key]], low: Key, high: Key, *, descending: bool
) -> Span[Key]:
    """`place` gives the `low` of what is above an id and the `high` of what is below it."""
    above, below = (page.before, page.after) if descending else (page.after, page.before)
    if above is not None:
        low = place(above)[0]
    if below is not None:
        high = place(below)[1]
    reverse = page.before is not None and page.after is None
    return Span(low=low, high=high, down=descending != reverse, reverse=reverse, limit=page.limit)
