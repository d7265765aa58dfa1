"""Requests under way: how old each is, and who is told when it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from marketbell.delivery.lane import Lane
from marketbell.delivery.plan import Plan
from marketbell.delivery.sender import Sent
from marketbell.model import Application, Attempt, Claim, Endpoint, Verdict


class Witness(Protocol):
    """Who is told of what happens; it never raises and never waits."""

    def attempt(
        self,
        claim: Claim,
        attempt: Attempt,
        verdict: Verdict | None,
        *,
        application: Application,
        endpoint: Endpoint,
        dialect: str,
        sent_bytes: int,
    ) -> None:
        """One attempt and what follows from it."""

    def lost_claims(self, count: int) -> None:
        """So many leases had run out."""


class Sending:
    """One request under way."""

    __slots__ = ("aged", "began", "cancel", "claim", "ended", "lane", "plan", "proven")

    def __init__(self, lane: Lane, claim: Claim, began: float) -> None:
        self.lane = lane
        self.plan: Plan = lane.plan
        self.claim = claim
        self.began = began
        self.proven = lane.window.proven
        self.aged = False
        self.ended = False
        self.cancel: Callable[[], None] = _nothing


def _nothing() -> None:
    """There is nothing to cancel yet."""


class UnderWay:
    """All requests under way of one node, oldest first, and those that ended and were not told of yet."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._all: set[Sending] = set()
        self._young: deque[Sending] = deque()
        self._ended: list[tuple[Sending, Sent, Verdict | None]] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, sending: Sending) -> None:
        """One begins."""
        self._all.add(sending)
        self._young.append(sending)

    def remove(self, sending: Sending) -> None:
        """
        It has ended, or was not begun after all.

        What would cancel it is let go of: it leads to the exchange and back to here, and memory
        that waits for the garbage collector is cold when it is used again.
        """
        sending.ended = True
        sending.cancel = _nothing
        self._all.discard(sending)

    def all(self) -> list[Sending]:
        """Those under way now."""
        return list(self._all)

    def grown_old(self, before: float) -> int:
        """How many that began before then have become old since the last look; each counts once."""
        young, count = self._young, 0
        while young and (young[0].ended or young[0].began < before):
            sending = young.popleft()
            if not sending.ended:
                sending.aged = True
                count += 1
        return count

    def note(self, sending: Sending, sent: Sent, verdict: Verdict | None) -> None:
        """The witness is to be told of an attempt."""
        self._ended.append((sending, sent, verdict))

    def tell(self) -> None:
        """Tell the witness of all that was noted, in one run."""
        ended, self._ended = self._ended, []
        for sending, sent, verdict in ended:
            plan = sending.plan
            self._witness.attempt(
                sending.claim,
                sent.attempt,
                verdict,
                application=plan.application,
                endpoint=plan.endpoint,
                dialect=plan.dialect.name,
                sent_bytes=sent.sent_bytes,
            )
