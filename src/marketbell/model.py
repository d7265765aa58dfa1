"""Frozen values of the domain, shared by every layer; no I/O and no clock."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import msgspec

Instant: TypeAlias = int
"""A point in time: milliseconds since 1970-01-01 UTC."""

Millis: TypeAlias = int
"""A length of time in milliseconds."""

NEVER: Final[Instant] = 1 << 62
"""Later than any instant; what is due then waits for something other than time."""

SLOTS: Final = 1024
"""Into how many shares the endpoints are divided; one node at a time owns a slot."""


class DeliveryState(enum.StrEnum):
    """Where a delivery stands. The last three are final, and `delivered` is absorbing."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Trigger(enum.StrEnum):
    """What asked for an attempt: the schedule, or a person's resend."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"


class Outcome(enum.StrEnum):
    """What became of one attempt."""

    ACCEPTED = "accepted"
    """The receiver answered as the dialect's success rule asks."""
    REJECTED = "rejected"
    """A whole answer came, and it was not a success."""
    NO_ANSWER = "no_answer"
    """No valid answer: not resolved, refused, timed out, cut off, not HTTP."""
    CLOSED = "closed"
    """A kept connection died before the first byte of the answer. Not counted."""
    UNKNOWN = "unknown"
    """The claim was lost: the request may or may not have been sent. Not counted."""

    @property
    def counted(self) -> bool:
        """Whether the attempt uses up a step of the retry schedule."""
        return self not in (Outcome.CLOSED, Outcome.UNKNOWN)


class OrderOnFailure(enum.StrEnum):
    """What a key's later deliveries do when one of them fails for good."""

    MOVE_ON = "move-on"
    HOLD = "hold"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """
    How deliveries are made; None takes the value of the next wider level.

    The endpoint's policy stands above the application's, that above the dialect's
    and the settings'. On the wire these are the metadata keys `marketbell.*`.
    """

    dialect: str | None = None
    retry_schedule: tuple[Millis, ...] | None = None
    """One wait per resend, counted from the end of the failed attempt; at most 64."""
    timeout: Millis | None = None
    """The longest that one attempt may take in all."""
    max_in_flight: int | None = None
    order_by: str | None = None
    """A JSON pointer (RFC 6901) into the payload; deliveries with one value keep their order."""
    order_on_failure: OrderOnFailure | None = None

    def over(self, wider: Policy) -> Policy:
        """The same policy with every unset field taken from `wider`."""
        return Policy(
            **{
                name: getattr(wider if getattr(self, name) is None else self, name)
                for name in self.__struct_fields__
            }
        )


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """One live secret of an endpoint: HMAC-SHA256 key bytes, or an ed25519 private key."""

    kind: str
    """`v1` (HMAC) or `v1a` (ed25519), the prefix of its signatures."""
    secret: bytes
    expires_at: Instant | None = None
    """None for the current secret; the end of the overlap for one rotated away."""

    def __repr__(self) -> str:
        """Without the secret, so that no log line can hold it."""
        return f"SigningKey(kind={self.kind!r}, expires_at={self.expires_at!r})"


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of an organization: a seller."""

    id: int
    public_id: str
    organization: str
    uid: str | None
    name: str
    metadata: dict[str, str]
    """The operator's own keys, without `marketbell.*`."""
    policy: Policy
    throttle_rate: int | None
    revision: int
    """Rises with every change that can change a fan-out: of it or of its endpoints."""
    created_at: Instant
    updated_at: Instant


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A seller's URL with its filters, headers, secrets and limits."""

    id: int
    public_id: str
    application_id: int
    uid: str | None
    url: str
    description: str
    event_types: frozenset[str] | None
    """None takes every event type."""
    channels: frozenset[str] | None
    """None takes messages of every channel and of none."""
    headers: tuple[tuple[str, str], ...]
    secrets: tuple[SigningKey, ...]
    """The current one first, then those whose overlap has not ended."""
    metadata: dict[str, str]
    policy: Policy
    throttle_rate: int | None
    """At most so many attempts a second."""
    disabled: bool
    paused: bool
    slot: int
    revision: int
    """Rises with every change of it; no attempt uses an older one than its claim names."""
    version: int
    failing_since: Instant | None
    """When its present run of failures began; None after a success."""
    held_until: Instant = 0
    """Nothing is begun before then: it asked for that, or is paused."""
    created_at: Instant
    updated_at: Instant

    def wants(self, event_type: str, channels: tuple[str, ...]) -> bool:
        """Whether a message of this type and these channels is for this endpoint."""
        if self.disabled:
            return False
        if self.event_types is not None and event_type not in self.event_types:
            return False
        return self.channels is None or not self.channels.isdisjoint(channels)


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened, for one application. Immutable."""

    id: int
    """0 until the store has given it one."""
    public_id: str
    application_id: int
    event_type: str
    event_id: str | None
    """The publisher's own id, unique within the application."""
    payload: bytes
    """As the bytes that came in; b'' once retention has taken it."""
    channels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    occurred_at: Instant
    """The publisher's `timestamp`, else the time of acceptance."""
    created_at: Instant
    """When it was accepted."""
    payload_expires_at: Instant
    deliver_at: Instant | None = None
    """The publisher's `deliverAt`: its deliveries did not fall due before."""
    headers: tuple[tuple[str, str], ...] = ()
    """The message's own, sent by dialects that send payloads as they are."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The right to make the next attempt of one delivery, until `lease_until`."""

    message: Message
    endpoint_id: int
    endpoint_revision: int
    """The sender may use this revision of the endpoint or a newer one, never an older."""
    claim_number: int
    """The fence: rises with every claim of the delivery."""
    attempt_count: int
    """Attempts recorded and counted so far; chooses the step of the schedule."""
    born_at: Instant
    """When the delivery came into being; a dialect's horizon counts from here."""
    due_at: Instant
    """When the attempt was due; what it is late by is a metric."""
    lease_until: Instant
    trigger: Trigger = Trigger.SCHEDULED
    order_key: bytes | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request of a delivery, or the trace of one that may have been. Immutable."""

    public_id: str
    message_id: int
    endpoint_id: int
    claim_number: int
    number: int
    """Counted from 1 within the delivery; 0 where the outcome is not counted."""
    trigger: Trigger
    outcome: Outcome
    status_code: int
    """0 where no answer came."""
    reason: str
    """Empty for an accepted one, else one short clause: what went wrong."""
    response: bytes
    """The kept part of the answer's body."""
    url: str
    address: str
    """The checked address and port that was called, empty if none was."""
    started_at: Instant
    duration: Millis


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What follows from an attempt: the delivery's next state, decided without I/O."""

    state: DeliveryState
    """DELIVERED, FAILED, or PENDING with `due_at`."""
    due_at: Instant = 0
    disable_endpoint: bool = False
    """The receiver said that it is gone for good (410)."""
    hold_until: Instant = 0
    """The whole lane rests until then (Retry-After, throttling); 0 for not."""
