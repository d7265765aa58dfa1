"""A message as a publisher writes it: the JSON of one message, decoded and read."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from marketbell.api.applications import ApplicationIn
from marketbell.api.instants import instant_of
from marketbell.api.wire import BODY, Decoder
from marketbell.control.applications import ApplicationChange
from marketbell.control.drafts import HEADERS, PAYLOAD, RAW_PAYLOAD, MessageDraft
from marketbell.control.headers import check_message_headers
from marketbell.control.payloads import check_twice
from marketbell.errors import InvalidError
from marketbell.model import Millis

T = TypeVar("T")

HOUR: Final[Millis] = 3_600_000
DAYS_MAX: Final = 90
HOURS_MAX: Final = 24 * DAYS_MAX

_QUOTES: Final = 6
"""Around the names of two fields and one text."""
_ABSENT: Final = msgspec.Raw()
_NONE: Final = msgspec.Raw(b"null")


class MessageIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", gc=False):
    """What POST takes; the payload stays the bytes that it came as."""

    event_type: str
    payload: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    """Another name of `payload`."""
    event_id: str | UnsetType | None = UNSET
    channels: tuple[str, ...] | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType | None = UNSET
    timestamp: str | int | float | UnsetType | None = UNSET
    deliver_at: str | UnsetType | None = UNSET
    payload_retention_period: int | UnsetType | None = UNSET
    payload_retention_hours: int | UnsetType | None = UNSET
    application: msgspec.Raw = _ABSENT
    transformations_params: msgspec.Raw = _ABSENT


class TransformationsParams(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"
):
    """Those of Svix's extra parameters that mean something here."""

    raw_payload: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One message, read."""

    draft: MessageDraft
    application: ApplicationChange | None
    """To be made if there is none yet."""


_DECODE: Final = Decoder(MessageIn).unchecked
_APPLICATION: Final = Decoder(ApplicationIn)
_PARAMS: Final = Decoder(TransformationsParams)


def incoming(body: bytes) -> Incoming:
    """
    The message that a body describes.

    Raises InvalidError: not JSON, a key twice, a field that is missing, unknown, of another
    type, or that contradicts another.
    """
    form = _DECODE(body)
    payload = _the_other(form) if len(form.data) else bytes(form.payload)
    around = _around(body, payload)
    # Cheap and exact: without escapes and rarer fields, so many quotes mean no key twice.
    quotes = -1 if b"\\" in around else around.count(b'"')
    if quotes == _QUOTES and payload:  # nothing but an event type and an object
        return Incoming(MessageDraft(event_type=form.event_type, payload=payload), None)
    if len(form.application) or len(form.transformations_params) or quotes != _quotes(form):
        check_twice(around, BODY)
        return _rarer(form, payload)
    return Incoming(_draft(form, payload), None)


def draft_of(body: bytes) -> MessageDraft:
    """The message of a body that comes by another way than a request, and cannot make an application."""
    given = incoming(body)
    if given.application is not None:
        raise InvalidError(
            (*BODY, "application"),
            "The application cannot be made along with a message here; make it first",
        )
    return given.draft


def _the_other(form: MessageIn) -> bytes:
    """The payload under its other name."""
    if len(form.payload):
        raise InvalidError((*BODY, "data"), "data is another name of payload; send one of them")
    return bytes(form.data)


def _quotes(form: MessageIn) -> int:
    """How many quotes a body with these fields has outside of its payload."""
    count = 4 + (2 if len(form.payload) else 0) + (2 if len(form.data) else 0)
    for text in (form.event_id, form.timestamp, form.deliver_at):
        if text is not UNSET:
            count += 4 if isinstance(text, str) else 2
    for names in (form.channels, form.tags):
        if names is not UNSET:
            count += 2 + 2 * len(names or ())
    if form.payload_retention_period is not UNSET:
        count += 2
    if form.payload_retention_hours is not UNSET:
        count += 2
    return count


def _around(body: bytes, payload: bytes) -> bytes:
    """
    A body with 0 in the place of its payload, if that is an object, which is checked elsewhere.

    The text of an object stands nowhere but for one; that of a number may be a part of another.
    """
    if payload[:1] != b"{":
        return body
    length = len(payload)
    at = len(body) - length - 1  # mostly it is the last member
    if body[at:-1] != payload:
        at = body.index(payload)
    return b"%b0%b" % (body[:at], body[at + length :])


def _rarer(form: MessageIn, payload: bytes) -> Incoming:
    """A message with an application, a raw payload or headers of its own."""
    application = None
    if form.application not in (_ABSENT, _NONE):
        application = _within("application", form.application, _APPLICATION).change()
    if form.transformations_params in (_ABSENT, _NONE):
        return Incoming(_draft(form, payload), application)
    params = _within("transformationsParams", form.transformations_params, _PARAMS)
    headers = () if not params.headers else check_message_headers(params.headers, HEADERS)
    if params.raw_payload is UNSET:
        return Incoming(
            msgspec.structs.replace(_draft(form, payload), headers=headers), application
        )
    if payload and bytes(payload).translate(None, b" \t\r\n") != b"{}":
        raise InvalidError(
            PAYLOAD, "There is a rawPayload, so the payload must be {}; send one of them"
        )
    try:
        raw = params.raw_payload.encode()
    except UnicodeEncodeError:
        raise InvalidError(RAW_PAYLOAD, "The text holds half of a surrogate pair") from None
    if not raw:
        raise InvalidError(RAW_PAYLOAD, "The raw payload is empty")
    draft = msgspec.structs.replace(_draft(form, raw), raw=True, headers=headers)
    return Incoming(draft, application)


def _within(name: str, raw: msgspec.Raw, decode: Decoder[T]) -> T:
    """What stands in one field, its faults named from the message's root."""
    try:
        return decode(bytes(raw))
    except InvalidError as fault:
        field = (*BODY, name, *fault.field[1:])
        raise InvalidError(field, fault.detail, kind=fault.kind) from None


