"""What `marketbell message tail` follows: a list that grows between any two questions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.cli import trail
from marketbell.cli.trail import Trail


class Growing:
    """A list of the API: numbers, newest first; new ones come before any question is answered."""

    def __init__(self, present: int, arrivals: list[int], page: int, search: int) -> None:
        self.count = present
        self._arrivals = arrivals
        self._page = page
        self._search = search
        """How many rows a search looks at before it stops for want of time."""

    def get(self, _path: str, query: dict[str, Any]) -> dict[str, Any]:
        self.count += self._arrivals.pop() if self._arrivals else 0
        limit = min(self._page, query["limit"])
        iterator = query.get("iterator")
        if iterator is not None and iterator.startswith("-"):
            return self._slice(range(int(iterator[1:]) + 1, self.count), limit, query, up=True)
        newest = self.count if iterator is None else int(iterator)
        return self._slice(range(newest - 1, -1, -1), limit, query, up=False)

    def _slice(self, rows: range, limit: int, query: dict[str, Any], *, up: bool) -> dict[str, Any]:
        looked = rows if len(rows) <= self._search else rows[: self._search]
        passing = [row for row in looked if "status" not in query or row % query["status"] == 0]
        data = passing[:limit]
        stop = looked[-1] if len(looked) < len(rows) and len(passing) <= limit else None
        shown = data[::-1] if up else data
        first, last = (shown[0], shown[-1]) if shown else (None, None)
        if stop is not None:
            first, last = (stop, last) if up else (first or stop, stop)
        return {
            "data": [{"id": row} for row in shown],
            "iterator": None if last is None else str(last),
            "prevIterator": None if first is None else f"-{first}",
            "done": stop is None and len(passing) <= limit,
        }


@given(
    present=st.integers(0, 12),
    arrivals=st.lists(st.integers(0, 5), max_size=30),
    page=st.integers(1, 4),
    search=st.integers(1, 7),
    modulus=st.sampled_from([1, 2, 3, 50]),
    since=st.booleans(),
    quiet=st.booleans(),
)
def test_none_is_missed_and_none_comes_twice(
    present: int,
    arrivals: list[int],
    page: int,
    search: int,
    modulus: int,
    since: bool,
    quiet: bool,
) -> None:
    growing = Growing(present, arrivals, page, search)
    query = {} if modulus == 1 else {"status": modulus}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trail, "_QUIET_S", 0.0 if quiet else 1e9)
        follower = Trail(growing, "/attempt", query)  # type: ignore[arg-type]
        seen = [thing["id"] for thing in follower.begin("then" if since else None)]
        begun = 0 if since else growing.count
        while arrivals:
            seen += [thing["id"] for thing in follower.new()]
        for _ in range(3):
            seen += [thing["id"] for thing in follower.new()]
    assert seen == [row for row in range(begun, growing.count) if row % modulus == 0]
