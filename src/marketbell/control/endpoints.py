"""Endpoints of an application: made, read, changed and deleted."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UnsetType

from marketbell import ids
from marketbell.control import applications
from marketbell.control import endpoint_change as wanted
from marketbell.control import policy as policies
from marketbell.control.directory import dialect_of
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.event_types import visible
from marketbell.control.said import said_or
from marketbell.control.services import Services
from marketbell.control.shapes import (
    check_event_types,
    check_metadata,
)
from marketbell.control.tokens import Principal
from marketbell.delivery.netguard import check_url
from marketbell.errors import ConflictError, InvalidError, NotFoundError
from marketbell.model import Application, Endpoint, Policy
from marketbell.store.base import EndpointDraft, Once, Page, Repeated, Slice

_SHOWN_MAX: Final = 20


async def create(
    services: Services,
    principal: Principal,
    application_ref: str,
    change: EndpointChange,
    *,
    once: Once | None = None,
) -> Endpoint | Repeated:
    """
    A new endpoint with its secret.

    InvalidError; ConflictError (uid); LimitReachedError; NotFoundError; ForbiddenError for a
    policy that the caller may not set.
    """
    found = await applications.get(services, principal, application_ref)

    async def make() -> Endpoint | Repeated:
        application = await applications.get(services, principal, found.public_id)
        draft = await _draft(services, principal, application, change, None)
        return await services.store.create_endpoint(
            application.id,
            draft,
            now=services.clock.now(),
            endpoints_max=services.settings.endpoints_per_application_max,
            revision=application.revision,
            once=once,
        )

    return await services.turns.change(found.id, make)


async def check(
    services: Services, principal: Principal, application: Application, change: EndpointChange
) -> None:
    """Return if such an endpoint may be made in such an application, whether that is there or not."""
    await _draft(services, principal, application, change, None)


async def get(services: Services, principal: Principal, application_ref: str, ref: str) -> Endpoint:
    """One endpoint by id or uid. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    return await services.store.endpoint(application.id, ref)


async def listed(
    services: Services, principal: Principal, application_ref: str, page: Page
) -> Slice[Endpoint]:
    """A slice of the application's endpoints."""
    application = await applications.get(services, principal, application_ref)
    return await services.store.endpoints(application.id, page)


async def replace(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    change: EndpointChange,
) -> tuple[Endpoint, bool]:
    """
    The endpoint as `change` says, whether there was one or not; and whether it is new.

    What is not said takes its default, but the secret, the headers and `marketbell.*` keys
    stay, and so does the uid if that is what names it.
    """
    named_by_uid = not ids.is_id(ids.ENDPOINT, ref)
    whole = msgspec.structs.replace(
        change,
        uid=said_or(change.uid, ref if named_by_uid else None),
        description=said_or(change.description, ""),
        event_types=said_or(change.event_types, None),
        channels=said_or(change.channels, None),
        metadata=said_or(change.metadata, {}),
        throttle_rate=said_or(change.throttle_rate, None),
        disabled=said_or(change.disabled, False),
        version=said_or(change.version, 1),
    )
    try:
        return await amend(services, principal, application_ref, ref, whole), False
    except NotFoundError:
        if not named_by_uid:
            raise
    if whole.uid != ref:
        raise InvalidError(
            ("body", "uid"), f"The uid must be the one in the path, {ref[:64]!r}, or left out"
        )
    try:
        made = await create(services, principal, application_ref, whole)
    except ConflictError:  # another request made it in between
        return await amend(services, principal, application_ref, ref, whole), False
    if isinstance(made, Repeated):
        raise ConflictError("The request was made before.")
    return made, True


async def amend(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    change: EndpointChange,
) -> Endpoint:
    """The endpoint with what is said changed; in force from the next attempt."""
    found = await applications.get(services, principal, application_ref)

    async def make() -> tuple[Endpoint, Endpoint]:
        # The endpoint's revision rises with every change of its application's policy.
        application = await applications.get(services, principal, found.public_id)
        current = await services.store.endpoint(application.id, ref)
        draft = await _draft(services, principal, application, change, current)
        changed = await services.store.update_endpoint(
            application.id,
            current.public_id,
            draft,
            now=services.clock.now(),
            revision=current.revision,
        )
        return current, changed

    before, changed = await services.turns.change(found.id, make)
    if before.disabled and not changed.disabled:
        services.intake.wake()
    return changed


