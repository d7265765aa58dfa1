"""Attempts on their way to the store: recorded in order, kept in memory while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final

from marketbell.delivery.fitness import Fitness, Work
from marketbell.delivery.retry import DELIVERED
from marketbell.errors import StoreError
from marketbell.model import DeliveryState, Instant, Trigger
from marketbell.store.base import Queue, Result

_log = logging.getLogger(__name__)

_BATCH = 1_000
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.25
"""How long results wait at most for a store that has come back: a kill meanwhile makes them unknown."""
_CHORES_PAUSE_S = 2.0

_PENDING: Final = DeliveryState.PENDING
_MANUAL: Final = Trigger.MANUAL


class Recorder:
    """
    Hands results to the store, one call at a time: what comes meanwhile is the next call.

    While the store is away results wait here and are tried again; nothing else may claim
    before they are through (`behind`), so that a lease is never ended over a known result.
    """

    def __init__(
        self, queue: Queue, *, fitness: Fitness, on_recorded: Callable[[Sequence[Result]], None]
    ) -> None:
        self._queue = queue
        self._fitness = fitness
        self._on_recorded = on_recorded
        self._results: list[Result] = []
        self._chores: dict[tuple[str, int], Callable[[], Awaitable[object]]] = {}
        self._bell = asyncio.Event()
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._busy = False
        self._chores_pause_s = 0.0
        """Zero unless the store has refused chores and has not taken them since."""
        self._chores_at = 0.0
        """When it is asked again then; seconds of the loop."""
        self.behind = False
        """Whether the store has refused results and has not taken them since."""

    def __len__(self) -> int:
        return len(self._results)

    def endpoints(self) -> set[int]:
        """Those that something waits to be recorded of."""
        noted = {endpoint_id for _kind, endpoint_id in self._chores}
        return noted | {result.claim.endpoint_id for result in self._results}

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        return not (self._results or self._chores or self._busy)

    def add(self, results: Sequence[Result]) -> None:
        """More to record."""
        self._results.extend(results)
        self._bell.set()

    def chore(self, key: tuple[str, int], work: Callable[[], Awaitable[object]]) -> None:
        """
        A small write of this kind about this endpoint; done until the store takes it.

        The latest of one key is all that counts.
        """
        self._chores.pop(key, None)
        self._chores[key] = work
        self._bell.set()

    async def moved(self, timeout_s: float) -> None:
        """Return once something was recorded, or after the time."""
        self._moved.clear()
        try:
            await asyncio.wait_for(self._moved.wait(), timeout_s)
        except TimeoutError:
            return

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, timeout_s: float) -> None:
        """Record what there is, for at most so long; what is left is found by its lease."""
        self._stopping = True
        self._bell.set()
        if self._task is None:
            return
        _done, late = await asyncio.wait([self._task], timeout=timeout_s)
        if late:
            _log.error("attempts not recorded", extra={"count": len(self._results)})
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            self._busy = True
            while self._results or self._chores:
                try:
                    if self._results:
                        await self._record()
                    if self._chores:
                        await self._do_chores()
                except Exception:
                    # Nobody else would notice that nothing is recorded any more.
                    _log.exception("recording broke off; it goes on")
                    await asyncio.sleep(_FIRST_PAUSE_S)
            self._busy = False
            self._moved.set()
            if self._stopping:
                return

    async def _record(self) -> None:
        results = self._results[:_BATCH]
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                with self._fitness.asking(Work.RECORDS):
                    await self._queue.record(results)
                break
            except StoreError as error:
                if not self.behind:
                    _log.error("the store does not take attempts", extra={"reason": str(error)})
                self.behind = True
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        self.behind = False
        del self._results[: len(results)]
        self._moved.set()
        self._on_recorded(results)

    async def _do_chores(self) -> None:
        """Those that wait, together: they share a transaction, and no stream of results keeps them back."""
        wait_s = self._chores_at - asyncio.get_running_loop().time()
        if wait_s > 0:
            if not self._results:
                await self._rest(wait_s)
            return
        chores = list(islice(self._chores.items(), _BATCH))
        for key, _work in chores:
            del self._chores[key]
        outcomes = await asyncio.gather(*(work() for _key, work in chores), return_exceptions=True)
        refused = 0
        for (key, work), outcome in zip(chores, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                refused += 1
                self._chores.setdefault(key, work)
            elif isinstance(outcome, BaseException):
                raise outcome
        if not refused:
            self._chores_pause_s = 0.0
            return
        if not self._chores_pause_s:
            _log.warning("notes on endpoints are not stored yet", extra={"count": refused})
        self._chores_pause_s = min(_CHORES_PAUSE_S, 2 * self._chores_pause_s or _FIRST_PAUSE_S)
        self._chores_at = asyncio.get_running_loop().time() + self._chores_pause_s

    async def _rest(self, seconds: float) -> None:
        """Return after the time, or once there is something new."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), seconds)
        self._bell.clear()


def first_due(results: Sequence[Result]) -> Instant | None:
    """
    When the first of what these results leave behind falls due: retries, and a key's next delivery.

    A resend stands outside the order, but its success lets a key go on that its failure holds.
    """
    first: Instant | None = None
    for result in results:
        verdict, claim = result.verdict, result.claim
        if verdict is None or (
            verdict is DELIVERED and claim.order_key is None and claim.trigger is not _MANUAL
        ):
            continue
        if verdict.state is _PENDING:
            due_at = verdict.due_at
        elif claim.order_key is not None or claim.trigger is _MANUAL:
            due_at = result.attempt.started_at
        else:
            continue
        if first is None or due_at < first:
            first = due_at
    return first
