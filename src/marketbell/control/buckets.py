"""Token buckets: how often something may happen, as plain numbers. Pure but for their own memory."""

from __future__ import annotations


class Bucket:
    """
    Holds up to `size` drops and gains `rate` a second; whatever happens takes one.

    A clock that steps back adds nothing and takes nothing.
    """

    __slots__ = ("_at", "_level", "rate", "size")

    def __init__(self, rate: float, size: float, now: float) -> None:
        self.rate = rate
        self.size = size
        self._level = size
        self._at = now

    def take(self, now: float) -> float:
        """Take a drop; 0.0, or if there is none the seconds until there is one."""
        wait = self.wait(now)
        if wait == 0.0:
            self._level -= 1.0
        return wait

    def wait(self, now: float) -> float:
        """Seconds until there is a drop; 0.0 if there is one. Takes nothing."""
        passed = now - self._at
        if passed > 0:
            self._level = min(self.size, self._level + passed * self.rate)
        self._at = now
        return 0.0 if self._level >= 1.0 else (1.0 - self._level) / self.rate

    def full(self, now: float) -> bool:
        """Whether it holds all that it can: as good as a new one."""
        self.wait(now)
        return self._level >= self.size
