"""How long claims are good for: counted in real time, whatever the wall clock does."""

from __future__ import annotations

from marketbell.clock import Clock
from marketbell.model import Instant, Millis


class Leases:
    """
    The axis that leases live on: the wall clock at the start, and real time from there.

    Setting the clock ends no lease and lengthens none, so what is under way is never taken for
    lost and sent once more.
    """

    def __init__(self, clock: Clock, length: Millis) -> None:
        self.length = int(length * clock.speed)
        """Of one lease, on this axis."""
        self._monotonic = clock.monotonic
        self._per_second = 1000 * clock.speed
        self._start = clock.now()
        self._start_s = clock.monotonic()

    def now(self) -> Instant:
        """The present instant; comparable with ends of leases alone."""
        return self._start + int((self._monotonic() - self._start_s) * self._per_second)

    def until(self) -> Instant:
        """The end of a lease that begins now."""
        return self.now() + self.length
