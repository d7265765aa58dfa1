"""What a node remembers of one endpoint that it serves: its claims in memory, its window, its health."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from marketbell.delivery.pacing import Breaker, RateLimit, Window
from marketbell.delivery.plan import Plan
from marketbell.delivery.route import Route
from marketbell.model import Claim, Instant, Millis

_AHEAD: Final = 7
"""Besides its window a proven lane may hold so many times as much that waits for its turn, if it is quick,"""
_AHEAD_MS: Final = 500
"""what it takes so long for if it is not, but always as much as its window,"""
_AHEAD_S: Final = 4
"""and what its rate limit lets begin in so many seconds."""
_SLOW_MS: Final = 1_000
"""A lane whose answers take so long on the mean is slow."""
RETRY_TURN: Final = 8
"""Every so many turns a retry goes before the first tries, over all lanes and within each."""


class Lane:
    """What a node remembers of one endpoint that it serves."""

    __slots__ = (
        "backlog", "breaker", "changed", "failing_since", "first", "held_until", "in_flight", "own_rate", "plan",
        "queued", "rate", "reserved", "retries", "route", "taught", "took", "touched", "turn", "waking", "window",
    )  # fmt: skip

    def __init__(self, plan: Plan, breaker: Breaker, failing_since: Instant | None) -> None:
        self.plan = plan
        self.route: Route | None = None
        """Made when its plan is first sent by, and dropped with that."""
        self.window = Window(plan.max_in_flight)
        self.took: Millis = 0
        """How long its answers take: a mean in which the last counts an eighth."""
        self.breaker = breaker
        self.own_rate: RateLimit | None = None
        self.rate: tuple[RateLimit, ...] = ()
        """Its own limit and its application's, those that there are."""
        # Lists, of which an empty one takes 56 bytes; a deque takes 760, and most lanes have nothing.
        self.first: list[Claim] = []
        self.retries: list[Claim] = []
        self.in_flight = 0
        self.reserved = 0
        """Births promised to it whose messages are not on disk yet."""
        self.held_until: Instant = 0
        self.changed = 0
        """Its number among all changes of endpoints; what was claimed before is out of date."""
        self.failing_since = failing_since
        self.taught = False
        """Whether an attempt has taught something of its health or rest since its endpoint changed."""
        self.backlog = False
        """Whether the store has more of it that is due."""
        self.queued = False
        """Whether it waits for its turn or for a socket."""
        self.waking = False
        self.turn = 0
        self.touched: Instant = 0

    @property
    def stock(self) -> int:
        """Claims of it in memory that are not at work."""
        return len(self.first) + len(self.retries)

    @property
    def idle(self) -> bool:
        """Whether nothing of it is in memory."""
        return not (self.in_flight or self.reserved or self.first or self.retries)

    @property
    def held(self) -> int:
        """Claims of it in memory, at work or not, and births promised."""
        return self.in_flight + self.reserved + len(self.first) + len(self.retries)

    @property
    def slow(self) -> bool:
        """Whether what it holds stays for long: its answers take their time, or a rate limit does."""
        return self.took >= _SLOW_MS or bool(self.rate)

    def room(self) -> int:
        """How many more claims its own pace allows."""
        window, waiting = self.window, self.reserved + len(self.first) + len(self.retries)
        if self.plan.order_by is not None:
            most = self.plan.max_in_flight
        elif window.proven and not self.breaker.opened:
            most = window.size * (1 + min(_AHEAD, max(1, _AHEAD_MS // (self.took + 1))))
        else:
            most = 1
        room = most - self.in_flight - waiting
        for limit in self.rate:
            room = min(room, limit.rate * _AHEAD_S - waiting)
        return room

    @property
    def run_down(self) -> int:
        """What it has left to do, of which less than twice its room means that it is to be fed."""
        return len(self.first) + len(self.retries) + (0 if self.rate else self.in_flight)

    def answered(self, after: Millis) -> None:
        """An answer took so long, or its absence did."""
        self.took = (7 * self.took + after) >> 3

    def waiting(self) -> Iterator[Claim]:
        """Its claims that wait for their turn."""
        yield from self.first
        yield from self.retries

    def pop(self) -> Claim:
        """The claim whose turn it is; there must be one."""
        self.turn += 1
        if self.retries and (not self.first or self.turn % RETRY_TURN == 0):
            return self.retries.pop(0)
        return self.first.pop(0)
