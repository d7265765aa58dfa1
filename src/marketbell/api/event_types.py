"""`/api/v1/event-type`: an organization's own event types on the wire."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, ListOut, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import event_types
from marketbell.control.event_types import EventTypeChange
from marketbell.errors import InvalidError
from marketbell.store.base import EventType, Repeated

PATH: Final = "/api/v1/event-type"
ONE: Final = "/api/v1/event-type/{event_type_name}"


class EventTypePatch(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What PATCH takes; what is absent stays, null clears."""

    description: str | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    deprecated: bool | UnsetType = UNSET
    schemas: dict[str, msgspec.Raw] | UnsetType | None = UNSET
    group_name: str | UnsetType | None = UNSET
    feature_flags: list[str] | UnsetType | None = UNSET
    feature_flag: str | UnsetType | None = UNSET
    """The name of a single one of `featureFlags` in SDKs before 2.0."""

    def change(self) -> EventTypeChange:
        """What it says."""
        return EventTypeChange(
            description=self.description,
            schemas=self.schemas,
            archived=self.archived,
            deprecated=self.deprecated,
            group_name=self.group_name,
            feature_flags=flags_of(self.feature_flags, self.feature_flag),
        )


class EventTypeUpsertIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What PUT takes; null is the same as absent."""

    description: str = ""
    archived: bool | None = None
    deprecated: bool | None = None
    schemas: dict[str, msgspec.Raw] | None = None
    group_name: str | None = None
    feature_flags: list[str] | None = None
    feature_flag: str | None = None

    def change(self) -> EventTypeChange:
        """What it says."""
        # Absent and null are one here, so a name that is null says nothing beside the other.
        flags = UNSET if self.feature_flags is None else self.feature_flags
        flag = UNSET if self.feature_flag is None else self.feature_flag
        return EventTypeChange(
            description=self.description,
            schemas=self.schemas,
            archived=bool(self.archived),
            deprecated=bool(self.deprecated),
            group_name=self.group_name,
            feature_flags=flags_of(flags, flag),
        )


class EventTypeIn(EventTypeUpsertIn, frozen=True, rename="camel", kw_only=True):
    """What POST takes."""

    name: str


class EventTypeOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of an event type."""

    name: str
    description: str
    archived: bool
    deprecated: bool
    schemas: dict[str, msgspec.Raw] | None
    group_name: str | None
    feature_flag: str | None
    feature_flags: tuple[str, ...] | None
    created_at: str
    updated_at: str


_IN: Final = Decoder(EventTypeIn)
_UPSERT: Final = Decoder(EventTypeUpsertIn)
_PATCH: Final = Decoder(EventTypePatch)
_SCHEMAS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def flags_of(
    flags: list[str] | UnsetType | None, flag: str | UnsetType | None
) -> tuple[str, ...] | UnsetType | None:
    """The flags of a form that may name a single one too. InvalidError if the two differ."""
    if isinstance(flag, UnsetType):
        return tuple(flags) if isinstance(flags, list) else flags
    single = None if flag is None else (flag,)
    if isinstance(flags, UnsetType):
        return single
    first = flags[0] if flags else None
    if first != flag:
        raise InvalidError(
            ("body", "featureFlag"),
            "featureFlag is the first of featureFlags and differs from it; send featureFlags alone",
        )
    return tuple(flags) if flags else None


def shown(event_type: EventType, *, with_content: bool = True) -> EventTypeOut:
    """An event type on the wire, its schemas as they were given."""
    schemas = None
    if event_type.schemas is not None and with_content:
        schemas = _SCHEMAS.decode(event_type.schemas)
    flags = event_type.feature_flags
    return EventTypeOut(
        name=event_type.name,
        description=event_type.description,
        archived=event_type.archived,
        deprecated=event_type.deprecated,
        schemas=schemas,
        group_name=event_type.group_name,
        feature_flag=flags[0] if flags else None,
        feature_flags=flags or None,
        created_at=iso(event_type.created_at),
        updated_at=iso(event_type.updated_at),
    )


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(shown(cast("EventType", made)))


async def _create(call: Call) -> Answer:
    form = _IN(call.body)
    made = await event_types.create(
        call.services, call.principal, form.name, form.change(), once=call.once(_rendered)
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


async def _put(call: Call) -> Answer:
    event_type, new = await event_types.replace(
        call.services, call.principal, call.path["event_type_name"], _UPSERT(call.body).change()
    )
    return answer_of(shown(event_type), 201 if new else 200)


async def _patch(call: Call) -> Answer:
    event_type = await event_types.amend(
        call.services, call.principal, call.path["event_type_name"], _PATCH(call.body).change()
    )
    return answer_of(shown(event_type))


async def _delete(call: Call) -> Answer:
    remove = event_types.expunge if call.query.flag("expunge") else event_types.archive
    await remove(call.services, call.principal, call.path["event_type_name"])
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.event-type.create",
        summary="Makes an event type; an archived one is revived.",
        takes=EventTypeIn,
        gives={201: EventTypeOut},
        access=Access.OPERATOR,
        work=_create,
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.event-type.list",
        summary="Lists the organization's own event types by name.",
        gives={200: ListOut[EventTypeOut]},
        access=Access.APPLICATION,
        work=_list,
        query=(*ORDERED, "include_archived", "with_content"),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.event-type.get",
        summary="One event type, the organization's own or a dialect's.",
        gives={200: EventTypeOut},
        access=Access.APPLICATION,
        work=_get,
    ),
    Operation(
        method="PUT",
        path=ONE,
        name="v1.event-type.update",
        summary="Replaces it, or makes it; an archived one is revived.",
        takes=EventTypeUpsertIn,
        gives={200: EventTypeOut, 201: EventTypeOut},
        access=Access.OPERATOR,
        work=_put,
    ),
    Operation(
        method="PATCH",
        path=ONE,
        name="v1.event-type.patch",
        summary="Changes what is said.",
        takes=EventTypePatch,
        gives={200: EventTypeOut},
        access=Access.OPERATOR,
        work=_patch,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="v1.event-type.delete",
        summary="Archives it; with `expunge=true` removes it for good.",
        gives={204: None},
        access=Access.OPERATOR,
        work=_delete,
        query=("expunge",),
    ),
)
