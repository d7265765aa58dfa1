"""How fast one endpoint may be called: its rate limit, its window, its breaker. Pure but for memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from marketbell.model import Instant, Millis

LONGEST_WAIT: Millis = 1000
"""No rate limit lets anyone wait longer."""


class RateLimit:
    """At most `rate` starts in any second, however they are spread, also when the clock is set back."""

    __slots__ = ("_starts", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._starts: deque[Instant] = deque(maxlen=rate)

    def free_at(self, now: Instant) -> Instant:
        """The first instant from `now` on at which another start is allowed."""
        starts = self._starts
        if len(starts) < self.rate:
            return now
        if starts[-1] > now:
            self._set_back(now)
        return max(now, self._starts[0] + LONGEST_WAIT)

    def spend(self, at: Instant) -> None:
        """Count as if all starts of a second were made then."""
        self._starts = deque([at] * self.rate, maxlen=self.rate)

    def start(self, now: Instant) -> None:
        """Count a start."""
        if self._starts and self._starts[-1] > now:
            self._set_back(now)
        self._starts.append(now)

    def _set_back(self, now: Instant) -> None:
        """The clock was set back: count as if the last start were made just now."""
        by = self._starts[-1] - now
        self._starts = deque((start - by for start in self._starts), maxlen=self.rate)


class RateLimits:
    """The rate limits of a node; the endpoints of an application share one."""

    def __init__(self) -> None:
        self._shared: dict[int, RateLimit] = {}
        self._taken: dict[int, Instant] = {}
        """Slots that other nodes had before, and when they were taken."""

    def limit(self, present: RateLimit | None, wanted: int | None, slot: int) -> RateLimit | None:
        """The present limit, or a new one if another rate is wanted; None if none is."""
        if not wanted or (present is not None and present.rate == wanted):
            return present if wanted else None
        made = RateLimit(wanted)
        if slot in self._taken:
            made.spend(self._taken[slot])
        return made

    def shared(self, application_id: int, wanted: int | None, slot: int) -> RateLimit | None:
        """The limit that an application's endpoints share."""
        found = self.limit(self._shared.get(application_id), wanted, slot)
        if found is not None:
            self._shared[application_id] = found
        return found

    def keep(self, applications: Collection[int]) -> None:
        """Forget those of all other applications."""
        for application_id in self._shared.keys() - applications:
            del self._shared[application_id]

    def took(self, slots: Collection[int], now: Instant) -> None:
        """These slots were another node's until now: each new limit of them begins as used up then."""
        self._taken.update(dict.fromkeys(slots, now))


class Window:
    """
    How many requests an endpoint may have open: one until it has proved itself, then up to its cap.

    Each success doubles it, a time-out or a broken connection sets it back to one. An answer
    that is merely a failure leaves it: the endpoint is there and quick.
    """

    __slots__ = ("cap", "proven", "size")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.size = 1
        self.proven = False

    def succeed(self) -> None:
        """A success came."""
        self.proven = True
        if self.size < self.cap:
            self.size = min(self.cap, 2 * self.size)

    def answer(self) -> None:
        """An answer came that was no success."""
        self.proven = True

    def fall_silent(self) -> None:
        """No answer came."""
        self.proven = False
        self.size = 1

    def narrow(self) -> None:
        """The endpoint asks for less, or its breaker is open: one at a time."""
        self.size = 1

    def set_cap(self, cap: int) -> None:
        """Another cap is in force."""
        self.cap = cap
        self.size = min(self.size, cap)


class Breaker:
    """
    Opens after `failures` failures in a row, and lets one probe through after each rest.

    The rest doubles with every failed probe, up to 16 times the first. What was under way when
    it opened and fails during the rest is no probe.
    """

    __slots__ = ("_rests_until", "failures", "opened", "rest", "run")

    def __init__(self, failures: int, rest: Millis) -> None:
        self.failures = failures
        self.rest = rest
        self.run = 0
        self.opened = 0
        """How often it has opened without a success since; 0 is closed, else one probe at a time."""
        self._rests_until: Instant = 0

    def succeed(self) -> None:
        """A success closes it."""
        self.run = 0
        self.opened = 0

    def fail(self, now: Instant) -> Instant:
        """A failure; until when the endpoint is to rest, 0 if it is not."""
        self.run += 1
        if self.opened and now < self._rests_until <= now + 16 * self.rest:
            return self._rests_until
        if self.opened or self.run >= self.failures:
            self.opened += 1
            self._rests_until = now + self.rest * (1 << min(4, self.opened - 1))
            return self._rests_until
        return 0
