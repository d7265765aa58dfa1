"""Requests under way: how old each is, what came of it, and who is told when it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from marketbell.delivery import reasons
from marketbell.delivery.exchange import Exchange, Kind
from marketbell.delivery.flight import Flight
from marketbell.delivery.lane import Lane
from marketbell.delivery.route import Route
from marketbell.model import Attempt, Claim, Instant, Verdict

if TYPE_CHECKING:
    from marketbell.observe import Observed


_NONE: Final = Exchange(Kind.FAILED, reasons.CANCELLED)


class Witness(Protocol):
    """Who is told of what happens; it never raises and never waits."""

    def attempted(self, run: Iterable[Observed]) -> None:
        """Attempts and what follows from each, in the order in which they ended."""

    def lost_claims(self, count: int) -> None:
        """So many leases had run out."""


class Sending(Flight):
    """One request under way for a claim; once it has landed it waits among the landed to be settled."""

    __slots__ = (
        "_under_way", "aged", "claim", "ended", "exchange", "lane", "plan", "proven", "route",
        "started_at",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - on the hot path
        self,
        route: Route,
        now: float,
        lane: Lane,
        claim: Claim,
        started_at: Instant,
        under_way: UnderWay,
    ) -> None:
        super().__init__(route, now)
        self.route = route
        self.plan = route.plan
        self.lane = lane
        self.claim = claim
        self.started_at = started_at
        self.proven = lane.window.proven
        self.aged = False
        self.ended = False
        self.exchange = _NONE
        """What came of it, once it has landed."""
        self._under_way = under_way

    def landed(self, exchange: Exchange) -> None:
        """See Flight.landed; what follows is done at the end of the loop's turn, for all in one run."""
        self.exchange = exchange
        landed = self._under_way.landed
        if not landed:
            self._under_way.on_landed()
        landed.append(self)


class UnderWay:
    """All requests under way of one node, oldest first, and those that ended and were not told of yet."""

    def __init__(self, witness: Witness, on_landed: Callable[[], None]) -> None:
        self._witness = witness
        self.on_landed = on_landed
        """Called when one lands and nothing has landed since the last look."""
        self._count = 0
        self._young: deque[Sending] = deque()
        self._old: set[Sending] = set()
        self.landed: deque[Sending] = deque()
        """Those that are over and not settled yet; they are still under way."""
        self._ended: list[Observed] = []

    def __len__(self) -> int:
        return self._count

    def add(self, sending: Sending) -> None:
        """One begins."""
        self._count += 1
        self._young.append(sending)

    def remove(self, sending: Sending) -> None:
        """It has ended."""
        self._count -= 1
        sending.ended = True
        if sending.aged:
            self._old.discard(sending)
        young = self._young
        while young and young[0].ended:  # what is let go of at once is warm when it is used again
            young.popleft()

    def all(self) -> list[Sending]:
        """Those under way now."""
        return [*self._old, *(sending for sending in self._young if not sending.ended)]

    def grown_old(self, before: float) -> int:
        """How many that began before then have become old since the last look; each counts once."""
        young, count = self._young, 0
        while young and (young[0].ended or young[0].started < before):
            sending = young.popleft()
            if not sending.ended:
                sending.aged = True
                self._old.add(sending)
                count += 1
        return count

    def note(self, sending: Sending, attempt: Attempt, verdict: Verdict | None) -> None:
        """The witness is to be told of an attempt."""
        plan = sending.plan
        whose = plan.application, plan.endpoint, plan.dialect.name
        went = len(sending.body), sending.exchange
        self._ended.append((sending.claim, attempt, verdict, *whose, *went))

    def tell(self) -> None:
        """Tell the witness of all that was noted, in one run."""
        if self._ended:
            ended, self._ended = self._ended, []
            self._witness.attempted(ended)
