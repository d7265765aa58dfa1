"""A walk over a table in order of age that reads a bounded part of it at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeAlias, TypeVar

from marketbell.model import Instant, Millis

Key = TypeVar("Key", int, tuple[int, int])
Rows: TypeAlias = list[tuple[Any, ...]]

ROUND_MS: Final[Millis] = 3_600_000
"""How often rows that were passed over are looked at again."""


class Walk(Generic[Key]):
    """
    Where the next step begins; kept in memory only, for a new walk finds the same rows again.

    The front goes through every row once and stops at the first that is too young. Rows that
    were passed over, because something still needs them, lie behind it; a round goes through
    those once an hour. Each step reads at most twice its limit, so that it takes as long
    whether ten or ten million rows are left behind.
    """

    def __init__(self, start: Key) -> None:
        self._start: Key = start
        self._front: Key = start
        self._round: Key = start
        self._round_at: Instant | None = None
        self._before: tuple[Key, Key, Instant | None] = (start, start, None)
        self.done = False
        """Whether the last step has come to an end for now."""

    def past(
        self,
        between: Callable[[Key, Key, int], Rows],
        end: Key,
        *,
        cutoff: Instant,
        now: Instant,
        limit: int,
    ) -> Iterator[tuple[Any, ...]]:
        """
        Rows from before or at `cutoff`, for one step; each begins with its key and its instant.

        `between(low, high, limit)` gives the rows above `low` up to `high` in order of keys.
        Rows from the future, which a clock left behind that was set back, are passed over.
        A caller that stops early finds the next row in the next step.
        """
        front = self._front
        self._before = (front, self._round, self._round_at)
        self.done = False
        rows = between(front, end, limit)
        for row in rows:
            if cutoff < row[1] <= now:
                break
            self._front = row[0]
            if row[1] <= cutoff:
                yield row
        else:
            if len(rows) == limit:
                return
        if self._round == self._start:
            if self._round_at is not None and 0 <= now - self._round_at < ROUND_MS:
                self.done = True
                return
            self._round_at = now
        rows = between(self._round, front, limit)
        for row in rows:
            self._round = row[0]
            if row[1] <= cutoff:
                yield row
        if len(rows) < limit:
            self._round = self._start
            self.done = True

    def back(self) -> None:
        """Begin the next step where this one began."""
        self._front, self._round, self._round_at = self._before
        self.done = False
