"""`/api/v1/app/{app_id}/msg`: messages on the wire, as they are read and as their content goes."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import PARAMETERS, ListOut, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import history
from marketbell.control.payloads import is_object
from marketbell.control.shapes import CHANNEL_MAX, check_name, check_text
from marketbell.errors import InvalidError
from marketbell.model import Message
from marketbell.store.base import MessageFilter, Repeated

PATH: Final = "/api/v1/app/{app_id}/msg"
ONE: Final = "/api/v1/app/{app_id}/msg/{msg_id}"
CONTENT: Final = f"{ONE}/content"
EXPUNGE: Final = f"{PATH}/bulk-expunge"
PRECHECK: Final = f"{PATH}/precheck/active"

EXPUNGE_MAX: Final = 100
"""Messages whose payloads one request removes."""

EXPIRED: Final = msgspec.Raw(b'{"expired":true}')
WITHOUT: Final = msgspec.Raw(b"{}")


class MessageOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is shown of a message."""

    id: str
    event_type: str
    payload: msgspec.Raw
    timestamp: str
    """When it was accepted."""
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    deliver_at: str | None = None
    occurred_at: str | None = None
    """The publisher's `timestamp`, where it gave one."""


class ExpungeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bulk-expunge` takes: ids or eventIds."""

    ids: list[str] | None = None


class ExpungedOut(msgspec.Struct, frozen=True):
    """What became of each: `expunged` or `not-found`."""

    results: dict[str, str]


class PrecheckIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What `precheck/active` takes."""

    event_type: str
    channels: list[str] | None = None


class PrecheckOut(msgspec.Struct, frozen=True):
    """Whether anybody would get it."""

    active: bool


_MANY: Final = Decoder(ExpungeIn)
_PRECHECK: Final = Decoder(PrecheckIn)


def shown(message: Message, *, with_content: bool = True) -> MessageOut:
    """A message on the wire. A payload that is gone reads `{"expired":true}`."""
    return wire(message, payload_shown(message.payload) if with_content else WITHOUT)


def wire(message: Message, payload: msgspec.Raw) -> MessageOut:
    """A message on the wire with the payload that is to be shown."""
    created, occurred, deliver_at = message.created_at, message.occurred_at, message.deliver_at
    return MessageOut(
        id=message.public_id,
        event_type=message.event_type,
        payload=payload,
        timestamp=iso(created),
        event_id=message.event_id,
        channels=message.channels or None,
        tags=message.tags or None,
        deliver_at=None if deliver_at is None else iso(deliver_at),
        occurred_at=None if occurred == created else iso(occurred),
    )


def payload_shown(payload: bytes) -> msgspec.Raw:
    """A stored payload as the object that the wire has for it."""
    if not payload:
        return EXPIRED
    if is_object(payload):
        return msgspec.Raw(payload)
    # A raw payload that is no JSON object; the SDKs want an object here.
    text = payload.decode("utf-8", "replace")
    return msgspec.Raw(msgspec.json.encode({"rawPayload": text}))


def which_of(call: Call) -> MessageFilter:
    """The filters that a list of messages has."""
    query = call.query
    return MessageFilter(
        event_types=query.event_types(),
        channel=channel_of(call),
        tag=tag_of(call),
        since=query.instant("after"),
        until=query.instant("before"),
        with_content=query.flag("with_content", default=True),
    )


async def _list(call: Call) -> Answer:
    which = which_of(call)
    page = page_of(call.query, ids.MESSAGE, newest_first=True)
    text = call.query.text("text")
    found = (call.services, call.principal, call.path["app_id"])
    if text is None:
        part = await history.messages(*found, which, page)
    else:
        part = await history.messages_worded(*found, text=text, which=which, page=page)
    return answer_of(
        list_of(
            part,
            lambda message: shown(message, with_content=which.with_content),
            lambda message: message.public_id,
        )
    )


async def _get(call: Call) -> Answer:
    message = await history.message(
        call.services, call.principal, call.path["app_id"], call.path["msg_id"]
    )
    return answer_of(shown(message, with_content=call.query.flag("with_content", default=True)))


async def _expunge(call: Call) -> Answer:
    await history.expunge_payload(
        call.services, call.principal, call.path["app_id"], call.path["msg_id"]
    )
    return NO_CONTENT


async def _expunge_many(call: Call) -> Answer:
    refs = _MANY(call.body).ids or []
    if len(refs) > EXPUNGE_MAX:
        raise InvalidError(
            ("body", "ids"), f"There are {len(refs)} messages; send at most {EXPUNGE_MAX}"
        )
    made = await history.expunge_payloads(
        call.services, call.principal, call.path["app_id"], tuple(refs), once=call.once(_expunged)
    )
    return Answer(200, made.answer if isinstance(made, Repeated) else _expunged(made))


def _expunged(made: object) -> bytes:
    found = cast("dict[str, bool]", made)
    results = {ref: "expunged" if kept else "not-found" for ref, kept in found.items()}
    return msgspec.json.encode(ExpungedOut(results))


async def _precheck(call: Call) -> Answer:
    given = _PRECHECK(call.body)
    active = await history.would_be_sent(
        call.services,
        call.principal,
        call.path["app_id"],
        given.event_type,
        tuple(given.channels or ()),
    )
    return answer_of(PrecheckOut(active))


def channel_of(call: Call) -> str | None:
    """The parameter `channel`."""
    channel = call.query.text("channel")
    if channel is not None:
        check_name(channel, ("query", "channel"), "A channel", limit=CHANNEL_MAX)
    return channel


def tag_of(call: Call) -> str | None:
    """The parameter `tag`."""
    tag = call.query.text("tag")
    if tag is not None:
        check_text(tag, ("query", "tag"), limit=CHANNEL_MAX)
    return tag


FILTERS: Final = ("channel", "tag", "before", "after", "with_content", "event_types")
"""The parameters that filter messages."""

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="v1.message.list",
        summary="Lists messages, newest first.",
        gives={200: ListOut[MessageOut]},
        access=Access.APPLICATION,
        work=_list,
        query=(*PARAMETERS, *FILTERS, "text"),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.message.get",
        summary="One message.",
        gives={200: MessageOut},
        access=Access.APPLICATION,
        work=_get,
        query=("with_content",),
    ),
    Operation(
        method="DELETE",
        path=CONTENT,
        name="v1.message.expunge-content",
        summary="Removes a message's payload for good; its deliveries that wait are cancelled.",
        gives={204: None},
        access=Access.APPLICATION,
        work=_expunge,
    ),
    Operation(
        method="POST",
        path=EXPUNGE,
        name="v1.message.bulk-expunge-content",
        summary="Removes the payloads of up to 100 messages, in one transaction.",
        takes=ExpungeIn,
        gives={200: ExpungedOut},
        access=Access.APPLICATION,
        work=_expunge_many,
    ),
    Operation(
        method="POST",
        path=PRECHECK,
        name="v1.message.precheck",
        summary="Tells whether any endpoint would get a message of this event type and channels.",
        takes=PrecheckIn,
        gives={200: PrecheckOut},
        access=Access.APPLICATION,
        scope="message:read",
        work=_precheck,
    ),
)
