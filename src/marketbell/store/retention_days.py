"""Retention by whole days on PostgreSQL: a day that is over is dropped at once, unless something needs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from marketbell.model import Instant, Millis
from marketbell.store import keys, search_values
from marketbell.store.base import Ages, Pruned
from marketbell.store.keys import DAY_MS
from marketbell.store.retention import Step, Walks
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction
from marketbell.store.walk import Rows, Walk

_SQL = statements("retention")
_QUEUE = statements("queue")

_AHEAD: Final = 3
"""Days whose partitions are made before they come."""


class Kind(msgspec.Struct, frozen=True):
    """What goes together when a day of it is over."""

    tables: tuple[str, ...]
    """The first is the one that tells which days there are."""
    needed: bool
    """Whether unfinished deliveries may need it."""
    rows: str
    """The statement that walks over its rows, for a day that has to wait."""

    @property
    def values(self) -> dict[str, Any]:
        """Parameters of what looks at its days and drops them."""
        return {"tables": ",".join(self.tables), "needs": self.needed}


PAYLOADS: Final = Kind(("payload", "payload_text"), True, "payloads_between")
ATTEMPTS: Final = Kind(("attempt",), False, "attempts_between")
MESSAGES: Final = Kind(
    ("message", "message_label", "payload", "payload_text", "finished_delivery"),
    True,
    "messages_between",
)


class DayWalks(Walks):
    """Where retention stands, with the messages that something needs though their time is over."""

    def __init__(self) -> None:
        super().__init__()
        self.needed = Walk[int](0)


def is_ready(transaction: Transaction, now: Instant) -> bool:
    """Whether there are partitions of today and some days more."""
    return set(_ahead(now)) <= set(_days(transaction, MESSAGES))


def make_ready(transaction: Transaction, now: Instant) -> None:
    """Make those partitions."""
    for day in _ahead(now):
        transaction.rows(_QUEUE["partitions_add"], {"day": day})


def days_over(transaction: Transaction, kind: Kind, before: Instant, *, empty: bool) -> list[int]:
    """The days of a kind that had ended by then, the oldest first; if asked for, those with no rows."""
    over = [day for day in _days(transaction, kind) if (day + 1) * DAY_MS <= before]
    if not empty:
        return over
    some = _SQL[f"{kind.tables[0]}_kept"]
    return [day for day in over if transaction.row(some, _keys_of(day)) is None]


def free(
    transaction: Transaction, walks: DayWalks, ages: Ages, *, now: Instant, limit: int
) -> Pruned:
    """Cancel what never will be sent of what has waited for longer than payloads are kept."""
    step = _DayStep(transaction, walks, ages, now, limit)
    step.free(walks.needed)
    return step.pruned()


def drop(transaction: Transaction, kind: Kind, day: int, now: Instant) -> tuple[str, int]:
    """
    Drop a day: `dropped` and about how many rows, `needed`, or `busy`, for others use the table.

    Whoever publishes waits for a tenth of a second at most, and for the end of the transaction.
    """
    row: Any = transaction.row(_SQL["partitions_drop"], {**kind.values, "day": day, "now": now})
    return row[0], row[1]


def drop_orphans(transaction: Transaction, before: Instant, limit: int) -> bool:
    """Remove what belonged to messages of dropped days; whether there is more."""
    low = 0
    gone = 0
    for day in (*_days(transaction, MESSAGES), before // DAY_MS):
        high = min(keys.floor(day * DAY_MS), keys.floor(before))
        if low < high:
            span = {"low": low, "high": high, "limit": limit}
            for name in ("event_ids_delete", "expiries_delete"):
                gone = max(gone, transaction.change(_SQL[name], span))
        low = keys.floor((day + 1) * DAY_MS)
    return gone >= limit


def prune(
    transaction: Transaction,
    walks: DayWalks,
    ages: Ages,
    until: Mapping[str, Instant],
    *,
    now: Instant,
    real: Instant,
    limit: int,
) -> Pruned:
    """One step over single rows; by statement, up to when rows go that lie in days which wait."""
    step = _DayStep(transaction, walks, ages, now, limit)
    step.until = until
    step.take(real)
    return step.pruned()


class _DayStep(Step):
    """A step that leaves whole days to be dropped."""

    until: Mapping[str, Instant] = {}
    """By statement, up to when rows go; where nothing is said, all that are past their age."""

    def free(self, walk: Walk[int]) -> None:
        """Look at the messages that are past their payload's age and needed, some of them."""
        self._cancels_left = self._limit
        before = self._now - self._ages.payloads
        end = keys.floor(before)

        def rows(low: int, high: int, limit: int) -> Rows:
            values = {"low": low, "high": high, "limit": limit}
            return self._transaction.rows(_SQL["needed_between"], values)

        for message_id, _at in walk.past(
            rows, end, cutoff=self._now, now=self._now, limit=self._limit
        ):
            if self._cancels_left <= 0:
                walk.back()
                break
            self._freed(message_id)
        self._note(walk)

    def _all_noted(self, kind: search_values.Kind, deleted_at: Instant) -> bool:
        return True  # by indexes of their own, at once

    def _past(self, walk: Walk[int], between: str, age: Millis) -> Iterator[tuple[Any, ...]]:
        until = self.until.get(between)
        if until is None:
            return super()._past(walk, between, age)

        def rows(low: int, high: int, limit: int) -> Rows:
            values = {"low": low, "high": high, "limit": limit}
            return self._transaction.rows(_SQL[between], values)

        end, cutoff = keys.floor(until), self._now - age
        return walk.past(rows, end, cutoff=cutoff, now=self._now, limit=self._limit)


def _days(transaction: Transaction, kind: Kind) -> list[int]:
    rows: Any = transaction.rows(_SQL["partition_days"], {"table": kind.tables[0]})
    return [day for (day,) in rows]


def _keys_of(day: int) -> dict[str, int]:
    return {"low": keys.floor(day * DAY_MS), "high": keys.floor((day + 1) * DAY_MS)}


def _ahead(now: Instant) -> Iterable[int]:
    today = now // DAY_MS
    return range(today, today + _AHEAD + 1)
