"""Group commit: whatever waits when the writer is free becomes one transaction, on a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from marketbell.errors import (
    MarketbellError,
    OutcomeUnknownError,
    OverloadedError,
    StoreError,
    UnavailableError,
)
from marketbell.store.base import Announced
from marketbell.store.transaction import Transaction

T = TypeVar("T")

_GATHER_S: Final = 0.005
"""How long works are gathered at most while more of them come."""

_Ended: TypeAlias = "tuple[Sequence[Work], list[Announced], Exception | None]"
"""Works of one transaction with what it changed, or why nothing of it was kept."""


class DataFault(Exception):  # noqa: N818 - a fault of one work's rows, seen only by the writer
    """A constraint or a value was refused: the transaction is undone, one of its works is to blame."""


class RefusedError(UnavailableError):
    """The database refused a value of this one work; it will do so again."""


class Work(Protocol):
    """One caller's share of a transaction."""

    rows: int
    """How many rows it is about; bounds what waits and what one transaction holds."""
    size: int
    """How many bytes it holds in memory while it waits."""
    bounded: bool
    """Whether it may be refused for want of room, and withdrawn when it waits too long."""
    queued_at: float

    def succeed(self) -> None:
        """Tell the caller, on the event loop, that it is on disk."""

    def fail(self, error: Exception) -> None:
        """Tell the caller, on the event loop, that it was not kept, or may not have been."""


class Effect(Generic[T]):
    """A work that is a function of the transaction; its value is the caller's answer."""

    __slots__ = (
        "apply", "bounded", "error", "future", "lanes", "queued_at", "rows", "size", "value",
    )  # fmt: skip

    def __init__(
        self,
        apply: Callable[[Transaction], T],
        future: asyncio.Future[T],
        *,
        bounded: bool,
        lanes: Collection[int] = (),
        rows: int = 1,
        size: int = 0,
    ) -> None:
        self.apply = apply
        self.future = future
        self.bounded = bounded
        self.lanes = lanes
        """All lanes that it changes, if those are all that it is about and doing it twice is doing it once."""
        self.rows = rows
        self.size = size
        self.queued_at = 0.0
        self.value: T | None = None
        self.error: MarketbellError | None = None

    def run(self, transaction: Transaction) -> None:
        """Apply it; a user's error is the caller's answer and must have changed nothing."""
        self.error = None
        try:
            self.value = self.apply(transaction)
        except MarketbellError as error:
            self.error = error

    def succeed(self) -> None:
        """Answer with the value, or with the user's error."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)  # type: ignore[arg-type]

    def fail(self, error: Exception) -> None:
        """Answer with the store's error."""
        if not self.future.done():
            self.future.set_exception(error)


class Executor(Protocol):
    """Runs works inside one transaction; the database's own part of a group commit."""

    def commit(self, works: Sequence[Work]) -> list[Announced]:
        """
        Run them all in one transaction and make it durable.

        Raises DataFault if a row was refused, StoreError if the database could not; in both
        cases nothing was kept, save OutcomeUnknownError.
        """


class BatchStatistics:
    """What the writer has done so far, as plain numbers for metrics."""

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self.seconds = 0.0
        self.observe: Callable[[int, float], None] = lambda _rows, _seconds: None
        """Called on the event loop after each commit with its rows and seconds."""


