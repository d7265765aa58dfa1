"""The only place that reads time or waits for it; everything else takes a Clock."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from marketbell.model import Instant, Millis

_SAMPLES: Final = 8
"""Answers of the database that are remembered; the quickest of them tells its time best."""
_SET_MS: Final = 5_000
_SLEW: Final = 0.1
"""A correction takes ten times as long as what it corrects."""
_HALF_MS: Final = 0.5
"""A whole number of milliseconds is on average so much behind."""


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

    monotonic = staticmethod(time.monotonic)
    """The machine's monotonic clock in seconds; no frame of ours, since it is read everywhere."""

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

    monotonic = staticmethod(time.monotonic)
    """The machine's monotonic clock in seconds, unscaled."""

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call back when the scaled time has reached `when`."""
        delay = max(0.0, (when - self.now()) / 1000 / self.speed)
        return asyncio.get_running_loop().call_later(delay, callback)


class ClusterClock:
    """
    The clock of a database, as all of its nodes see it: none of their own clocks matters.

    It is what the database said last, and real time from there. Small corrections are made
    gradually, so that it never steps back; what differs by more than a few seconds was set by a
    person, and is followed at once.
    """

    speed = 1.0

    def __init__(self, own: Clock) -> None:
        self._own = own
        self.monotonic = own.monotonic
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        """How long each answer took, in seconds, and the offset that it gave."""
        self._from = self._to = own.now() - own.monotonic() * 1000
        """The clock is the monotonic one plus an offset, which goes from one to the other."""
        self._since = own.monotonic()
        self.synced = False

    def sync(self, at: Instant, sent_s: float, came_s: float) -> None:
        """The database's time, asked for and answered at these monotonic seconds."""
        offset = at + _HALF_MS - (sent_s + came_s) * 500
        if self._samples and abs(offset - self._samples[-1][1]) > _SET_MS:
            self._samples.clear()
        self._samples.append((came_s - sent_s, offset))
        best = min(self._samples)[1]
        now_s = self.monotonic()
        current = self._offset(now_s)
        if not self.synced or abs(best - current) > _SET_MS:
            current = best
        self._from, self._to, self._since = current, best, now_s
        self.synced = True

    @property
    def skew(self) -> Millis:
        """By how much this machine's own clock is ahead of the database's."""
        return self._own.now() - self.now()

    def now(self) -> Instant:
        """The database's present instant, in milliseconds; steps back only if that was set back by seconds."""
        now_s = self.monotonic()
        return int(now_s * 1000 + self._offset(now_s))

    def real_now(self) -> Instant:
        """See now."""
        return self.now()

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call back at `when`, at most a few milliseconds early and as late as the loop is busy."""
        delay = max(0.0, (when - self.now()) / 1000)
        return asyncio.get_running_loop().call_later(delay, callback)

    def _offset(self, now_s: float) -> float:
        difference = self._to - self._from
        if not difference:
            return self._to
        moved = (now_s - self._since) * 1000 * _SLEW
        if moved >= abs(difference):
            self._from = self._to
            return self._to
        return self._from + (moved if difference > 0 else -moved)
