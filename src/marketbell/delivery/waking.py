"""One call at the earliest of the instants that were asked for."""

from __future__ import annotations

from collections.abc import Callable

from marketbell.clock import Clock, Timer
from marketbell.model import Instant


class Waker:
    """A timer that is set again and again and calls once."""

    __slots__ = ("_at", "_callback", "_clock")

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._at: tuple[Instant, Timer] | None = None

    def set(self, at: Instant | None, now: Instant) -> None:
        """Call at that instant, unless it calls earlier already; None asks for nothing."""
        if at is None or (self._at is not None and now < self._at[0] <= at):
            return
        self.cancel()
        self._at = (at, self._clock.call_at(at, self._call))

    def cancel(self) -> None:
        """Do not call."""
        if self._at is not None:
            self._at[1].cancel()
            self._at = None

    def _call(self) -> None:
        self._at = None
        self._callback()
