"""A walk over a table: every row once, those that stay once an hour."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from marketbell.store.walk import ROUND_MS, Walk


class Shelf:
    """Rows in order of keys, which count how often they are read."""

    def __init__(self, rows: Iterable[tuple[int, int]]) -> None:
        self.rows = dict(rows)
        self.reads = 0

    def between(self, low: int, high: int, limit: int) -> list[tuple[Any, ...]]:
        found = [row for row in sorted(self.rows.items()) if low < row[0] <= high][:limit]
        self.reads += len(found)
        return [tuple(row) for row in found]

    def step(self, walk: Walk[int], now: int, limit: int = 10) -> list[int]:
        """One step that takes nothing away; the keys that it saw."""
        return [
            row[0] for row in walk.past(self.between, 1 << 40, cutoff=now, now=now, limit=limit)
        ]


def test_rows_that_stay_are_looked_at_once_an_hour() -> None:
    shelf = Shelf((key, key) for key in range(1, 1001))
    walk = Walk[int](0)
    now = 10_000
    while not walk.done:
        shelf.step(walk, now)
    assert shelf.reads == 2 * 1000
    for _ in range(500):
        now += 1
        shelf.step(walk, now)
        assert walk.done
    assert shelf.reads == 2 * 1000
    now += ROUND_MS
    steps = 0
    while not steps or not walk.done:
        before = shelf.reads
        shelf.step(walk, now)
        assert shelf.reads - before <= 10
        steps += 1
    assert shelf.reads == 3 * 1000


def test_a_step_that_stops_early_goes_on_with_the_next_row() -> None:
    shelf = Shelf((key, key) for key in range(1, 8))
    walk = Walk[int](0)
    for row in walk.past(shelf.between, 100, cutoff=100, now=100, limit=10):
        if row[0] == 3:
            break
    assert not walk.done
    assert shelf.step(walk, 100)[:4] == [4, 5, 6, 7]


def test_a_step_may_be_taken_back() -> None:
    shelf = Shelf((key, key) for key in range(1, 8))
    walk = Walk[int](0)
    first = shelf.step(walk, 100, limit=5)
    walk.back()
    assert not walk.done
    assert shelf.step(walk, 100, limit=5) == first == [1, 2, 3, 4, 5]
