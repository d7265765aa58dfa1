"""What a publisher says of one message, and whether it is good."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import ids
from marketbell.control.directory import Entry
from marketbell.control.payloads import check_payload, is_object
from marketbell.control.shapes import (
    MESSAGE_CHANNELS_MAX,
    check_channels,
    check_event_type,
    check_tags,
    check_uid,
)
from marketbell.delivery.intake import Acceptance
from marketbell.dialects.schema import PayloadSchema
from marketbell.errors import InvalidError
from marketbell.model import Instant, Message, Millis
from marketbell.store.base import Idempotency, OutboxKey

DELIVER_AHEAD_MAX: Final[Millis] = 24 * 3_600_000
"""How far ahead `deliverAt` may lie."""
DELIVER_PAST_MAX: Final[Millis] = 60_000
"""How long ago it may lie: clocks differ, and a repeated request comes later."""

EVENT_TYPE: Final = ("body", "eventType")
PAYLOAD: Final = ("body", "payload")
RAW_PAYLOAD: Final = ("body", "transformationsParams", "rawPayload")
HEADERS: Final = ("body", "transformationsParams", "headers")


class MessageDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher says of one message."""

    event_type: str
    payload: bytes
    """JSON, as the bytes that came in."""
    raw: bool = False
    """Whether the payload is to be sent as it is even if it is no JSON object."""
    event_id: str | None = None
    channels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    occurred_at: Instant | None = None
    """When it happened; None for now."""
    deliver_at: Instant | None = None
    """When its deliveries fall due; None for now."""
    retention: Millis | None = None
    """How long the payload is kept; None as the settings say."""
    headers: tuple[tuple[str, str], ...] = ()
    """The message's own, checked."""
    outbox: OutboxKey | None = None
    """The row of the outbox that it is made of."""


def accept(
    entry: Entry,
    schema: PayloadSchema | None,
    draft: MessageDraft,
    idempotency: Idempotency | None,
    *,
    now: Instant,
    retention: Millis,
) -> Acceptance:
    """
    A draft as it is handed to the data plane, if all of it is good.

    `schema` is the organization's own for this event type, `retention` how long payloads are
    kept unless the draft says. Raises InvalidError naming the field.
    """
    application = entry.subscribers.application
    check_event_type(draft.event_type, EVENT_TYPE)
    if draft.event_id is not None:
        check_uid(draft.event_id, ids.MESSAGE, ("body", "eventId"))
    if draft.channels is not None:
        check_channels(draft.channels, ("body", "channels"), MESSAGE_CHANNELS_MAX)
    if draft.tags is not None:
        check_tags(draft.tags, ("body", "tags"))
    due_at = now if draft.deliver_at is None else _due_at(draft.deliver_at, now)
    if draft.headers and not entry.verbatim:
        raise InvalidError(
            HEADERS,
            "A message cannot bring headers here: not every endpoint of this application speaks "
            "the dialect `standard`",
        )
    if draft.raw:
        _check_raw(entry, schema, draft)
    else:
        check_payload(draft.payload, PAYLOAD)
    if schema is not None or entry.catalogues:
        _check_schema(entry, schema, draft.event_type, draft.payload)
    kept = retention if draft.retention is None else draft.retention
    return Acceptance(
        message=Message(
            id=0,
            public_id=ids.new_id(ids.MESSAGE, now),
            application_id=application.id,
            event_type=draft.event_type,
            event_id=draft.event_id,
            payload=draft.payload,
            channels=draft.channels or (),
            tags=draft.tags or (),
            occurred_at=now if draft.occurred_at is None else draft.occurred_at,
            created_at=now,
            payload_expires_at=now + kept,
            deliver_at=draft.deliver_at,
            headers=draft.headers,
        ),
        subscribers=entry.subscribers,
        due_at=due_at,
        idempotency=idempotency,
        outbox=draft.outbox,
    )


def _check_raw(entry: Entry, schema: PayloadSchema | None, draft: MessageDraft) -> None:
    """What is to be sent as it is need be no object, where nobody looks into it."""
    if is_object(draft.payload):
        check_payload(draft.payload, RAW_PAYLOAD)
    elif schema is not None:
        raise InvalidError(
            RAW_PAYLOAD, "A raw payload must be a JSON object here: its event type has a schema"
        )
    elif not entry.verbatim:
        raise InvalidError(
            RAW_PAYLOAD,
            "A raw payload must be a JSON object here: not every endpoint of this application "
            "speaks the dialect `standard`",
        )


def check_payload_anew(entry: Entry, schema: PayloadSchema | None, message: Message) -> None:
    """Return if the payload of a message is good for an application that has changed. InvalidError."""
    if schema is not None or not entry.verbatim or is_object(message.payload):
        _check_schema(entry, schema, message.event_type, message.payload)


def _check_schema(
    entry: Entry, schema: PayloadSchema | None, event_type: str, payload: bytes
) -> None:
    """The organization's own schema may ask for more than a catalogue does, never for less: that could not be sent."""
    if schema is not None:
        schema.check(payload)
    for catalogue in entry.catalogues:
        catalogue.check(event_type, payload)


def _due_at(deliver_at: Instant, now: Instant) -> Instant:
    if now - DELIVER_PAST_MAX <= deliver_at <= now + DELIVER_AHEAD_MAX:
        return max(deliver_at, now)
    raise InvalidError(
        ("body", "deliverAt"),
        "deliverAt lies in the past or more than 24 hours ahead; give an instant within 24 hours",
    )
