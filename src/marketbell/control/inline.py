"""An application that a message brings along: made if there is none, once the message is good."""

from __future__ import annotations

import contextlib

from marketbell import ids
from marketbell.control import applications
from marketbell.control.applications import ApplicationChange
from marketbell.control.directory import Entry
from marketbell.control.drafts import MessageDraft
from marketbell.control.scopes import require
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.dialects.base import DEFAULT_DIALECT
from marketbell.errors import ConflictError, InvalidError, NotFoundError
from marketbell.model import Application
from marketbell.store.base import ApplicationDraft, Idempotency, Published, Subscribers


async def ensure(
    services: Services,
    principal: Principal,
    ref: str,
    change: ApplicationChange,
    drafts: list[MessageDraft],
    *,
    idempotency: Idempotency | None,
) -> Published | None:
    """
    Make the application that `ref` names unless there is one; then `change` changes nothing.

    Nothing is made either for a request that came before with this mark: what it published is
    given back, or ConflictError raised if it had another body.

    It must be good all the same. It is made only if every draft would be taken by it, so a
    message that is refused leaves nothing behind. InvalidError; NotFoundError if `ref` is an id,
    since ids are made here; ForbiddenError for a caller that may not make applications.
    """
    with applications.brought_along():
        draft = applications.draft_of(services, change, None)
    try:
        await services.directory.entry(principal.organization, ref)
    except NotFoundError:
        if ids.is_id(ids.APPLICATION, ref):
            raise
    else:
        return None
    require(principal, "application:write")
    if change.uid != ref:
        raise InvalidError(
            ("body", "application", "uid"),
            f"The application's uid must be the one in the path, {ref[:64]!r}",
        )
    repeated = await services.publisher.repeated(idempotency)
    if repeated is not None:
        return repeated
    event_types = await services.store.event_types_revision(principal.organization)
    entry = _entry(services, principal, draft, event_types)
    for message in drafts:
        await services.publisher.check(principal.organization, entry, message)
    # Another request may make it in between.
    with contextlib.suppress(ConflictError):
        await applications.create(services, principal, change)
    return None


def _entry(
    services: Services, principal: Principal, draft: ApplicationDraft, event_types: int
) -> Entry:
    """The application as it would be."""
    now = services.clock.now()
    application = Application(
        id=0,
        public_id="",
        organization=principal.organization,
        uid=draft.uid,
        name=draft.name,
        metadata=draft.metadata,
        policy=draft.policy,
        throttle_rate=draft.throttle_rate,
        revision=0,
        created_at=now,
        updated_at=now,
    )
    dialect = services.registry.dialect(draft.policy.dialect or DEFAULT_DIALECT)
    catalogues = (dialect.catalogue,) if dialect.catalogue else ()
    return Entry(
        Subscribers(application, (), event_types), catalogues, dialect.name == DEFAULT_DIALECT
    )
