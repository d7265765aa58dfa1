"""One message as a caller of the outbox gives it, and the row that it becomes if it is good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.control.headers import check_message_headers
from marketbell.control.payloads import check_payload
from marketbell.control.shapes import (
    MESSAGE_CHANNELS_MAX,
    check_channels,
    check_event_type,
    check_name,
    check_organization,
    check_tags,
    check_uid,
)
from marketbell.errors import InvalidError, TooLargeError

HOURS_MAX: Final = 24 * 90
"""For how long a payload can be kept at most."""

_TEXTS: Final = ("application", "event_type", "organization", "event_id")
_LISTS: Final = ("channels", "tags")
_ENCODE: Final = msgspec.json.Encoder().encode


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One message to be published; the fields are those of `POST /api/v1/app/{app_id}/msg`."""

    application: str
    """Its id, or the uid that you gave it."""
    event_type: str
    payload: object
    """A mapping, or whatever else msgspec writes as a JSON object; bytes are JSON and stay as they are."""
    organization: str | None = None
    """Needed only where two organizations have an application of this uid."""
    event_id: str | None = None
    """Your own id of what happened; a second message with it is rejected."""
    channels: Sequence[str] | None = None
    tags: Sequence[str] | None = None
    timestamp: datetime | None = None
    """When it happened, with a time zone; None for now."""
    deliver_at: datetime | None = None
    """When it is to be sent, with a time zone, at most 24 hours ahead; None for at once."""
    payload_retention_hours: int | None = None
    """How long the payload is kept; None as the server is set up."""
    headers: Mapping[str, str] | None = None
    """Sent with it, if all endpoints of the application speak the dialect `standard`."""


class Row(msgspec.Struct, frozen=True):
    """One message as it stands in the outbox."""

    organization: str | None
    application: str
    body: bytes
    """JSON in UTF-8, as the API takes it."""


class _Parameters(msgspec.Struct, frozen=True):
    headers: dict[str, str]


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    event_type: str
    payload: msgspec.Raw
    event_id: str | UnsetType = UNSET
    channels: tuple[str, ...] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    deliver_at: str | UnsetType = UNSET
    payload_retention_hours: int | UnsetType = UNSET
    transformations_params: _Parameters | UnsetType = UNSET


def row_of(draft: Draft, *, body_max: int) -> Row:
    """
    The row of a message.

    Raises InvalidError naming the field, TooLargeError if it is more than `body_max` bytes. What
    only the server knows - whether there is such an application, what the schema of the event
    type says - is looked at when it is taken from the outbox.
    """
    _check_types(draft)
    check_name(draft.application, ("application",), "An application's id or uid")
    if draft.organization is not None:
        check_organization(draft.organization, ("organization",))
    check_event_type(draft.event_type, ("event_type",))
    if draft.event_id is not None:
        check_uid(draft.event_id, ids.MESSAGE, ("event_id",))
    if draft.channels is not None:
        check_channels(draft.channels, ("channels",), MESSAGE_CHANNELS_MAX)
    if draft.tags is not None:
        check_tags(draft.tags, ("tags",))
    headers = check_message_headers(draft.headers or {}, ("headers",))
    body = _ENCODE(
        _Body(
            event_type=draft.event_type,
            payload=msgspec.Raw(payload_of(draft.payload)),
            event_id=UNSET if draft.event_id is None else draft.event_id,
            channels=UNSET if draft.channels is None else tuple(draft.channels),
            tags=UNSET if draft.tags is None else tuple(draft.tags),
            timestamp=_instant(draft.timestamp, "timestamp"),
            deliver_at=_instant(draft.deliver_at, "deliver_at"),
            payload_retention_hours=_hours(draft.payload_retention_hours),
            transformations_params=_Parameters(dict(headers)) if headers else UNSET,
        )
    )
    if len(body) > body_max:
        raise TooLargeError(
            ("payload",),
            f"The message is {len(body)} bytes; at most {body_max} are taken. Send less, or a link to it",
        )
    return Row(draft.organization, draft.application, body)


def payload_of(payload: object) -> bytes:
    """A payload as JSON. Raises InvalidError if it is none, or not one that every reader reads alike."""
    field = ("payload",)
    if isinstance(payload, bytes | bytearray | memoryview | msgspec.Raw):
        text = bytes(payload).strip(b" \t\r\n")
    else:
        try:
            text = _ENCODE(payload)
        except UnicodeEncodeError:
            raise InvalidError(field, "The payload holds half of a surrogate pair") from None
        except (TypeError, ValueError, OverflowError, RecursionError) as fault:
            raise InvalidError(field, f"The payload cannot be written as JSON: {fault}") from None
        if b"null" in text and not _finite(msgspec.to_builtins(payload)):
            raise InvalidError(field, "The payload holds NaN or an infinity, which JSON has not")
    check_payload(text, field)
    return text


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_finite, value))


def _check_types(draft: Draft) -> None:
    for name in _TEXTS:
        given = getattr(draft, name)
        if given is not None and not isinstance(given, str):
            raise InvalidError((name,), f"{name} is a text, not {type(given).__name__}")
    for name in _LISTS:
        given = getattr(draft, name)
        if given is not None and (
            isinstance(given, str) or not all(isinstance(one, str) for one in given)
        ):
            raise InvalidError((name,), f"{name} is a list of texts")
    for header, value in (draft.headers or {}).items():
        if not (isinstance(header, str) and isinstance(value, str)):
            raise InvalidError(("headers",), "A header's name and its value are texts")


def _instant(moment: datetime | None, name: str) -> str | UnsetType:
    if moment is None:
        return UNSET
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidError(
            (name,), f"{name} is a datetime with a time zone, such as datetime.now(UTC)"
        )
    if moment.timestamp() < 0:
        raise InvalidError((name,), f"{name} lies before 1970")
    return moment.isoformat()


def _hours(hours: int | None) -> int | UnsetType:
    if hours is None:
        return UNSET
    if not isinstance(hours, int) or not 1 <= hours <= HOURS_MAX:
        raise InvalidError(("payload_retention_hours",), f"1 to {HOURS_MAX} hours")
    return hours
