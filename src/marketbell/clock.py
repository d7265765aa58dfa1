"""The only place that reads time or waits for it; everything else takes a Clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from marketbell.model import Instant


class Timer(Protocol):
    """A call that is yet to come."""

    def cancel(self) -> None:
        """Make it never come."""


class Clock(Protocol):
    """
    Time as the program sees it, on two axes.

    `now` is the due axis: schedules, retention and statistics live on it, and a scaled
    clock runs it faster. `monotonic` is real: time-outs, leases and I/O live on it. So is
    `real_now`: tokens, keys and sessions, which people and other programs hold, live on it.
    """

    speed: float
    """How much faster the due axis runs than real time; 1.0 outside of demos."""

    def now(self) -> Instant:
        """The present instant on the due axis, in milliseconds."""

    def real_now(self) -> Instant:
        """The present instant of the wall clock, in milliseconds; `now()` unless that is scaled."""

    def monotonic(self) -> float:
        """Real seconds from some fixed point; never steps back."""

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call back once `now()` has reached `when`, from the running event loop."""


class SystemClock:
    """The machine's own time."""

    speed = 1.0

    def now(self) -> Instant:
        """The wall clock in milliseconds. It may jump either way; nothing relies on its not doing so."""
        return time.time_ns() // 1_000_000

    def real_now(self) -> Instant:
        """See now."""
        return self.now()

    def monotonic(self) -> float:
        """The machine's monotonic clock in seconds."""
        return time.monotonic()

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call back at `when`, at most a millisecond early and as late as the loop is busy."""
        delay = max(0.0, (when - self.now()) / 1000)
        return asyncio.get_running_loop().call_later(delay, callback)


class ScaledClock:
    """A clock whose due axis runs `speed` times as fast as real time, from the moment it is made."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._start_ns = time.time_ns()
        self._start = time.monotonic_ns()

    def now(self) -> Instant:
        """The scaled instant in milliseconds; never steps back."""
        elapsed = time.monotonic_ns() - self._start
        return (self._start_ns + int(elapsed * self.speed)) // 1_000_000

    def real_now(self) -> Instant:
        """The wall clock in milliseconds, unscaled."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """The machine's monotonic clock in seconds, unscaled."""
        return time.monotonic()

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call back when the scaled time has reached `when`."""
        delay = max(0.0, (when - self.now()) / 1000 / self.speed)
        return asyncio.get_running_loop().call_later(delay, callback)
