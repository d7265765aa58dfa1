"""The machine's clock with hands that a test can set."""

from __future__ import annotations

from collections.abc import Callable

from marketbell.clock import SystemClock, Timer
from marketbell.model import Instant, Millis


class SetClock(SystemClock):
    """The machine's wall clock as somebody sets it forth and back; real time goes on as it does."""

    def __init__(self) -> None:
        self.offset: Millis = 0
        """By how much the hands are ahead of the real time."""
        self.asked = 0
        """How often something asked to be called."""

    def now(self) -> Instant:
        """What the hands show."""
        return super().now() + self.offset

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """See SystemClock.call_at: the wait is real from here on, whatever the hands do."""
        self.asked += 1
        return super().call_at(when, callback)
