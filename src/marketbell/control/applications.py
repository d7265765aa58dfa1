"""Applications: made, read, changed and deleted on behalf of an operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.control import policy as policies
from marketbell.control.said import said_or
from marketbell.control.services import Services
from marketbell.control.shapes import (
    NAME_MAX,
    check_metadata,
    check_text,
    check_throttle,
    check_uid,
)
from marketbell.control.tokens import Principal
from marketbell.delivery.netguard import check_url
from marketbell.dialects.base import DEFAULT_DIALECT
from marketbell.errors import ConflictError, InvalidError, NotFoundError, no_such
from marketbell.model import Application, Policy
from marketbell.store.base import ApplicationDraft, Once, Page, Repeated, Slice


class ApplicationChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of an application; UNSET is not said."""

    name: str | UnsetType = UNSET
    uid: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    """With the keys `marketbell.*`."""
    throttle_rate: int | UnsetType | None = UNSET


async def create(
    services: Services, principal: Principal, change: ApplicationChange, *, once: Once | None = None
) -> Application | Repeated:
    """A new application. InvalidError; ConflictError if the uid is taken."""
    draft = draft_of(services, change, None)
    return await services.store.create_application(
        principal.organization, draft, now=services.clock.now(), once=once
    )


async def get_or_create(
    services: Services, principal: Principal, change: ApplicationChange, *, once: Once | None = None
) -> tuple[Application, bool] | Repeated:
    """The application that has this uid, else a new one; and whether it is new. `once` renders both."""
    return await services.store.get_or_create_application(
        principal.organization,
        draft_of(services, change, None),
        now=services.clock.now(),
        once=once,
    )


async def get(services: Services, principal: Principal, ref: str) -> Application:
    """
    One application by id or uid, if the caller may see it.

    NotFoundError for another organization's, and for another application's token.
    """
    application = await services.store.application(principal.organization, ref)
    if principal.application is not None and principal.application != application.public_id:
        raise no_such("application", ref)  # as the store says of what is not there
    return application


async def listed(services: Services, principal: Principal, page: Page) -> Slice[Application]:
    """A slice of the organization's applications."""
    return await services.store.applications(principal.organization, page)


async def replace(
    services: Services, principal: Principal, ref: str, change: ApplicationChange
) -> tuple[Application, bool]:
    """
    The application as `change` says, whether there was one or not; and whether it is new.

    What is not said takes its default, but `marketbell.*` keys stay, and so does the uid if
    that is what names it. An id that does not exist is a NotFoundError: ids are made here.
    """
    named_by_uid = not ids.is_id(ids.APPLICATION, ref)
    whole = ApplicationChange(
        name=change.name,
        uid=(ref if named_by_uid else None) if change.uid is UNSET else change.uid,
        metadata={} if change.metadata is UNSET else change.metadata,
        throttle_rate=None if change.throttle_rate is UNSET else change.throttle_rate,
    )
    try:
        return await amend(services, principal, ref, whole), False
    except NotFoundError:
        if not named_by_uid:
            raise
    if whole.uid != ref:
        raise InvalidError(
            ("body", "uid"), f"The uid must be the one in the path, {ref[:64]!r}, or left out"
        )
    try:
        made = await create(services, principal, whole)
    except ConflictError:  # another request made it in between
        return await amend(services, principal, ref, whole), False
    if isinstance(made, Repeated):
        raise ConflictError("The request was made before.")
    return made, True


async def amend(
    services: Services, principal: Principal, ref: str, change: ApplicationChange
) -> Application:
    """The application with what is said changed. NotFoundError, InvalidError, ConflictError."""
    found = await get(services, principal, ref)

    async def make() -> Application:
        current = await services.store.application(principal.organization, found.public_id)
        draft = draft_of(services, change, current)
        if draft.policy.dialect != current.policy.dialect:
            await _check_endpoints(services, current, draft.policy)
        return await services.store.update_application(
            principal.organization,
            current.public_id,
            draft,
            now=services.clock.now(),
            revision=current.revision,
        )

    return await services.turns.change(found.id, make)


async def delete(services: Services, principal: Principal, ref: str) -> None:
    """Delete it with its endpoints; its uid is free at once. NotFoundError."""
    await services.store.delete_application(principal.organization, ref, now=services.clock.now())


def draft_of(
    services: Services, change: ApplicationChange, current: Application | None
) -> ApplicationDraft:
    """The whole of an application: what is said, else what it is, else the default. Checked."""
    name = said_or(change.name, current.name if current else "")
    check_text(name, ("body", "name"), limit=NAME_MAX, least=1)
    uid = said_or(change.uid, current.uid if current else None)
    if uid is not None and not (current and uid == current.uid):
        check_uid(uid, ids.APPLICATION, ("body", "uid"))
    throttle_rate = said_or(change.throttle_rate, current.throttle_rate if current else None)
    if throttle_rate is not None:
        check_throttle(throttle_rate, ("body", "throttleRate"))
    metadata = current.metadata if current else {}
    policy = current.policy if current else Policy()
    if change.metadata is not UNSET:
        check_metadata(change.metadata, ("body", "metadata"), services.settings.metadata_bytes_max)
        parts = policies.split(change.metadata)
        metadata = parts.own
        policy = policies.change(policy, parts.policy, services.bounds(operator=True))
    return ApplicationDraft(
        name=name, uid=uid, metadata=metadata, policy=policy, throttle_rate=throttle_rate
    )


@contextmanager
def brought_along() -> Iterator[None]:
    """What is wrong with an application is told as a fault of the body's field `application`."""
    try:
        yield
    except InvalidError as fault:
        field = ("body", "application", *fault.field[1:])
        raise InvalidError(field, fault.detail, kind=fault.kind) from None


async def _check_endpoints(services: Services, application: Application, policy: Policy) -> None:
    """Return if the URLs of all endpoints that take their dialect from here suit the new one."""
    dialect = services.registry.dialect(policy.dialect or DEFAULT_DIALECT)
    subscribers = await services.store.subscribers(application.organization, application.public_id)
    for endpoint in subscribers.endpoints:
        if endpoint.policy.dialect is not None:
            continue
        try:
            check_url(endpoint.url, https_only=dialect.https_only, allowed=services.networks)
        except InvalidError as fault:
            raise InvalidError(
                ("body", "metadata", policies.PREFIX + "dialect"),
                f"The endpoint {endpoint.public_id} does not suit the dialect {dialect.name!r}: "
                f"{fault.detail}",
            ) from None
