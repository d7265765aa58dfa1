"""Whether the wall clock has just leapt ahead, so that what is old by it may not be old. No I/O."""

from __future__ import annotations

from typing import Final

from marketbell.clock import Clock
from marketbell.model import Millis

_LEAP: Final[Millis] = 3_600_000
"""Of real time: a step by less is taken for a clock that is set right."""
_DOUBT_S: Final = 3_600.0
"""For how long a clock that has leapt is not believed; then it has been right, or was set back."""


class Leaps:
    """
    Holds the wall clock against the monotonic one, which nobody sets.

    A leap before the first look, or while the program did not run, is not seen.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._off = self._offset()
        self._doubted_until = 0.0

    def doubtful(self) -> bool:
        """Whether the clock has gone ahead by an hour or more within the last hour, and has not come back."""
        before, self._off = self._off, self._offset()
        now = self._clock.monotonic()
        if self._off - before >= _LEAP * self._clock.speed:
            self._doubted_until = now + _DOUBT_S
        elif before - self._off >= _LEAP * self._clock.speed:
            self._doubted_until = 0.0
        return now < self._doubted_until

    def _offset(self) -> float:
        return self._clock.now() - self._clock.monotonic() * 1000 * self._clock.speed