def _draft(form: MessageIn, payload: bytes) -> MessageDraft:
    if not payload:
        raise InvalidError(
            PAYLOAD, "The field is missing; it is required", kind="value_error.missing"
        )
    occurred_at = deliver_at = None
    if form.timestamp is not UNSET and form.timestamp is not None:
        occurred_at = instant_of(form.timestamp, (*BODY, "timestamp"))
    if form.deliver_at is not UNSET and form.deliver_at is not None:
        deliver_at = instant_of(form.deliver_at, (*BODY, "deliverAt"))
    return MessageDraft(
        event_type=form.event_type,
        payload=payload,
        event_id=None if form.event_id is UNSET else form.event_id,
        channels=None if form.channels is UNSET else form.channels,
        tags=None if form.tags is UNSET else form.tags,
        occurred_at=occurred_at,
        deliver_at=deliver_at,
        retention=_retention(form),
    )


def _retention(form: MessageIn) -> Millis | None:
    days = None if form.payload_retention_period is UNSET else form.payload_retention_period
    hours = None if form.payload_retention_hours is UNSET else form.payload_retention_hours
    if days is not None and hours is not None:
        raise InvalidError(
            (*BODY, "payloadRetentionHours"),
            "payloadRetentionHours and payloadRetentionPeriod exclude one another; send one",
        )
    if days is not None:
        if not 1 <= days <= DAYS_MAX:
            raise InvalidError((*BODY, "payloadRetentionPeriod"), f"1 to {DAYS_MAX} days")
        return 24 * HOUR * days
    if hours is not None:
        if not 1 <= hours <= HOURS_MAX:
            raise InvalidError((*BODY, "payloadRetentionHours"), f"1 to {HOURS_MAX} hours")
        return HOUR * hours
    return None
