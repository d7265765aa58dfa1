"""What became of messages: read them, their deliveries and attempts, and send one again."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.control import applications
from marketbell.control.services import Services
from marketbell.control.shapes import (
    MESSAGE_CHANNELS_MAX,
    check_channels,
    check_event_type,
    check_text,
)
from marketbell.control.tokens import Principal
from marketbell.delivery import retry
from marketbell.dialects.base import DEFAULT_DIALECT
from marketbell.errors import InvalidError
from marketbell.model import DeliveryState, Endpoint, Instant, Message, Millis
from marketbell.store.base import (
    AttemptFilter,
    AttemptRow,
    DeliveryRow,
    MessageFilter,
    Once,
    Owned,
    Page,
    Repeated,
    Slice,
)
from marketbell.store.texts import words_of

TEXT_MAX: Final = 256
"""Characters of a text to look for."""
TEXT_AGE: Final[Millis] = 7 * 86_400_000
"""How far back payloads are searched unless the caller says."""


class Destination(msgspec.Struct, frozen=True):
    """One endpoint that a message is for."""

    endpoint: Endpoint
    state: DeliveryState
    next_at: Instant | None
    """When it is tried next; None if it is not."""


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


async def messages_worded(
    services: Services,
    principal: Principal,
    application: str,
    *,
    text: str,
    which: MessageFilter,
    page: Page,
) -> Slice[Message]:
    """
    A slice of the messages whose payload has all words of a text, newest first.

    Of the last 7 days, or of the 7 days before `which.until`, unless it says since when. NotFoundError;
    InvalidError for a text without words, and if payloads are not searched here.
    """
    found = await applications.get(services, principal, application)
    field = ("query", "text")
    if not services.settings.payload_search:
        raise InvalidError(
            field, "Payloads are not searched here; the setting payload_search lets them be"
        )
    check_text(text, field, limit=TEXT_MAX)
    words = words_of(text)
    if not words:
        raise InvalidError(field, "The text has no word: no letter and no digit")
    if which.since is None:
        until = services.clock.now() if which.until is None else which.until
        which = msgspec.structs.replace(which, since=max(0, until - TEXT_AGE))
    return await services.store.messages_worded(found.id, words, which, page)


async def messages_anywhere(
    services: Services, principal: Principal, which: MessageFilter, page: Page
) -> Slice[Owned[Message]]:
    """A slice of the messages of all of the organization's applications, newest first."""
    return await services.store.messages_anywhere(principal.organization, which, page)


async def attempts(
    services: Services,
    principal: Principal,
    application_ref: str,
    *,
    which: AttemptFilter | None,
    page: Page,
    message: str | None = None,
    endpoint: str | None = None,
) -> Slice[AttemptRow]:
    """
    A slice of the attempts of a message, at an endpoint, or both, or of all; none without `which`.

    NotFoundError.
    """
    application = await applications.get(services, principal, application_ref)
    if message is not None:
        found = await services.store.message(application.id, message)
        if which is not None:
            which = msgspec.structs.replace(which, message_id=found.id)
    if endpoint is not None:
        at = await services.store.endpoint(application.id, endpoint)
        if which is not None:
            which = msgspec.structs.replace(which, endpoint_id=at.id)
    if which is None:
        return Slice((), done=True)
    return await services.store.attempts(application.id, which, page)


async def attempts_anywhere(
    services: Services, principal: Principal, which: AttemptFilter, page: Page
) -> Slice[Owned[AttemptRow]]:
    """A slice of the attempts of all of the organization's applications, newest first."""
    return await services.store.attempts_anywhere(principal.organization, which, page)


async def attempt(
    services: Services, principal: Principal, application_ref: str, ref: str, attempt_id: str
) -> AttemptRow:
    """One attempt of a message. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    found = await services.store.message(application.id, ref)
    return await services.store.attempt(found.id, attempt_id)


def attempts_max(services: Services, row: AttemptRow) -> int | None:
    """How many attempts the delivery of one may have, as things are now; None if nothing says so."""
    if row.retry_schedule is not None:
        return len(row.retry_schedule) + 1
    name = row.dialect or DEFAULT_DIALECT
    if name not in services.registry:
        return None
    return retry.attempts_max(services.registry.dialect(name).schedule)


async def deliveries(
    services: Services,
    principal: Principal,
    application_ref: str,
    endpoint_ref: str,
    *,
    which: MessageFilter,
    states: frozenset[DeliveryState] | None,
    page: Page,
) -> Slice[DeliveryRow]:
    """A slice of the messages that are for an endpoint, newest first. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    endpoint = await services.store.endpoint(application.id, endpoint_ref)
    return await services.store.deliveries(application.id, endpoint.id, which, page, states=states)


async def destinations(
    services: Services, principal: Principal, application_ref: str, ref: str, page: Page
) -> Slice[Destination]:
    """A slice of the live endpoints that a message is for, in order of their creation."""
    application = await applications.get(services, principal, application_ref)
    found = await services.store.message(application.id, ref)
    made = {one.endpoint_public_id: one for one in await services.store.destinations(found.id)}
    subscribers = await services.store.subscribers(application.organization, application.public_id)
    endpoints = sorted(
        (endpoint for endpoint in subscribers.endpoints if endpoint.public_id in made),
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
    return Slice(
        tuple(
            Destination(endpoint, made[endpoint.public_id].state, made[endpoint.public_id].next_at)
            for endpoint in part
        ),
        len(part) == len(endpoints),
    )


async def would_be_sent(
    services: Services,
    principal: Principal,
    application_ref: str,
    event_type: str,
    channels: tuple[str, ...],
) -> bool:
    """
    Whether any endpoint would get a message of this event type and these channels now.

    NotFoundError; InvalidError.
    """
    application = await applications.get(services, principal, application_ref)
    check_event_type(event_type, ("body", "eventType"))
    if channels:
        check_channels(channels, ("body", "channels"), MESSAGE_CHANNELS_MAX)
    entry = await services.directory.entry(
        application.organization, application.public_id, revision=application.revision
    )
    return any(endpoint.wants(event_type, channels) for endpoint in entry.subscribers.endpoints)


async def expunge_payload(
    services: Services, principal: Principal, application_ref: str, ref: str
) -> None:
    """Remove a message's payload for good; its deliveries that wait are cancelled. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    await services.store.expunge_payload(application.id, ref, now=services.clock.now())


async def expunge_payloads(
    services: Services,
    principal: Principal,
    application_ref: str,
    refs: tuple[str, ...],
    *,
    once: Once | None = None,
) -> dict[str, bool] | Repeated:
    """The same for many at once; by name, whether there is such a message."""
    application = await applications.get(services, principal, application_ref)
    return await services.store.expunge_payloads(
        application.id, refs, now=services.clock.now(), once=once
    )


async def expunge_response(
    services: Services, principal: Principal, application_ref: str, ref: str, attempt_id: str
) -> None:
    """Remove what an attempt's receiver answered. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    found = await services.store.message(application.id, ref)
    await services.store.expunge_response(found.id, attempt_id)


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
    disabled, or while a retry of it is under way.
    """
    application = await applications.get(services, principal, application_ref)
    answer = await services.store.resend(
        application.id, message_ref, endpoint_ref, now=services.clock.now(), once=once
    )
    if not isinstance(answer, Repeated):
        services.intake.wake()
