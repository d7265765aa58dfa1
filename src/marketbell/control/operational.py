"""Operational messages: an operator's own endpoints, and what they are told of."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Final

import msgspec

from marketbell import ids
from marketbell.control import endpoints
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.policy import PREFIX
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import ConflictError, InvalidError, NotFoundError, no_such
from marketbell.model import Application, Endpoint, Instant, Policy
from marketbell.store.base import (
    ApplicationDraft,
    Notice,
    Once,
    Page,
    Repeated,
    Slice,
    unlogged,
)
from marketbell.store.operational_plane import HIDDEN, HIDDEN_UID, NoticeKind

APPLICATION: Final = HIDDEN_UID
"""How the hidden application of an organization is named to the use cases of applications."""

_NAME: Final = "Operational messages"

EVENT_TYPES: Final = tuple(kind.value for kind in NoticeKind)

_DIALECT: Final = f"{PREFIX}dialect"
_ENDPOINTS: Final = frozenset(
    {
        NoticeKind.CREATED,
        NoticeKind.UPDATED,
        NoticeKind.DELETED,
        NoticeKind.ENABLED,
        NoticeKind.DISABLED,
    }
)


def hidden(principal: Principal) -> Principal:
    """The owner of the caller's hidden application; no token names it."""
    return msgspec.structs.replace(principal, organization=HIDDEN + principal.organization)


async def create(
    services: Services, principal: Principal, change: EndpointChange, *, once: Once | None = None
) -> Endpoint | Repeated:
    """A new operational endpoint. As `endpoints.create`, but for the event types that there are."""
    owner = hidden(principal)
    wanted = _checked(change)
    await _prepare(services, owner, wanted)
    return await endpoints.create(services, owner, APPLICATION, wanted, once=once)


async def listed(services: Services, principal: Principal, page: Page) -> Slice[Endpoint]:
    """A slice of the organization's operational endpoints."""
    try:
        return await endpoints.listed(services, hidden(principal), APPLICATION, page)
    except NotFoundError:  # the first endpoint brings the application
        return Slice((), done=True)


async def get(services: Services, principal: Principal, ref: str) -> Endpoint:
    """One operational endpoint. NotFoundError."""
    try:
        return await endpoints.get(services, hidden(principal), APPLICATION, ref)
    except NotFoundError:
        raise no_such("operational endpoint", ref) from None


async def replace(
    services: Services, principal: Principal, ref: str, change: EndpointChange
) -> tuple[Endpoint, bool]:
    """The operational endpoint as `change` says; and whether it is new. As `endpoints.replace`."""
    if ids.is_id(ids.ENDPOINT, ref):
        await get(services, principal, ref)
    owner = hidden(principal)
    wanted = _checked(change)
    await _prepare(services, owner, wanted)
    return await endpoints.replace(services, owner, APPLICATION, ref, wanted)


async def delete(services: Services, principal: Principal, ref: str) -> None:
    """Delete it; what is pending is cancelled. NotFoundError."""
    await get(services, principal, ref)
    await endpoints.delete(services, hidden(principal), APPLICATION, ref)


def _checked(change: EndpointChange) -> EndpointChange:
    """The same, for the event types that there are, if all that is said suits such an endpoint."""
    if isinstance(change.event_types, tuple):
        unknown = [name for name in change.event_types if name not in EVENT_TYPES]
        if unknown:
            raise InvalidError(
                ("body", change.types_field),
                f"{unknown[0][:64]!r} is no operational event type; "
                f"there are {', '.join(EVENT_TYPES)}",
            )
    if isinstance(change.metadata, dict) and change.metadata.get(_DIALECT, "") not in {
        "",
        "standard",
    }:
        raise InvalidError(
            ("body", "metadata", _DIALECT),
            "Operational messages are sent in the dialect 'standard'; leave the key out",
        )
    return msgspec.structs.replace(change, types_known=frozenset(EVENT_TYPES))


async def _prepare(services: Services, owner: Principal, change: EndpointChange) -> None:
    """See to it that the hidden application is there, if the endpoint to be made in it is good."""
    try:
        await services.store.application(owner.organization, APPLICATION)
    except NotFoundError:
        pass
    else:
        return
    now = services.clock.now()
    application = Application(
        id=0,
        public_id="",
        organization=owner.organization,
        uid=APPLICATION,
        name=_NAME,
        metadata={},
        policy=Policy(),
        throttle_rate=None,
        revision=0,
        created_at=now,
        updated_at=now,
    )
    await endpoints.check(services, owner, application, change)
    with unlogged(), contextlib.suppress(ConflictError):  # another request made it in between
        await services.store.create_application(
            owner.organization, ApplicationDraft(name=_NAME, uid=APPLICATION), now=now
        )


# -- what is told -------------------------------------------------------------------------


class EndpointFacts(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The `data` of a message about an endpoint."""

    app_id: str
    app_uid: str | None = None
    endpoint_id: str
    endpoint_uid: str | None = None
    fail_since: str | None = None
    """Of a disabled one that had done nothing but fail."""
    trigger: str | None = None
    """Of a disabled one: `manual`, or `automatic` if the server did it."""


class LastAttempt(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The attempt that told."""

    id: str
    response_status_code: int
    timestamp: str


class DeliveryFacts(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The `data` of a message about a delivery."""

    app_id: str
    app_uid: str | None = None
    endpoint_id: str
    msg_id: str
    msg_event_id: str | None = None
    last_attempt: LastAttempt


class Told(msgspec.Struct, frozen=True):
    """The payload of an operational message."""

    type: str
    data: EndpointFacts | DeliveryFacts


def payload(notice: Notice) -> bytes:
    """What an operator's endpoint is sent of a notice."""
    data: EndpointFacts | DeliveryFacts
    if notice.kind in _ENDPOINTS:
        trigger = None
        if notice.kind is NoticeKind.DISABLED:
            trigger = "automatic" if notice.by_server else "manual"
        since = notice.failing_since
        data = EndpointFacts(
            app_id=notice.application,
            app_uid=notice.application_uid,
            endpoint_id=notice.endpoint,
            endpoint_uid=notice.endpoint_uid,
            fail_since=None if since is None else _iso(since),
            trigger=trigger,
        )
    else:
        data = DeliveryFacts(
            app_id=notice.application,
            app_uid=notice.application_uid,
            endpoint_id=notice.endpoint,
            msg_id=notice.message,
            msg_event_id=notice.event_id,
            last_attempt=LastAttempt(
                id=notice.attempt,
                response_status_code=notice.status_code,
                timestamp=_iso(notice.attempted_at),
            ),
        )
    return msgspec.json.encode(Told(notice.kind.value, data))


def _iso(instant: Instant) -> str:
    moment = datetime.fromtimestamp(instant // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{instant % 1000:03d}Z"
