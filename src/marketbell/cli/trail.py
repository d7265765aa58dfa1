"""What is new in a list that shows the newest first: each element once, oldest first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from marketbell.cli.patience import Patience
    from marketbell.cli.shell import Query
    from marketbell.cli.tables import Thing

_PAGE: Final = 250
_QUIET_S: Final = 10.0
"""After so long without anything that passes, what does not pass is walked over for good."""


class Trail:
    """
    One list of the API with its filters, followed by its iterators.

    The list is in the order in which things were recorded, so nothing can come in behind the
    place where this stands: none is missed and none comes twice, whatever happens in between.
    """

    def __init__(self, patience: Patience, path: str, query: Query) -> None:
        self._patience = patience
        self._path = path
        self._query = {**query, "limit": _PAGE}
        self._place: str | None = None
        self._moved = time.monotonic()

    def begin(self, since: str | None) -> Iterator[Thing]:
        """Stand at the end of the list; with a time, give what there is from then on first."""
        self._place = self._end()
        if since is not None:
            yield from self._whole({**self._query, "after": since})

    def new(self) -> Iterator[Thing]:
        """What has come since."""
        quiet = time.monotonic() - self._moved >= _QUIET_S
        # Asked for first: what is recorded after it is asked for below.
        end = self._end() if quiet else None
        found = False
        for thing in self._above() if self._place else self._whole(self._query):
            found = True
            yield thing
        if found or quiet:
            self._moved = time.monotonic()
        if not found and end is not None:
            self._place = end

    def _end(self) -> str | None:
        newest = self._patience.get(self._path, {"limit": 1, "with_content": "false"})
        place: str | None = newest["prevIterator"]
        return place

    def _above(self) -> Iterator[Thing]:
        while True:
            page = self._patience.get(self._path, {**self._query, "iterator": self._place})
            self._place = page["prevIterator"] or self._place
            yield from reversed(page["data"])
            if page["done"]:
                return

    def _whole(self, query: Query) -> Iterator[Thing]:
        page = self._patience.get(self._path, query)
        place, things = page["prevIterator"], list[Any](page["data"])
        while not page["done"]:
            page = self._patience.get(self._path, {**query, "iterator": page["iterator"]})
            things += page["data"]
        self._place = place or self._place
        yield from reversed(things)
