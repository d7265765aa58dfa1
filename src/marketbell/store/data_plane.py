"""What a store promises the data plane: the queue, in prose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from marketbell.errors import MarketbellError
from marketbell.model import (
    Application,
    Attempt,
    Claim,
    Endpoint,
    Instant,
    Message,
    Verdict,
)

OutboxKey: TypeAlias = tuple[int, int]
"""A row of the outbox: the number of the caller's transaction, and its own."""


class Birth(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One delivery to be born with its message."""

    endpoint_id: int
    due_at: Instant
    lease_until: Instant = 0
    """Not 0: born claimed, as claim 1, until then. Never together with `order_key`."""
    order_key: bytes | None = None
    """Deliveries of one endpoint with one key are claimed one after the other, in order of T1."""


class Idempotency(msgspec.Struct, frozen=True, gc=False):
    """The once-only mark of a POST, written in the effect's own transaction."""

    key: bytes
    """16 bytes: BLAKE2b of organization, method, path and the caller's key."""
    body: bytes
    """
    16 bytes: BLAKE2b of the request's body. 24 bytes for a message of a batch, of the batch's body
    under its key, so that all of that batch have these and nothing else has.
    """
    auto: bool
    """Whether the key is one that an SDK made by itself (`auto_…`): kept 15 minutes, others 24 hours."""

    @property
    def of_batch(self) -> bool:
        """Whether it is of a message in a batch, all of which is refused if its key had another body."""
        return len(self.body) > 16


class Publication(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message with its deliveries, ready to be kept."""

    message: Message
    """With id 0; the store gives it one."""
    revision: int
    """The application's revision that `births` was matched at."""
    births: tuple[Birth, ...]
    idempotency: Idempotency | None = None
    aimed: bool = False
    """Whether it is for one endpoint alone, so that no other one has missed it."""
    outbox: OutboxKey | None = None
    """The row of the outbox that it is made of, which goes in the same transaction; TakenError if it is not there."""


class Published(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message that is on disk."""

    message: Message
    claims: tuple[Claim, ...] = ()
    """One for each delivery born claimed, in the order of the births."""
    repeated: bool = False
    """An earlier request with the same idempotency key and body made it; nothing new was kept."""


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How much a node can take, and of which lanes."""

    now: Instant
    lease_until: Instant
    leases_now: Instant | None = None
    """The present on the axis of leases, which no setting of the clock moves; None if it is `now`."""
    limit: int
    """At most so many claims in all."""
    bytes_max: int = 64_000_000
    """At most so many bytes of payload in all, but always one delivery."""
    rooms: Mapping[int, int]
    """
    Endpoint id to how many more it may have; a lane with 0 is passed over at once.

    Its keys are those that may have less than `new_room`, and any others: a store asks for them,
    for `lanes`, or for those that it visits, on the thread that claims.
    """
    lanes: Sequence[int] = ()
    """Endpoints with a known backlog, visited first and in this order, whatever their lane's time."""
    new_room: int = 1
    """Room of a lane that `rooms` does not know."""
    lost_max: int = 20
    """After so many lost claims in a row a delivery is parked."""
    known: Mapping[int, int] = {}
    """Endpoint id to the revision that the node has; others come back in `Claimed.endpoints`."""
    slots: frozenset[int] | None = None
    """Only lanes of these slots, where many nodes claim; None for all."""
    node_id: int | None = None
    """Only lanes of slots that are this node's when it claims, whatever it took them for; None for any."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim brought."""

    claims: tuple[Claim, ...]
    endpoints: tuple[tuple[Application, Endpoint], ...]
    """Every endpoint of `claims` whose revision is not the one in `ClaimRequest.known`."""
    backlog: frozenset[int]
    """Endpoints visited that have more due than they had room for, and those of `lanes` that nothing was left for."""
    next_at: Instant | None
    """When the next lane falls due; None if none ever does by itself."""
    lost: int
    """Leases that had run out; each left an attempt with outcome `unknown`."""
    unread: tuple[Claim, ...] = ()
    """Claims whose endpoints could not be read any more; to be given back."""


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt and what follows from it."""

    claim: Claim
    attempt: Attempt
    verdict: Verdict | None
    """None keeps the attempt and leaves the delivery as it is (outcome `closed`)."""
    hold_key: bool = False
    """On FAILED of an ordered delivery: later ones of its key stay blocked."""


class Queue(Protocol):
    """The data plane: all that the dispatcher sees of a store."""

    async def publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | MarketbellError]:
        """
        Keep messages with their deliveries; when this returns they are on disk (fsync).

        Each publication has its own verdict, in order: `Published`, or the error for it alone
        - ConflictError (eventId taken), ReusedKeyError (idempotency key used with another body),
        StaleError, NotFoundError (the application is gone). Marks of one batch stand together:
        where one of them came with another body, nothing of that batch that is handed over with
        it is kept. Two batches under one new key that share a transaction are told apart from the
        first place on that both have. All that were kept were kept in one transaction,
        unless the database itself refused one: its verdict is UnavailableError then, and the
        others were kept in transactions beside it. A caller that is cancelled does not withdraw
        its publications.

        Raises OverloadedError, UnavailableError or OutcomeUnknownError for all of them. After
        the last, born claims are forgotten; their leases bring them back.
        """

    async def first_answers(
        self, marks: Sequence[Idempotency], *, now: Instant
    ) -> list[Published | MarketbellError | None]:
        """
        How `publish` answered these requests before, in order; None for a mark that is new.

        ReusedKeyError stands for one that came with another body, NotFoundError for a message
        that is no longer kept. Nothing is kept by asking.
        """

    async def claim(self, request: ClaimRequest) -> Claimed:
        """
        Take the right to make the next attempt of due deliveries, fairly over lanes.

        First, leases that have run out become attempts with outcome `unknown` and are due again;
        after `lost_max` in a row the delivery is parked: it is due never and counted in `parked`.
        Then `request.lanes`, then lanes in order of their time: from each at most its room, in
        order of due time. A delivery whose payload is gone is cancelled instead. A claim raises the claim
        number, and the delivery is nobody else's until `lease_until`. The cost does not grow with
        the backlog nor with lanes that are not due.
        """

    async def record(self, results: Sequence[Result]) -> None:
        """
        Keep attempts and move their deliveries, in order.

        The attempt is kept whatever else holds: the request did leave this machine. Success is
        absorbing: a delivery that is not finished becomes `delivered` whichever claim brought it.
        Every other verdict moves the delivery only while `claim.claim_number` is its latest.
        Recording one attempt twice (same public id) changes nothing the second time.
        """

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give back claims that were not used: due again as before, no step used, no attempt kept."""

    async def hold(self, endpoint_id: int, until: Instant) -> None:
        """Let a lane rest: nothing of it is claimed through its lane's time before `until`."""

    async def note_health(self, endpoint_id: int, failing_since: Instant | None) -> None:
        """Keep since when an endpoint has only failed, or that it has not (None)."""

    async def disable_endpoint(self, endpoint_id: int, *, now: Instant) -> str | None:
        """
        Disable because its receiver asked so or failed for too long; its public id.

        None, and no error, if it is gone or was disabled before.
        """
