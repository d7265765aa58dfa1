"""What a node remembers of one endpoint that it serves: its claims in memory, its window, its health."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from marketbell.delivery.pacing import Breaker, RateLimit, Window
from marketbell.delivery.plan import Plan
from marketbell.delivery.route import Route
from marketbell.model import Claim, Instant

_STOCK: Final = 8
"""A proven lane may hold so many times its window as claims that wait for their turn."""
RETRY_TURN: Final = 8
"""Every so many turns a retry goes before the first tries, over all lanes and within each."""


class Lane:
    """What a node remembers of one endpoint that it serves."""

    __slots__ = (
        "backlog", "breaker", "changed", "failing_since", "first", "held_until", "in_flight", "own_rate", "plan",
        "queued", "rate", "reserved", "retries", "route", "taught", "touched", "turn", "waking", "window",
    )  # fmt: skip

    def __init__(self, plan: Plan, breaker: Breaker, failing_since: Instant | None) -> None:
        self.plan = plan
        self.route: Route | None = None
        """Made when its plan is first sent by, and dropped with that."""
        self.window = Window(plan.max_in_flight)
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

    def room(self) -> int:
        """How many more claims it may have."""
        window = self.window
        most = window.size * _STOCK if window.proven and not self.breaker.opened else 1
        if self.plan.order_by is not None:
            most = self.plan.max_in_flight
        return most - self.in_flight - self.reserved - len(self.first) - len(self.retries)

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
