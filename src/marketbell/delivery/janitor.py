"""What is done behind: retention in small steps, disabling what failed for days, the store's figures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from marketbell.clock import Clock
from marketbell.delivery.leaps import Leaps
from marketbell.errors import StoreError
from marketbell.model import Instant, Millis
from marketbell.store.base import Ages, Gauges, Pruned

_log = logging.getLogger(__name__)

_BETWEEN_STEPS_S = 0.02
"""Room for the others between two steps that follow one another."""
_LOOK_S = 5.0
"""How often it looks whether it is time, and reads the figures."""
_DISABLE_AT_ONCE = 100


class Keeper(Protocol):
    """What the janitor needs of a store."""

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        """See Retention.prune."""

    async def failing_since(self, before: Instant, limit: int) -> tuple[int, ...]:
        """See Retention.failing_since."""

    async def disable_endpoint(self, endpoint_id: int, *, now: Instant) -> str | None:
        """See Queue.disable_endpoint."""

    async def gauges(self, *, now: Instant) -> Gauges:
        """See Retention.gauges."""


class Tally(Protocol):
    """Who is told of what was removed."""

    def pruned(self, *, payloads: int, attempts: int, messages: int, cancelled: int) -> None:
        """So many rows of each kind are gone."""

    def cancelled(self, deliveries: int) -> None:
        """So many deliveries will never be made."""


class Duties(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, how often and how much at once."""

    ages: Ages
    interval_s: float
    rows: int
    auto_disable_after: Millis


class Janitor:
    """
    Does its duties every interval, in steps of a few hundred rows; a failure is logged and tried again,
    within seconds if the store was away.

    Of many nodes only the one that `leads` does them; every one has the figures.
    """

    def __init__(
        self,
        keeper: Keeper,
        tally: Tally,
        clock: Clock,
        duties: Duties,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leads = leads
        self._keeper = keeper
        self._tally = tally
        self._clock = clock
        self._duties = duties
        self._leaps = Leaps(clock)
        self._waits = False
        """Whether it has told that it waits for a clock that has leapt."""
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.gauges: Gauges | None = None
        """The store's figures as they were at the last look."""

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(self._watch())]

    async def stop(self) -> None:
        """End after the step under way."""
        self._stop.set()
        for task in self._tasks:
            await task

    async def look(self) -> None:
        """Do every duty once, now."""
        now = self._clock.now()
        for endpoint_id in await self._keeper.failing_since(
            now - self._duties.auto_disable_after, _DISABLE_AT_ONCE
        ):
            disabled = await self._keeper.disable_endpoint(endpoint_id, now=now)
            if disabled is not None:
                _log.warning(
                    "endpoint disabled: it has done nothing but fail for too long",
                    extra={"endpoint": disabled},
                )
        more = True
        while more and not self._stop.is_set():
            pruned = await self._keeper.prune(
                self._duties.ages,
                now=self._clock.now(),
                limit=self._duties.rows,
                real_now=self._clock.real_now(),
            )
            self._tally.pruned(
                payloads=pruned.payloads,
                attempts=pruned.attempts,
                messages=pruned.messages,
                cancelled=pruned.cancelled,
            )
            more = pruned.more and not self._doubtful()
            if more:
                await self._pause(_BETWEEN_STEPS_S)

    async def _run(self) -> None:
        since_look = self._duties.interval_s
        failing = False
        while not self._stop.is_set():
            try:
                doubtful = self._doubtful()
                if since_look >= self._duties.interval_s and self._leads() and not doubtful:
                    await self.look()
                    since_look = 0.0
                failing = False
            except StoreError as error:
                if not failing:
                    _log.warning("the janitor cannot work", extra={"reason": str(error)})
                failing = True
            except Exception:
                # Nobody else would notice that nothing is removed any more.
                _log.exception("the janitor broke off; it goes on")
                since_look = 0.0
            await self._pause(self._pause_s)
            since_look += self._pause_s

    def _doubtful(self) -> bool:
        """Whether the clock has leapt ahead: then nothing is old enough for sure to be removed or disabled."""
        doubtful = self._leaps.doubtful()
        if doubtful and not self._waits:
            _log.warning("the clock has leapt ahead: nothing is removed or disabled for an hour")
        self._waits = doubtful
        return doubtful

    async def _watch(self) -> None:
        """Read the figures, also while there is much to remove."""
        failing = False
        while not self._stop.is_set():
            try:
                self.gauges = await self._keeper.gauges(now=self._clock.now())
                failing = False
            except StoreError as error:
                if not failing:
                    _log.warning("the store's figures stand still", extra={"reason": str(error)})
                failing = True
            except Exception:
                # Nobody else would notice that the metrics say what was true long ago.
                _log.exception("reading the store's figures broke off; it goes on")
            await self._pause(self._pause_s)

    @property
    def _pause_s(self) -> float:
        return min(_LOOK_S, self._duties.interval_s)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
