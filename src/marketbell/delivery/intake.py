"""How a message enters the data plane: what control/ hands over and what it gets back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from marketbell.errors import MarketbellError
from marketbell.model import Instant, Message
from marketbell.store.base import (
    Idempotency,
    OutboxKey,
    Publication,
    Published,
    Subscribers,
)

Verdicts: TypeAlias = Sequence[Published | MarketbellError]
"""What became of each, in order."""

Keep: TypeAlias = Callable[[Sequence[Publication]], Awaitable[Verdicts]]
"""Keeps publications in a transaction of the caller's own, with whatever else belongs to them."""


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One checked message and the application as its fan-out is to be matched."""

    message: Message
    """With id 0."""
    subscribers: Subscribers
    due_at: Instant
    """When its deliveries fall due: now, or the publisher's `deliverAt`."""
    idempotency: Idempotency | None = None
    aimed: bool = False
    """Whether it is for the one endpoint among `subscribers` alone."""
    outbox: OutboxKey | None = None
    """The row of the outbox that it is made of."""


class Intake(Protocol):
    """The dispatcher, as publishers see it."""

    async def accept(self, acceptances: Sequence[Acceptance], keep: Keep | None = None) -> Verdicts:
        """
        Match, keep and start to deliver; what comes back as `Published` is on disk.

        `keep` keeps them instead of the queue; what it raises is raised here, and none is begun.

        One verdict each, in order. StaleError means that `subscribers` is out of date: read
        them again and accept again. Raises OverloadedError, UnavailableError or
        OutcomeUnknownError for all of them.
        """

    def wake(self) -> None:
        """Something may be due that the dispatcher does not know of (a resend, a resumed endpoint)."""
