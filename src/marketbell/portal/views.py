"""What the pages show of endpoints, attempts and messages. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from marketbell.model import Attempt, DeliveryState, Endpoint, Instant, Message, Outcome
from marketbell.store.base import AttemptRow

PAYLOAD_SHOWN: Final = 100_000
"""Characters of a payload that a page shows."""

_OUTCOMES: Final = {
    Outcome.ACCEPTED: "accepted",
    Outcome.REJECTED: "rejected",
    Outcome.NO_ANSWER: "no answer",
    Outcome.CLOSED: "connection closed",
    Outcome.UNKNOWN: "unknown",
}


class Time(msgspec.Struct, frozen=True):
    """An instant for machines and for people."""

    machine: str
    text: str


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as a row of a table."""

    id: str
    at: Time
    good: bool
    outcome: str
    status: str
    """The status code of the answer, or a dash."""
    reason: str
    which: str
    """Which try of how many."""
    duration: str
    message: str
    event_type: str
    endpoint: str
    url: str


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as a card."""

    id: str
    url: str
    description: str
    state: str
    healthy: bool
    takes: str
    """Which event types, in words."""
    last: tuple[AttemptView, ...] = ()


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """One message with its payload."""

    id: str
    event_id: str | None
    event_type: str
    at: Time
    payload: str | None
    """None if it is no longer kept."""
    cut: bool
    """Whether the payload is longer than what is shown."""


def time_of(instant: Instant) -> Time:
    """An instant in UTC."""
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    return Time(moment.isoformat(timespec="milliseconds"), f"{moment:%Y-%m-%d %H:%M:%S} UTC")


def attempt_view(row: AttemptRow, attempts_max: int | None) -> AttemptView:
    """An attempt of a list; its delivery may have so many in all."""
    attempt = row.attempt
    return AttemptView(
        id=attempt.public_id,
        at=time_of(attempt.started_at),
        good=attempt.outcome is Outcome.ACCEPTED,
        outcome=_OUTCOMES[attempt.outcome],
        status=str(attempt.status_code) if attempt.status_code else "–",
        reason=_reason(attempt),
        which=_which(attempt.number, attempts_max),
        duration=_duration(attempt.duration),
        message=row.message.public_id,
        event_type=row.message.event_type,
        endpoint=row.endpoint_public_id,
        url=attempt.url,
    )


def endpoint_view(endpoint: Endpoint, last: tuple[AttemptView, ...] = ()) -> EndpointView:
    """An endpoint with its last attempts."""
    types = endpoint.event_types
    return EndpointView(
        id=endpoint.public_id,
        url=endpoint.url,
        description=endpoint.description,
        state=_state(endpoint),
        healthy=not (endpoint.disabled or endpoint.paused or endpoint.failing_since),
        takes="all event types" if types is None else ", ".join(sorted(types)),
        last=last,
    )


def message_view(message: Message) -> MessageView:
    """A message; a payload that is JSON is set out over lines."""
    payload: str | None = None
    if message.payload:
        try:
            payload = msgspec.json.format(message.payload, indent=2).decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            payload = message.payload.decode("utf-8", "replace")
    return MessageView(
        id=message.public_id,
        event_id=message.event_id,
        event_type=message.event_type,
        at=time_of(message.created_at),
        payload=None if payload is None else payload[:PAYLOAD_SHOWN],
        cut=payload is not None and len(payload) > PAYLOAD_SHOWN,
    )


def delivery_text(state: DeliveryState, next_at: Instant | None) -> str:
    """Where a delivery stands, in words."""
    if state is DeliveryState.PENDING and next_at is not None:
        return f"waiting for the next attempt at {time_of(next_at).text}"
    return {
        DeliveryState.PENDING: "waiting",
        DeliveryState.SENDING: "being sent",
        DeliveryState.DELIVERED: "delivered",
        DeliveryState.FAILED: "failed",
        DeliveryState.CANCELLED: "cancelled",
    }[state]


def _state(endpoint: Endpoint) -> str:
    if endpoint.disabled:
        return "disabled"
    if endpoint.paused:
        return "paused"
    if endpoint.failing_since is not None:
        return f"failing since {time_of(endpoint.failing_since).text}"
    return "active"


def _which(number: int, most: int | None) -> str:
    if not number:
        return "–"
    return str(number) if most is None else f"{number} of {most}"


def _reason(attempt: Attempt) -> str:
    if attempt.reason or attempt.outcome is Outcome.ACCEPTED:
        return attempt.reason
    return f"answered {attempt.status_code}" if attempt.status_code else "no answer"


def _duration(millis: int) -> str:
    return f"{millis} ms" if millis < 1_000 else f"{millis / 1000:.1f} s"
