"""Event types that an organization makes itself, with the schemas that payloads must meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from marketbell.control.said import said_or
from marketbell.control.schemas import check_schemas
from marketbell.control.services import Services
from marketbell.control.shapes import DESCRIPTION_MAX, check_event_type, check_name, check_text
from marketbell.control.tokens import Principal
from marketbell.dialects.registry import Registry
from marketbell.errors import ConflictError, InvalidError, NotFoundError
from marketbell.model import Instant
from marketbell.store.base import EventType, Once, Page, Repeated, Slice

EXISTS: Final = "event_type_exists"
"""The code of the error for an event type that there is already."""

FLAGS_MAX: Final = 20
"""Feature flags of one event type."""


class EventTypeChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of an event type; UNSET is not said."""

    description: str | UnsetType = UNSET
    schemas: Mapping[str, msgspec.Raw] | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET
    deprecated: bool | UnsetType = UNSET
    group_name: str | UnsetType | None = UNSET
    feature_flags: tuple[str, ...] | UnsetType | None = UNSET


async def create(
    services: Services,
    principal: Principal,
    name: str,
    change: EventTypeChange,
    *,
    once: Once | None = None,
) -> EventType | Repeated:
    """
    A new event type, in force from the next message; an archived one is revived.

    InvalidError; ConflictError if there is a live one of that name; LimitReachedError.
    """
    check_event_type(name, ("body", "name"))
    new = blank(services, principal, name)
    made = changed(new, change, now=new.created_at)
    try:
        async with services.turns.turn(turn_of(principal.organization)):
            return await services.store.create_event_type(
                made, limit=services.settings.event_types_max, once=once
            )
    except ConflictError as fault:
        if await _is_live(services, principal, name):
            raise _exists(name) from None
        raise fault from None  # the key came before with another body
    finally:
        services.schemas.forget(principal.organization, name)


async def get(services: Services, principal: Principal, name: str) -> EventType:
    """
    One event type: the organization's own, else that of a dialect's catalogue.

    NotFoundError, also for a token that lacks one of its feature flags.
    """
    try:
        found = await services.store.event_type(principal.organization, name)
    except NotFoundError:
        shipped = of_catalogues(services.registry, principal.organization, name)
        if shipped is None:
            raise
        return shipped
    if not visible(found, principal):
        raise NotFoundError(f"There is no event type {name!r}.")
    return found


async def listed(
    services: Services, principal: Principal, page: Page, *, include_archived: bool
) -> Slice[EventType]:
    """A slice of the organization's own event types that the caller may see, in order of names."""
    return await services.store.event_types(
        principal.organization,
        page,
        include_archived=include_archived,
        feature_flags=None if principal.application is None else principal.feature_flags,
    )


async def replace(
    services: Services, principal: Principal, name: str, change: EventTypeChange
) -> tuple[EventType, bool]:
    """
    The event type as `change` says, whether there was one or not; and whether it is new.

    What is not said takes its default, so an archived one is revived. InvalidError,
    LimitReachedError.
    """
    check_event_type(name, ("path", "event_type_name"))
    new = blank(services, principal, name)

    async def make() -> tuple[EventType, bool]:
        revision = await services.store.event_types_revision(principal.organization)
        try:
            current = await services.store.event_type(principal.organization, name)
        except NotFoundError:
            current = None
        created_at = new.created_at if current is None else current.created_at
        whole = msgspec.structs.replace(new, created_at=created_at)
        draft = changed(whole, change, now=new.updated_at)
        await _put(services, draft, revision)
        return draft, current is None

    return await services.turns.change(turn_of(principal.organization), make)


async def amend(
    services: Services, principal: Principal, name: str, change: EventTypeChange
) -> EventType:
    """The organization's own event type with what is said changed. NotFoundError, InvalidError."""

    async def make() -> EventType:
        revision = await services.store.event_types_revision(principal.organization)
        try:
            current = await services.store.event_type(principal.organization, name)
        except NotFoundError:
            _refuse_shipped(services, principal, name)
            raise
        draft = changed(current, change, now=services.clock.now())
        await _put(services, draft, revision)
        return draft

    return await services.turns.change(turn_of(principal.organization), make)


