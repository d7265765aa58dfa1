"""What became of messages: read them, their deliveries and attempts, and send one again."""

from __future__ import annotations

import msgspec

from marketbell import ids
from marketbell.control import applications
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import NotFoundError
from marketbell.model import Application, DeliveryState, Endpoint, Instant, Message
from marketbell.store.base import (
    AttemptFilter,
    AttemptRow,
    MessageFilter,
    Once,
    Page,
    Repeated,
    Slice,
)

_PAGE = 250


class Destination(msgspec.Struct, frozen=True):
    """One endpoint that a message is for."""

    endpoint: Endpoint
    state: DeliveryState
    next_at: Instant | None
    """When it is tried next, as far as its attempts tell."""


async def message(services: Services, principal: Principal, application: str, ref: str) -> Message:
    """One message by id or eventId. NotFoundError."""
    found = await applications.get(services, principal, application)
    return await services.store.message(found.id, ref)


async def messages(
    services: Services, principal: Principal, application: str, which: MessageFilter, page: Page
) -> Slice[Message]:
    """A slice of the application's messages, newest first."""
    found = await applications.get(services, principal, application)
    return await services.store.messages(found.id, which, page)


async def attempts_of_message(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    *,
    which: AttemptFilter,
    page: Page,
    endpoint_ref: str | None = None,
) -> Slice[AttemptRow]:
    """A slice of the attempts of one message, newest first. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    found = await services.store.message(application.id, ref)
    which = msgspec.structs.replace(which, message_id=found.id)
    if endpoint_ref is not None:
        endpoint = await services.store.endpoint(application.id, endpoint_ref)
        which = msgspec.structs.replace(which, endpoint_id=endpoint.id)
    return await services.store.attempts(application.id, which, page)


async def attempts_of_endpoint(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    *,
    which: AttemptFilter,
    page: Page,
) -> Slice[AttemptRow]:
    """A slice of the attempts at one endpoint, newest first. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    endpoint = await services.store.endpoint(application.id, ref)
    which = msgspec.structs.replace(which, endpoint_id=endpoint.id)
    return await services.store.attempts(application.id, which, page)


async def attempt(
    services: Services, principal: Principal, application_ref: str, ref: str, attempt_id: str
) -> AttemptRow:
    """One attempt of a message. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    found = await services.store.message(application.id, ref)
    if ids.is_id(ids.ATTEMPT, attempt_id):
        which = AttemptFilter(message_id=found.id)
        page = Page(limit=_PAGE, descending=True)
        while True:
            part = await services.store.attempts(application.id, which, page)
            for row in part.data:
                if row.attempt.public_id == attempt_id:
                    return row
            if part.done or not part.data:
                break
            page = msgspec.structs.replace(page, after=part.data[-1].attempt.public_id)
    raise NotFoundError("The message has no such attempt.")


async def destinations(
    services: Services, principal: Principal, application_ref: str, ref: str, page: Page
) -> Slice[Destination]:
    """A slice of the live endpoints that a message is for, in order of their creation."""
    application = await applications.get(services, principal, application_ref)
    found = await services.store.message(application.id, ref)
    states = await services.store.delivery_states(found.id)
    subscribers = await services.store.subscribers(application.organization, application.public_id)
    endpoints = sorted(
        (endpoint for endpoint in subscribers.endpoints if endpoint.public_id in states),
        key=lambda endpoint: endpoint.public_id,
    )
    if page.after is not None:
        after = page.after
        endpoints = [endpoint for endpoint in endpoints if endpoint.public_id > after]
    if page.before is not None:
        before = page.before
        endpoints = [endpoint for endpoint in endpoints if endpoint.public_id < before]
        part = endpoints[-page.limit :]
    else:
        part = endpoints[: page.limit]
    next_at = await _next_times(services, application, found)
    return Slice(
        tuple(
            Destination(endpoint, states[endpoint.public_id], next_at.get(endpoint.public_id))
            for endpoint in part
        ),
        len(part) == len(endpoints),
    )


async def resend(
    services: Services,
    principal: Principal,
    application_ref: str,
    message_ref: str,
    endpoint_ref: str,
    *,
    once: Once | None = None,
) -> None:
    """
    Send a message to an endpoint again, now, whatever became of it before.

    NotFoundError; GoneError if its payload is no longer kept; ConflictError if the endpoint is
    disabled.
    """
    application = await applications.get(services, principal, application_ref)
    answer = await services.store.resend(
        application.id, message_ref, endpoint_ref, now=services.clock.now(), once=once
    )
    if not isinstance(answer, Repeated):
        services.intake.wake()


async def _next_times(
    services: Services, application: Application, found: Message
) -> dict[str, Instant | None]:
    rows = await services.store.attempts(
        application.id,
        AttemptFilter(message_id=found.id, with_content=False),
        Page(limit=_PAGE, descending=True),
    )
    times: dict[str, Instant | None] = {}
    for row in rows.data:
        times.setdefault(row.endpoint_public_id, row.next_at)
    return times
