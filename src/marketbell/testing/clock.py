"""A clock that stands still until it is turned."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

from marketbell.model import Instant, Millis

START: Final[Instant] = 1_767_225_600_000
"""2026-01-01T00:00:00Z, where a FakeClock begins unless told otherwise."""

_QUIET_PASSES: Final = 25
"""For so many passes of the loop in a row nothing may be at work before time goes on."""


class FakeTimer:
    """A call of a FakeClock that is yet to come."""

    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Make it never come."""
        self.cancelled = True


class FakeClock:
    """
    A Clock whose `now()` moves only when a test moves it, firing what falls due on the way.

    `monotonic()` is real time plus all that was advanced: time-outs of real sockets work while
    `now()` stands still, and whatever expires has expired after an advance. With `still` it
    moves by advances alone, for tests that make no I/O.
    """

    def __init__(self, start: Instant = START, *, still: bool = False) -> None:
        self.speed = 1.0
        self._wall = start
        self._elapsed: Millis = 0
        self._still = still
        self._timers: list[tuple[int, int, FakeTimer]] = []
        self._order = itertools.count()

    def now(self) -> Instant:
        """The instant that the clock shows."""
        return self._wall + self._elapsed

    def real_now(self) -> Instant:
        """See now."""
        return self.now()

    def monotonic(self) -> float:
        """Seconds that never step back."""
        return self._elapsed / 1000 + (0.0 if self._still else time.monotonic())

    def call_at(self, when: Instant, callback: Callable[[], None]) -> FakeTimer:
        """
        Call back during the advance that reaches `when`; soon, from the loop, if that is past.

        Timers count the time that passes, as the system's do: `jump` does not move them.
        """
        timer = FakeTimer(callback)
        due = self._elapsed + max(0, when - self.now())
        heapq.heappush(self._timers, (due, next(self._order), timer))
        if due <= self._elapsed:
            asyncio.get_running_loop().call_soon(self._fire_until, self._elapsed)
        return timer

    def advance(self, time_passed: Millis) -> None:
        """Let this much time pass: timers fire in the order of their instants, each at its own."""
        if time_passed < 0:
            raise ValueError("time cannot pass backwards; jump() moves the clock's hands")
        end = self._elapsed + time_passed
        self._fire_until(end)
        self._elapsed = end

    def advance_to(self, instant: Instant) -> None:
        """Let time pass until the clock shows this instant."""
        self.advance(instant - self.now())

    def jump(self, by: Millis) -> None:
        """Set the clock's hands forth or back, as an operator does: no time passes, nothing fires."""
        self._wall += by

    @property
    def next_timer(self) -> Instant | None:
        """The instant at which the next call is due; None if none is."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._wall + self._timers[0][0] if self._timers else None

    async def run_until(
        self, instant: Instant, idle: Callable[[], bool], *, limit_s: float = 60.0
    ) -> None:
        """
        Go from timer to timer up to `instant`, but only while nothing is at work.

        `idle` says whether that is so. While it is not, the loop runs and the clock stands.
        Work that a timer sets off through several tasks is given some passes of the loop to
        begin. Raises TimeoutError after `limit_s` real seconds.
        """
        async with asyncio.timeout(limit_s):
            while True:
                await self._quiet(idle)
                due = self.next_timer
                if due is None or due > instant:
                    break
                self.advance_to(max(due, self.now()))
            self.advance_to(instant)
            await self._quiet(idle)

    async def _quiet(self, idle: Callable[[], bool]) -> None:
        passes = 0
        while passes < _QUIET_PASSES:
            await asyncio.sleep(0)
            passes = passes + 1 if idle() else 0

    def _fire_until(self, end: int) -> None:
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._elapsed = max(self._elapsed, due)
            if not timer.cancelled:
                timer.callback()
