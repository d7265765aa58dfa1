"""`/api/v1/event-type`: an organization's own event types on the wire."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from marketbell.api.answers import Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import event_types
from marketbell.errors import InvalidError
from marketbell.store.base import EventType, Repeated

PATH: Final = "/api/v1/event-type"
ONE: Final = "/api/v1/event-type/{event_type_name}"

_VERSION: Final = "1"


class EventTypeIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What POST takes; fields that this server has no use for are refused unless empty."""

    name: str
    description: str = ""
    archived: bool | None = None
    deprecated: bool | None = None
    schemas: dict[str, msgspec.Raw] | None = None
    group_name: str | None = None
    feature_flag: str | None = None
    feature_flags: list[str] | None = None


class EventTypeOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of an event type."""

    name: str
    description: str
    archived: bool
    deprecated: bool = False
    schemas: dict[str, msgspec.Raw] | None
    group_name: str | None = None
    feature_flag: str | None = None
    feature_flags: list[str] | None = None
    created_at: str
    updated_at: str


_IN: Final = Decoder(EventTypeIn)


def shown(event_type: EventType, *, with_content: bool = True) -> EventTypeOut:
    """An event type on the wire."""
    schemas = None
    if event_type.schema is not None and with_content:
        schemas = {_VERSION: msgspec.Raw(event_type.schema)}
    return EventTypeOut(
        name=event_type.name,
        description=event_type.description,
        archived=event_type.archived,
        schemas=schemas,
        created_at=iso(event_type.created_at),
        updated_at=iso(event_type.updated_at),
    )


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(shown(cast("EventType", made)))


def _schema(form: EventTypeIn) -> bytes | None:
    """The one schema of a form, None if it has none. InvalidError for what cannot be kept."""
    for field, said in (
        ("deprecated", form.deprecated),
        ("groupName", form.group_name),
        ("featureFlag", form.feature_flag),
        ("featureFlags", form.feature_flags),
    ):
        if said:
            raise InvalidError(
                ("body", field), "This server does not keep this field; leave it out"
            )
    if not form.schemas:
        return None
    if set(form.schemas) != {_VERSION}:
        raise InvalidError(
            ("body", "schemas"),
            f'An event type has one schema; send it as {{"{_VERSION}": {{...}}}}',
        )
    return bytes(form.schemas[_VERSION])


async def _create(call: Call) -> Answer:
    form = _IN(call.body)
    made = await event_types.create(
        call.services,
        call.principal,
        name=form.name,
        description=form.description,
        schema=_schema(form),
        archived=bool(form.archived),
        once=call.once(_rendered),
    )
    if isinstance(made, Repeated):
        return Answer(201, made.answer)
    return answer_of(shown(made), 201)


async def _list(call: Call) -> Answer:
    page = page_of(call.query, None)
    with_content = call.query.flag("with_content")
    part = await event_types.listed(
        call.services,
        call.principal,
        page,
        include_archived=call.query.flag("include_archived"),
    )
    return answer_of(
        list_of(
            part,
            lambda event_type: shown(event_type, with_content=with_content),
            lambda event_type: event_type.name,
        )
    )


async def _get(call: Call) -> Answer:
    return answer_of(
        shown(await event_types.get(call.services, call.principal, call.path["event_type_name"]))
    )


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.event-type.create",
        access=Access.OPERATOR,
        work=_create,
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.event-type.list",
        access=Access.APPLICATION,
        work=_list,
        query=(*ORDERED, "include_archived", "with_content"),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.event-type.get",
        access=Access.APPLICATION,
        work=_get,
    ),
)
