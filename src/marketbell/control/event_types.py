"""Event types that an organization makes itself, with the schema that payloads must meet."""

from __future__ import annotations

from typing import Final

from marketbell.control.schemas import check_schema
from marketbell.control.services import Services
from marketbell.control.shapes import DESCRIPTION_MAX, check_event_type, check_text
from marketbell.control.tokens import Principal
from marketbell.errors import ConflictError
from marketbell.store.base import EventType, Once, Page, Repeated, Slice

EXISTS: Final = "event_type_exists"
"""The code of the error for an event type that there is already."""


async def create(
    services: Services,
    principal: Principal,
    *,
    name: str,
    description: str,
    schema: bytes | None,
    archived: bool,
    once: Once | None = None,
) -> EventType | Repeated:
    """
    A new event type, in force from the next message; an archived one is revived.

    InvalidError; ConflictError if there is a live one of that name.
    """
    check_event_type(name, ("body", "name"))
    check_text(description, ("body", "description"), limit=DESCRIPTION_MAX)
    if schema is not None:
        check_schema(schema)
    now = services.clock.now()
    try:
        return await services.store.create_event_type(
            EventType(
                organization=principal.organization,
                name=name,
                description=description,
                schema=schema,
                archived=archived,
                created_at=now,
                updated_at=now,
            ),
            once=once,
        )
    except ConflictError:
        live = await services.store.event_type(principal.organization, name)
        if live.archived:
            raise
        raise _exists(name) from None
    finally:
        services.schemas.forget(principal.organization, name)


def _exists(name: str) -> ConflictError:
    error = ConflictError(f"The event type {name!r} exists already.")
    error.code = EXISTS
    return error


async def get(services: Services, principal: Principal, name: str) -> EventType:
    """One event type. NotFoundError."""
    return await services.store.event_type(principal.organization, name)


async def listed(
    services: Services, principal: Principal, page: Page, *, include_archived: bool
) -> Slice[EventType]:
    """A slice of the organization's own event types, in order of names."""
    return await services.store.event_types(
        principal.organization, page, include_archived=include_archived
    )