async def archive(services: Services, principal: Principal, name: str) -> None:
    """Hide it and take its schema out of force; it can be revived. NotFoundError."""
    await amend(services, principal, name, EventTypeChange(archived=True))


async def expunge(services: Services, principal: Principal, name: str) -> None:
    """Remove it for good. NotFoundError."""
    try:
        await services.store.delete_event_type(principal.organization, name)
    except NotFoundError:
        _refuse_shipped(services, principal, name)
        raise
    finally:
        services.schemas.forget(principal.organization, name)


def visible(event_type: EventType, principal: Principal) -> bool:
    """Whether a caller may see it: an operator, or an application with all of its flags."""
    return principal.application is None or principal.feature_flags.issuperset(
        event_type.feature_flags
    )


def of_catalogues(registry: Registry, organization: str, name: str) -> EventType | None:
    """
    An event type that a dialect ships, as one of the organization's, its group the dialect.

    Of several dialects that ship the name the first one counts. It is as old as time, because
    no one made it.
    """
    for dialect in registry:
        shipped = dialect.catalogue.get(name)
        if shipped is not None:
            return EventType(
                organization=organization,
                name=name,
                description=shipped.description,
                schemas=msgspec.json.encode({"1": dialect.catalogue.schema(name)}),
                deprecated=shipped.deprecated,
                group_name=dialect.name,
                created_at=0,
                updated_at=0,
            )
    return None


def blank(services: Services, principal: Principal, name: str) -> EventType:
    """A live event type of which nothing has been said yet."""
    now = services.clock.now()
    return EventType(
        organization=principal.organization,
        name=name,
        description="",
        created_at=now,
        updated_at=now,
    )


def changed(current: EventType, change: EventTypeChange, *, now: Instant) -> EventType:
    """The whole of an event type: what is said, else what it is. Checked."""
    description = said_or(change.description, current.description)
    check_text(description, ("body", "description"), limit=DESCRIPTION_MAX)
    group_name = said_or(change.group_name, current.group_name)
    if group_name is not None:
        check_name(group_name, ("body", "groupName"), "A group's name")
    schemas = current.schemas
    if not isinstance(change.schemas, UnsetType):
        schemas = check_schemas(change.schemas or {})
    flags = said_or(change.feature_flags, current.feature_flags) or ()
    _check_flags(flags)
    return msgspec.structs.replace(
        current,
        description=description,
        schemas=schemas,
        archived=said_or(change.archived, current.archived),
        deprecated=said_or(change.deprecated, current.deprecated),
        group_name=group_name,
        feature_flags=flags,
        updated_at=now,
    )


def turn_of(organization: str) -> tuple[str, str]:
    """What changes of an organization's event types wait for."""
    return ("event types", organization)


async def _is_live(services: Services, principal: Principal, name: str) -> bool:
    try:
        found = await services.store.event_type(principal.organization, name)
    except NotFoundError:
        return False
    return not found.archived


async def _put(services: Services, draft: EventType, revision: int) -> None:
    """Keep it, unless any of the organization's has changed since the revision: StaleError."""
    try:
        await services.store.put_event_types(
            [draft],
            now=draft.updated_at,
            limit=services.settings.event_types_max,
            revision=revision,
        )
    finally:
        services.schemas.forget(draft.organization, draft.name)


def _refuse_shipped(services: Services, principal: Principal, name: str) -> None:
    shipped = of_catalogues(services.registry, principal.organization, name)
    if shipped is not None:
        raise NotFoundError(
            f"The event type {name!r} is of the catalogue of {shipped.group_name!r}, which cannot "
            "be changed; make one of that name to stand before it."
        ) from None


def _check_flags(flags: tuple[str, ...]) -> None:
    if len(flags) > FLAGS_MAX:
        raise InvalidError(
            ("body", "featureFlags"), f"There are {len(flags)} flags; at most {FLAGS_MAX}"
        )
    for place, flag in enumerate(flags):
        check_name(flag, ("body", "featureFlags", place), "A feature flag")
        if flag in flags[:place]:
            raise InvalidError(("body", "featureFlags", place), "The flag is there twice")


def _exists(name: str) -> ConflictError:
    error = ConflictError(f"The event type {name!r} exists already.")
    error.code = EXISTS
    return error
