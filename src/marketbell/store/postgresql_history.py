"""History on PostgreSQL where it is another than in a file: followers of many writers, and whole days."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from marketbell.model import Instant
from marketbell.store import following, present, retention_days
from marketbell.store.base import Ages, Gauges, Pruned
from marketbell.store.keys import DAY_MS
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.resources import CoreResource
from marketbell.store.retention_days import ATTEMPTS, MESSAGES, PAYLOADS, Kind
from marketbell.store.search_resource import SearchResource
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("retention")

_SIZES_S: Final = 60.0
"""How long a figure of the tables' sizes is good for; it asks for every file's."""
_LATE_FOR_EACH: Final = 10
"""How many more messages are looked at again than are read at first, for each step."""


def _drop(kind: Kind, day: int, now: Instant, transaction: Transaction) -> tuple[str, int]:
    return retention_days.drop(transaction, kind, day, now)


class PostgresHistory(CoreResource, SearchResource):
    """What a store on PostgreSQL puts in the place of what the resources do."""

    _options: PostgresOptions
    _day_walks: retention_days.DayWalks
    _measured: tuple[float, int]
    """When the tables' sizes were asked for, and what they were."""

    def _begin_history(self) -> None:
        self._day_walks = retention_days.DayWalks()
        self._measured = (-_SIZES_S, 0)

    # -- Search -----------------------------------------------------------------------------

    async def follow_labels(self, *, messages_max: int) -> bool:
        """See Search.follow_labels; they are noted as messages are kept."""
        return False

    async def follow_texts(self, *, messages_max: int, bytes_max: int) -> bool:
        """See Search.follow_texts; what was committed late is found in a second reading."""
        more = await super().follow_texts(messages_max=messages_max, bytes_max=bytes_max)
        slack = int(self._options.late_s * 1000)
        late = await self._read(
            lambda transaction: following.read_late_words(
                transaction, _LATE_FOR_EACH * messages_max, bytes_max, slack
            )
        )
        if late.begins == late.ends:
            return more
        more_late = await self._write(
            lambda transaction: following.note_words(transaction, late), bounded=False
        )
        return more or more_late

    # -- Retention --------------------------------------------------------------------------

    async def gauges(self, *, now: Instant) -> Gauges:
        """See Retention.gauges."""
        return await self._read(lambda transaction: self._gauges(transaction, now))

    def _gauges(self, transaction: Transaction, now: Instant) -> Gauges:
        at, size = self._measured
        if time.monotonic() - at >= _SIZES_S:
            row: Any = transaction.row(_SQL["sizes"])
            size = row[0]
            self._measured = (time.monotonic(), size)
        return present.gauges(transaction, (size, 0), now=now)

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        """
        See Retention.prune.

        Ages from `PostgresOptions.exact_below` on are kept to the day: what is of one day goes at
        once, when the last of it has come to its age. Only where something is needed for longer do
        single rows go of that day, and everything else at its age.
        """
        if not await self._read(lambda t: retention_days.is_ready(t, now)):
            await self._write(lambda t: retention_days.make_ready(t, now), bounded=False)
        freed = await self._step(
            lambda t, walks: retention_days.free(t, walks, ages, now=now, limit=limit)
        )
        until: dict[str, Instant] = {}
        dropped: dict[str, int] = {}
        kinds = (
            (MESSAGES, ages.messages),
            (PAYLOADS, ages.payloads),
            (ATTEMPTS, ages.attempts),
        )
        for kind, age in kinds:
            exact = age < self._options.exact_below
            about, waits_until = await self._drop_days(kind, now - age, now, empty=exact)
            dropped[kind.rows] = about
            if not exact:
                until[kind.rows] = 0 if freed.more else waits_until
        real = now if real_now is None else real_now
        pruned = await self._step(
            lambda t, walks: retention_days.prune(
                t, walks, ages, until, now=now, real=real, limit=limit
            )
        )
        orphans = await self._write(
            lambda t: retention_days.drop_orphans(t, now - ages.messages, limit), bounded=False
        )
        return Pruned(
            payloads=pruned.payloads + dropped[PAYLOADS.rows],
            attempts=pruned.attempts + dropped[ATTEMPTS.rows],
            messages=pruned.messages + dropped[MESSAGES.rows],
            cancelled=freed.cancelled + pruned.cancelled,
            more=freed.more or pruned.more or orphans,
        )

    async def _step(self, take: Callable[[Transaction, retention_days.DayWalks], Pruned]) -> Pruned:
        """One step that goes on where the last one has ended that is on disk."""

        def step(transaction: Transaction) -> tuple[Pruned, retention_days.DayWalks]:
            walks = self._day_walks.step()
            return take(transaction, walks), walks

        pruned, self._day_walks = await self._write(step, bounded=False, configures=True)
        return pruned

    async def _drop_days(
        self, kind: Kind, before: Instant, now: Instant, *, empty: bool
    ) -> tuple[int, Instant]:
        """About how many rows went, and up to when days wait in which single rows are to go."""
        about, until = 0, 0
        over = await self._read(lambda t: retention_days.days_over(t, kind, before, empty=empty))
        for day in over:
            verdict, rows = await self._write(
                partial(_drop, kind, day, now), bounded=False, configures=True
            )
            about += rows
            if verdict == "busy":
                return about, 0
            if verdict == "needed":
                until = (day + 1) * DAY_MS
        return about, until