async def pause(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    *,
    paused: bool,
    once: Once | None = None,
) -> None:
    """Hold what there is to send and what comes, or let all of it go on. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    async with services.turns.turn(application.id):
        await services.store.pause_endpoint(
            application.id, ref, paused=paused, now=services.clock.now(), once=once
        )
    if not paused:
        services.intake.wake()


async def delete(services: Services, principal: Principal, application_ref: str, ref: str) -> None:
    """Delete it; what is pending is cancelled. NotFoundError."""
    application = await applications.get(services, principal, application_ref)
    await services.store.delete_endpoint(application.id, ref, now=services.clock.now())


async def _draft(
    services: Services,
    principal: Principal,
    application: Application,
    change: EndpointChange,
    current: Endpoint | None,
) -> EndpointDraft:
    """The whole of an endpoint: what is said, else what it is, else the default. Checked."""
    metadata, policy = _metadata(services, principal, change, current)
    dialect = dialect_of(services.registry, application, policy)
    url = said_or(change.url, current.url if current else "")
    if current is None or url != current.url or policy.dialect != current.policy.dialect:
        check_url(url, https_only=dialect.https_only, allowed=services.networks)
    event_types = current.event_types if current else None
    if not isinstance(change.event_types, UnsetType):
        event_types = None
        if change.event_types is not None:
            check_event_types(change.event_types, ("body", change.types_field))
            event_types = frozenset(change.event_types)
            kept = current.event_types if current else None
            await _check_known(
                services, principal, application, policy, change, kept=kept or frozenset()
            )
    return EndpointDraft(
        url=url,
        uid=wanted.uid(change, current),
        description=wanted.description(change, current),
        event_types=event_types,
        channels=wanted.channels(change, current),
        headers=wanted.headers(change, current),
        metadata=metadata,
        policy=policy,
        throttle_rate=wanted.throttle_rate(change, current),
        disabled=said_or(change.disabled, current.disabled if current else False),
        paused=current.paused if current else False,
        version=wanted.version(change, current),
        secret=wanted.secret(change, current),
    )


def _metadata(
    services: Services, principal: Principal, change: EndpointChange, current: Endpoint | None
) -> tuple[dict[str, str], Policy]:
    metadata = current.metadata if current else {}
    before = after = current.policy if current else Policy()
    if not isinstance(change.metadata, UnsetType):
        check_metadata(change.metadata, ("body", "metadata"), services.settings.metadata_bytes_max)
        parts = policies.split(change.metadata)
        operator = principal.application is None
        metadata = parts.own
        after = policies.change(before, parts.policy, services.bounds(operator=operator))
        if not operator:
            policies.check_portal(before, after, services.settings.portal_may_set)
    return metadata, after


async def _check_known(
    services: Services,
    principal: Principal,
    application: Application,
    policy: Policy,
    change: EndpointChange,
    *,
    kept: frozenset[str],
) -> None:
    """
    Return if every event type exists, in the dialects' catalogues or the organization's own.

    What the caller may not see does not exist for it; what the endpoint has already may stay.
    """
    known = [
        dialect_of(services.registry, application, policy).catalogue,
        dialect_of(services.registry, application).catalogue,
    ]
    unknown = []
    for name in dict.fromkeys(change.event_types or ()):
        if name in kept or name in change.types_known or any(name in one for one in known):
            continue
        try:
            found = await services.store.event_type(application.organization, name)
        except NotFoundError:
            unknown.append(name)
        else:
            if not visible(found, principal):
                unknown.append(name)
    if unknown:
        more = f" and {len(unknown) - _SHOWN_MAX} more" if len(unknown) > _SHOWN_MAX else ""
        raise InvalidError(
            ("body", change.types_field),
            f"The following event types don't exist: {', '.join(unknown[:_SHOWN_MAX])}{more}",
        )
