"""Background tasks: begun, read and cancelled on behalf of a caller."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.control import applications
from marketbell.control.services import Services
from marketbell.control.shapes import check_channels, check_event_types, check_tags
from marketbell.control.tokens import Principal
from marketbell.errors import InvalidError
from marketbell.model import DeliveryState, Instant
from marketbell.store.base import (
    Once,
    Page,
    ParkedPlace,
    Repeated,
    Selection,
    Slice,
    Task,
    TaskDraft,
    TaskFilter,
    TaskKind,
)

_PARKED_AT_ONCE: Final = 500


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says that a task is to be about."""

    since: Instant
    until: Instant | None = None
    """None for now."""
    event_types: tuple[str, ...] | None = None
    channel: str | None = None
    tag: str | None = None
    state: DeliveryState | None = None
    status_code_class: int | None = None


async def begin_for_endpoint(
    services: Services,
    principal: Principal,
    application_ref: str,
    endpoint_ref: str,
    *,
    kind: TaskKind,
    wanted: Wanted,
    once: Once | None = None,
) -> Task | Repeated:
    """
    A new task about one endpoint; it runs when this returns.

    InvalidError; NotFoundError; ConflictError if the endpoint is disabled; LimitReachedError.
    """
    application = await applications.get(services, principal, application_ref)
    endpoint = await services.store.endpoint(application.id, endpoint_ref)
    selection = _selection(wanted, services.clock.now())
    draft = TaskDraft(
        kind=kind,
        organization=application.organization,
        application_id=application.id,
        endpoint_id=endpoint.id,
        selection=selection,
    )
    return await _begin(services, draft, once)


async def begin_for_application(
    services: Services,
    principal: Principal,
    application_ref: str,
    *,
    kind: TaskKind,
    once: Once | None = None,
) -> Task | Repeated:
    """A new task about all messages of an application so far. NotFoundError; LimitReachedError."""
    application = await applications.get(services, principal, application_ref)
    draft = TaskDraft(
        kind=kind,
        organization=application.organization,
        application_id=application.id,
        endpoint_id=None,
        selection=Selection(until=services.clock.now() + 1),
    )
    return await _begin(services, draft, once)


async def get(services: Services, principal: Principal, ref: str) -> Task:
    """One task. NotFoundError."""
    return await services.store.task(principal.organization, ref)


async def listed(
    services: Services, principal: Principal, which: TaskFilter, page: Page
) -> Slice[Task]:
    """A slice of the organization's tasks."""
    return await services.store.tasks(principal.organization, which, page)


async def cancel(services: Services, principal: Principal, ref: str) -> Task:
    """End a task that runs; what it has done stays. NotFoundError; ConflictError if it has ended."""
    return await services.store.cancel_task(principal.organization, ref, now=services.clock.now())


async def redrive_parked(services: Services, principal: Principal) -> int:
    """Make the organization's parked deliveries due now; how many they were."""
    place: ParkedPlace | None = ParkedPlace()
    driven = 0
    while place is not None:
        count, place = await services.store.redrive_parked(
            principal.organization, place, now=services.clock.now(), limit=_PARKED_AT_ONCE
        )
        driven += count
    if driven:
        services.intake.wake()
    return driven


async def _begin(services: Services, draft: TaskDraft, once: Once | None) -> Task | Repeated:
    return await services.store.create_task(
        draft,
        now=services.clock.now(),
        running_max=services.settings.tasks_running_max,
        once=once,
    )


def _selection(wanted: Wanted, now: Instant) -> Selection:
    until = now + 1 if wanted.until is None else wanted.until
    if wanted.since >= until:
        last = "now" if wanted.until is None else "until"
        raise InvalidError(("body", "since"), f"since lies after {last}; give an earlier time")
    if wanted.event_types is not None:
        check_event_types(wanted.event_types, ("body", "eventTypes"))
    if wanted.channel is not None:
        check_channels((wanted.channel,), ("body", "channel"), 1)
    if wanted.tag is not None:
        check_tags((wanted.tag,), ("body", "tag"))
    return Selection(
        since=wanted.since,
        until=until,
        event_types=wanted.event_types,
        channel=wanted.channel,
        tag=wanted.tag,
        state=wanted.state,
        status_code_class=wanted.status_code_class,
    )