class Writer:
    """
    The one thread that writes.

    There is no timer: what waits when the writer is free becomes one transaction once a turn of
    the event loop has brought nothing more, so that all that came close together shares its
    fsync, and what comes while it is busy is the next one. A loop that always has more to do
    holds the first of them up for 5 ms at most. What waits is bounded in rows and bytes,
    and in time: a work that has not begun after `wait_s` is withdrawn, one whose commit has not
    ended after twice that is answered with OutcomeUnknownError.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        rows_max: int,
        waiting_rows_max: int,
        waiting_bytes_max: int,
        wait_s: float,
        on_changes: Callable[[list[Announced]], None],
    ) -> None:
        self._executor = executor
        self._rows_max = rows_max
        self._waiting_rows_max = waiting_rows_max
        self._waiting_bytes_max = waiting_bytes_max
        self._wait_s = wait_s
        self._on_changes = on_changes
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Work] = deque()
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._running: list[Work] = []
        self._running_since = 0.0
        self._turn_end = False
        """Whether the end of this turn of the loop looks at what waits."""
        self._more = False
        """Whether something has come since it last looked."""
        self._closing = False
        self._free = asyncio.Event()
        self._free.set()
        self._watch: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[list[Work] | None] = queue.SimpleQueue()
        self.statistics = BatchStatistics()
        self._thread = threading.Thread(target=self._write, name="marketbell-writer", daemon=True)
        self._thread.start()

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be written now."""
        return self._waiting_rows

    def submit(self, work: Work) -> None:
        """
        Put a work into the next transaction. Called on the event loop.

        Raises OverloadedError if it is bounded and too much waits already, UnavailableError
        if the store is closing.
        """
        if self._closing:
            raise UnavailableError("The store is closing.")
        # One that is larger than the bound has its turn when nothing waits before it.
        if (
            work.bounded
            and self._waiting
            and (
                self._waiting_rows + work.rows > self._waiting_rows_max
                or self._waiting_bytes + work.size > self._waiting_bytes_max
            )
        ):
            raise OverloadedError("Too much waits to be stored already; try again later.")
        work.queued_at = time.monotonic()
        self._more = True
        self._waiting.append(work)
        self._waiting_rows += work.rows
        self._waiting_bytes += work.size
        self._look_at_turn_end()
        if self._watch is None:
            self._watch = self._loop.call_later(self._wait_s / 4, self._watch_waiting)

    def run(
        self,
        apply: Callable[[Transaction], T],
        *,
        bounded: bool = True,
        lanes: Collection[int] = (),
        rows: int = 1,
        size: int = 0,
    ) -> asyncio.Future[T]:
        """Submit a function of the transaction; the future has its value once that is on disk."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.submit(Effect(apply, future, bounded=bounded, lanes=lanes, rows=rows, size=size))
        return future

    async def aclose(self) -> None:
        """Write what was accepted, then stop the thread."""
        self._closing = True
        while self._waiting or self._running:
            self._free.clear()
            self._look_at_turn_end()
            await self._free.wait()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._watch is not None:
            self._watch.cancel()

    # -- on the writer's thread ---------------------------------------------------------

    def _write(self) -> None:
        while (works := self._batches.get()) is not None:
            begun = time.monotonic()
            ended: list[_Ended] = []
            self._commit(works, ended)
            try:
                self._loop.call_soon_threadsafe(self._ended, ended, time.monotonic() - begun)
            except RuntimeError:  # the loop has gone before its store: nobody is left to tell
                return

    def _commit(self, works: list[Work], ended: list[_Ended]) -> None:
        """Commit them; where one is to blame for a fault, halve until it stands alone."""
        try:
            changes = self._executor.commit(works)
        except DataFault as fault:
            if len(works) == 1:
                refused = RefusedError(f"The store refused it: {fault}")
                ended.append((works, [], refused))
                return
            middle = len(works) // 2
            self._commit(works[:middle], ended)
            self._commit(works[middle:], ended)
        except StoreError as error:
            ended.append((works, [], error))
        except Exception as error:
            ended.append((works, [], UnavailableError(f"The store failed: {error!r}")))
        else:
            ended.append((works, changes, None))

    # -- on the event loop --------------------------------------------------------------

    def _look_at_turn_end(self) -> None:
        if not self._turn_end and not self._running:
            self._turn_end = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Give the writer what waits, unless more is coming."""
        self._turn_end = False
        if self._running or not self._waiting:
            return
        if self._more and self._waiting_rows < self._rows_max:
            self._more = False
            if time.monotonic() - self._waiting[0].queued_at < _GATHER_S:
                self._look_at_turn_end()
                return
        taken = self._running
        rows = size = 0
        while self._waiting and (not taken or rows + self._waiting[0].rows <= self._rows_max):
            work = self._waiting.popleft()
            taken.append(work)
            rows += work.rows
            size += work.size
        self._waiting_rows -= rows
        self._waiting_bytes -= size
        self._running_since = time.monotonic()
        self._batches.put(taken)

    def _ended(self, ended: list[_Ended], seconds: float) -> None:
        self._running = []
        rows = 0
        for works, changes, error in ended:
            if error is not None:
                _fail(works, error)
                continue
            if changes:
                self._on_changes(changes)
            for work in works:
                rows += work.rows
                work.succeed()
        statistics = self.statistics
        statistics.batches += 1
        statistics.rows += rows
        statistics.seconds += seconds
        statistics.observe(rows, seconds)
        self._free.set()
        if self._waiting:
            self._look_at_turn_end()

    def _watch_waiting(self) -> None:
        """Withdraw what has waited too long; say so of what hangs in a commit."""
        now = time.monotonic()
        if any(work.bounded and now - work.queued_at > self._wait_s for work in self._waiting):
            self._withdraw(now)
        if self._running and now - self._running_since > 2 * self._wait_s:
            hanging = [work for work in self._running if work.bounded]
            _fail(
                hanging, OutcomeUnknownError("The store has not answered; it may have been kept.")
            )
        busy = bool(self._waiting or self._running)
        self._watch = self._loop.call_later(self._wait_s / 4, self._watch_waiting) if busy else None

    def _withdraw(self, now: float) -> None:
        kept: deque[Work] = deque()
        late: list[Work] = []
        for work in self._waiting:
            if work.bounded and now - work.queued_at > self._wait_s:
                late.append(work)
                self._waiting_rows -= work.rows
                self._waiting_bytes -= work.size
            else:
                kept.append(work)
        self._waiting = kept
        _fail(late, UnavailableError("The store is too slow; nothing was kept. Try again."))


def _fail(works: Sequence[Work], error: Exception) -> None:
    for work in works:
        work.fail(error)
