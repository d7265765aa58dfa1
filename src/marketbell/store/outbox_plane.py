"""What a store promises of the outbox: what waits there is found, published once, or kept as rejected."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from marketbell.model import Instant, Millis
from marketbell.store.control_plane import Once, Page, Repeated, Slice
from marketbell.store.data_plane import OutboxKey


class OutboxSight(msgspec.Struct, frozen=True):
    """
    Which transactions were over when the outbox was looked into, as PostgreSQL's snapshot says it.

    A row that was not seen then is of a transaction that was `running`, or of one from `horizon`
    on: that is no high-water mark of the rows' own ids, since those need not commit in order.
    """

    horizon: int = 0
    running: tuple[int, ...] = ()


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One message in the outbox."""

    key: OutboxKey
    organization: str | None
    application: str
    """Id or uid."""
    body: bytes | None
    """As the API takes it; None if it is larger than was asked for."""
    created_at: Instant
    """When it was put there, not when that was committed."""


class OutboxLook(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    rows: tuple[OutboxRow, ...]
    """Those of one transaction in the order that they were put there."""
    sight: OutboxSight
    more: bool
    """Whether there may be more than were asked for."""


class OutboxShare(msgspec.Struct, frozen=True):
    """Which applications' messages a node looks for, so that not all of them publish the same ones."""

    slots: Collection[int] | None = None
    """Those whose names hash to one of these slots; None for all."""
    late: Instant = 0
    """What was put there before is looked for by every node."""


class OutboxAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for in the outbox."""

    since: OutboxSight = OutboxSight()
    """What was seen then is left out; as it is made, nothing is."""
    share: OutboxShare = OutboxShare()
    but: Collection[str] = ()
    """Applications that are left out, as the rows name them."""
    rows: int
    """At most so many."""
    bytes_max: int
    """At most so many bytes in all, but always one."""
    body_max: int


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """One message that is refused, and why."""

    key: OutboxKey
    organization: str | None
    """Whose it is, as far as that is known."""
    code: str
    """Of the error that refuses it."""
    reason: str


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was taken from the outbox and refused."""

    public_id: str
    application: str
    """Id or uid, as it was given."""
    body: bytes = b""
    """As it was given; only of one that is read by itself."""
    created_at: Instant
    rejected_at: Instant
    code: str
    reason: str


class OutboxFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the outbox stands; counts end at 10,000."""

    waiting: int
    lag: Millis
    """The age of the oldest that waits; 0 if none does."""
    rejected: int


class OutboxRows(Protocol):
    """
    The outbox, which callers fill in transactions of their own.

    A row is published by `Queue.publish` with its key as `Publication.outbox`: it goes in the very
    transaction that keeps the message. A database without an outbox has an empty one.
    """

    has_outbox: bool
    """Whether anything can ever be in it."""

    async def look_into_outbox(self, ask: OutboxAsk) -> OutboxLook:
        """Rows that are there, unlocked: another node may be publishing them."""

    async def outbox_owners(self, applications: Collection[str]) -> dict[str, str | None]:
        """
        The organization of each application, by id or uid: the one that has it.

        If none has it, the only one that there is; None if more than one has it, or there are
        more. Names without any are left out.
        """

    async def reject_from_outbox(self, rejections: Sequence[Rejection], *, now: Instant) -> int:
        """Move rows that are still there to the rejected ones; how many."""

    async def rejected(self, organization: str, page: Page) -> Slice[Rejected]:
        """A slice of an organization's rejected messages without their bodies, newest first."""

    async def rejected_one(self, organization: str, public_id: str) -> Rejected:
        """One with its body. NotFoundError."""

    async def drop_rejected(self, organization: str, public_id: str) -> None:
        """Forget one. NotFoundError."""

    async def requeue_rejected(
        self, organization: str, public_id: str, *, now: Instant, once: Once | None = None
    ) -> Rejected | Repeated:
        """Put one into the outbox again, as a new row. NotFoundError."""

    async def prune_rejected(self, *, before: Instant, limit: int) -> int:
        """Forget those that were rejected before; how many."""

    async def outbox_figures(self) -> OutboxFigures:
        """How it stands."""
