"""Runs background tasks: one small step at a time, out of the way of what comes in and goes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from marketbell.clock import Clock
from marketbell.control.replays import Refused, next_step
from marketbell.errors import MarketbellError, StoreError
from marketbell.model import Millis
from marketbell.store.base import Notices, Task, Tasks
from marketbell.store.batch import RefusedError

_log = logging.getLogger(__name__)

_STEP_REST_S: Final = 0.03
_STEP_RESTS: Final = 4
"""Room for the others between two steps: so long, and so many times what the last one took. The
busier the node is, the longer a step takes, and the slower tasks go."""
_LONGEST_REST_S: Final = 2.0
_BUSY_REST_S: Final = 0.02
"""How long until the writer is looked at again that had too much before it."""
_LONG_S: Final = 0.2
"""A rest that is longer ends when there is a new task, or when the node stops."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_AHEAD_REST_S: Final = 0.25
_PAUSED_REST_S: Final = 5.0
"""How long a task waits whose endpoint has enough before it, and one whose endpoint is paused."""
_LOOK_S: Final = 5.0
"""How long the store is at most not asked."""
_PRUNE_S: Final = 60.0
_PRUNED_AT_ONCE: Final = 500


class TaskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of steps."""

    rows: int = 500
    """Messages that one step looks at."""
    made: int = 100
    """Messages that one step does something about."""
    ahead: int = 500
    """Deliveries of an endpoint that may be due before a step makes more of them."""
    waiting_rows: int = 200
    """Rows that may wait for the writer when a step begins."""
    failures: int = 10
    """Steps that may break off in a row."""
    lease: Millis = 60_000
    retention: Millis = 90 * 86_400_000
    """How long a task is shown that has ended."""


class TaskStore(Tasks, Notices, Protocol):
    """What the runner needs of a store."""


class TaskRunner:
    """
    Takes the task that has waited longest, makes one step of it, and goes on to the next.

    So tasks share the node evenly, and nothing of them is only in memory. A step begins only
    while little waits for the writer, and while the endpoint that it feeds has little before it:
    deliveries that a task makes never pile up before those of new messages.
    """

    def __init__(
        self,
        store: TaskStore,
        clock: Clock,
        *,
        limits: TaskLimits,
        waiting_rows: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._waiting_rows = waiting_rows
        self._wake = wake
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._pruned_s = float("-inf")
        self._held: Task | None = None
        """A claim whose step the store did not take."""
        self.running = 0
        """Tasks that ran at the last look."""
        store.on_task(self._bell.set)

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End after the step under way; the next start goes on from there."""
        self._stopping = True
        self._bell.set()
        if self._task is not None:
            await self._task

    async def look(self) -> bool:
        """Make one step of one task; whether there was one that was due."""
        now = self._clock.now()
        task = await self._store.claim_task(
            now=now, lease_until=now + self._real(self._limits.lease)
        )
        if task is None:
            return False
        if task.position == task.first and not task.looked and not task.failures:
            _log.info("task begun", extra=_named(task))
        self._held = task
        try:
            await self._step(task)
        except RefusedError:
            await self._broke_off(task)
        except StoreError:
            raise
        except MarketbellError as error:
            await self._fail(task, error.detail)
        except Exception:
            await self._broke_off(task)
        self._held = None
        return True

    async def _step(self, task: Task) -> None:
        limits = self._limits
        try:
            sight = await self._store.task_sight(
                task, now=self._clock.now(), rows=limits.rows, due_max=limits.ahead
            )
        except StoreError:
            await self._broke_off(task)
            return
        step = next_step(task, sight, rows=limits.rows, most=limits.made)
        if isinstance(step, Refused):
            await self._fail(task, step.error)
            return
        now = self._clock.now()
        if step.message_ids and sight.due >= limits.ahead:
            paused = sight.endpoint is not None and sight.endpoint.paused
            await self._put_off(task, _PAUSED_REST_S if paused else _AHEAD_REST_S, task.failures)
            return
        if await self._store.take_step(task, step, now=now, due_at=now):
            if step.message_ids:
                self._wake()
            if step.finished:
                looked = task.looked + step.looked
                _log.info("task finished", extra={**_named(task), "looked": looked})

    async def _broke_off(self, task: Task) -> None:
        """A step that broke off is tried again, later and later, and given up in the end."""
        failures = task.failures + 1
        _log.exception("a step of a task broke off", extra={**_named(task), "failures": failures})
        if failures >= self._limits.failures:
            await self._fail(
                task, f"{failures} steps in a row broke off; the server's log says why."
            )
            return
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**failures)
        await self._put_off(task, pause_s, failures)

    async def _put_off(self, task: Task, seconds: float, failures: int) -> None:
        until = self._clock.now() + self._real(int(seconds * 1000))
        await self._store.put_off_task(task, until=until, failures=failures)

    async def _fail(self, task: Task, error: str) -> None:
        if await self._store.fail_task(task, error, now=self._clock.now()):
            _log.warning("task failed", extra={**_named(task), "reason": error})

    def _real(self, length: Millis) -> Millis:
        """A real length of time on the axis of due times."""
        return max(1, int(length * self._clock.speed))

    # -- the loop -----------------------------------------------------------------------

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping:
            self._bell.clear()
            try:
                rest_s = await self._turn()
                pause_s = _FIRST_PAUSE_S
            except StoreError as error:
                if pause_s == _FIRST_PAUSE_S:
                    _log.warning("the task runner cannot work", extra={"reason": str(error)})
                rest_s, pause_s = pause_s, min(_LONGEST_PAUSE_S, 2 * pause_s)
            except Exception:
                # Nobody else would notice that no task goes on any more.
                _log.exception("the task runner broke off; it goes on")
                rest_s = _LOOK_S
            await self._pause(rest_s)

    async def _turn(self) -> float:
        """One step, or one look whether there is anything to do; how long to rest after it."""
        if self._waiting_rows() > self._limits.waiting_rows:
            return _BUSY_REST_S
        if self._held is not None:
            await self._put_off(self._held, 0, self._held.failures)
            self._held = None
        next_at = await self._store.next_task_at()
        if next_at is None:
            self.running = 0
            await self._prune()
            return _LOOK_S
        self.running = await self._store.running_tasks()
        late = (self._clock.now() - next_at) / 1000 / self._clock.speed
        if -late > 2 * self._limits.lease / 1000:  # no task waits so long: the clock was set back
            await self._store.release_tasks(now=self._clock.now())
        elif late < 0:
            return min(_LOOK_S, -late + 0.001)
        real = asyncio.get_running_loop().time
        begun = real()
        await self.look()
        return min(_LONGEST_REST_S, _STEP_REST_S + _STEP_RESTS * (real() - begun))

    async def _prune(self) -> None:
        """Forget what has ended long ago, now and then."""
        now_s = self._clock.monotonic()
        if now_s - self._pruned_s < _PRUNE_S:
            return
        before = self._clock.now() - self._limits.retention
        gone = await self._store.prune_tasks(before, limit=_PRUNED_AT_ONCE)
        gone += await self._store.prune_announced(limit=_PRUNED_AT_ONCE)
        if not gone:
            self._pruned_s = now_s

    async def _pause(self, seconds: float) -> None:
        if seconds <= _LONG_S:  # whatever the bell says, others have their turn
            await asyncio.sleep(seconds)
            return
        try:
            await asyncio.wait_for(self._bell.wait(), seconds)
        except TimeoutError:
            return


def _named(task: Task) -> dict[str, object]:
    return {"kind": task.kind.value, "task": task.public_id, "organization": task.organization}
