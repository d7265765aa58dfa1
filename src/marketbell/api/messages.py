"""`/api/v1/app/{app_id}/msg`: messages on the wire, as they are read."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import ids
from marketbell.api.answers import Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import PARAMETERS, list_of, page_of
from marketbell.control import history
from marketbell.control.payloads import is_object
from marketbell.control.shapes import CHANNEL_MAX, check_name, check_text
from marketbell.model import Instant, Message
from marketbell.store.base import MessageFilter

PATH: Final = "/api/v1/app/{app_id}/msg"
ONE: Final = "/api/v1/app/{app_id}/msg/{msg_id}"

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


def shown(
    message: Message, *, with_content: bool = True, deliver_at: Instant | None = None
) -> MessageOut:
    """A message on the wire. A payload that is gone reads `{"expired":true}`."""
    payload = WITHOUT
    if with_content:
        payload = payload_shown(message.payload)
    return wire(message, payload, deliver_at)


def wire(message: Message, payload: msgspec.Raw, deliver_at: Instant | None) -> MessageOut:
    """A message on the wire with the payload that is to be shown."""
    created, occurred = message.created_at, message.occurred_at
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


async def _list(call: Call) -> Answer:
    query = call.query
    which = MessageFilter(
        event_types=query.event_types(),
        channel=channel_of(call),
        tag=tag_of(call),
        since=query.instant("after"),
        until=query.instant("before"),
        with_content=query.flag("with_content", default=True),
    )
    page = page_of(query, ids.MESSAGE, newest_first=True)
    part = await history.messages(call.services, call.principal, call.path["app_id"], which, page)
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


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="v1.message.list",
        access=Access.APPLICATION,
        work=_list,
        query=(
            *PARAMETERS,
            "channel",
            "tag",
            "before",
            "after",
            "with_content",
            "event_types",
        ),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.message.get",
        access=Access.APPLICATION,
        work=_get,
        query=("with_content",),
    ),
)
