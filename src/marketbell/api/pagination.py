"""Lists in slices: `limit`, `iterator`, `prevIterator`, `order`, and the body of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.api.instants import iso
from marketbell.api.query import Query
from marketbell.control.shapes import check_event_type
from marketbell.errors import InvalidError
from marketbell.store.base import Page, Slice

T = TypeVar("T")
Wire = TypeVar("Wire")

LIMIT_MAX: Final = 250
LIMIT_DEFAULT: Final = 50

PARAMETERS: Final = ("limit", "iterator")
ORDERED: Final = (*PARAMETERS, "order")


class ListOut(msgspec.Struct, Generic[Wire], frozen=True, rename="camel"):
    """The body of every list."""

    data: Sequence[Wire]
    iterator: str | None
    """Give it back to go on."""
    prev_iterator: str | None
    """Give it back to see what came before."""
    done: bool
    looked_to: str | UnsetType = UNSET
    """Where a search stopped for want of time; what lies behind it comes with the next page."""


def page_of(query: Query, prefix: str | None, *, newest_first: bool = False) -> Page:
    """
    The slice that a request asks for; `prefix` is that of the ids, None for names.

    Raises InvalidError for a limit outside of 1 to 250 and for an iterator that no list gave.
    """
    limit = query.number("limit", range(1, LIMIT_MAX + 1))
    order = query.text("order")
    if order not in {None, "ascending", "descending"}:
        raise InvalidError(("query", "order"), "The order is ascending or descending")
    descending = newest_first if order is None else order == "descending"
    iterator = query.text("iterator")
    after = before = None
    if iterator is not None and iterator.startswith("-"):
        before = _place(iterator[1:], prefix)
    elif iterator is not None:
        after = _place(iterator, prefix)
    return Page(limit=limit or LIMIT_DEFAULT, after=after, before=before, descending=descending)


def list_of(part: Slice[T], shown: Callable[[T], Wire], place: Callable[[T], str]) -> ListOut[Wire]:
    """A slice as the body of a list; `place` is what an iterator names."""
    data, stop = part.data, part.stopped
    first, last = (place(data[0]), place(data[-1])) if data else (None, None)
    if stop is not None:
        first = stop.place if stop.backward else first or stop.place
        last = last or stop.place if stop.backward else stop.place
    return ListOut(
        [shown(item) for item in data],
        last,
        None if first is None else f"-{first}",
        part.done,
        UNSET if stop is None else iso(stop.at),
    )


def _place(text: str, prefix: str | None) -> str:
    field = ("query", "iterator")
    if prefix is None:
        check_event_type(text, field)
    elif not ids.is_id(prefix, text):
        raise InvalidError(
            field, f"{text[:64]!r} is no iterator of this list; give back one that it gave"
        )
    return text
