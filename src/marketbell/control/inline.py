"""An application that a message brings along: made if there is none, once the message is good."""

from __future__ import annotations

from marketbell import ids
from marketbell.control import applications
from marketbell.control.applications import ApplicationChange
from marketbell.control.directory import DEFAULT_DIALECT, Entry
from marketbell.control.drafts import MessageDraft
from marketbell.control.scopes import require
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import ConflictError, InvalidError, NotFoundError
from marketbell.model import Application
from marketbell.store.base import ApplicationDraft, Subscribers


async def ensure(
    services: Services,
    principal: Principal,
    ref: str,
    change: ApplicationChange,
    drafts: list[MessageDraft],
) -> None:
    """
    Make the application that `ref` names unless there is one; then `change` changes nothing.

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
        return
    require(principal, "application:write")
    if change.uid != ref:
        raise InvalidError(
            ("body", "application", "uid"),
            f"The application's uid must be the one in the path, {ref[:64]!r}",
        )
    event_types = await services.store.event_types_revision(principal.organization)
    entry = _entry(services, principal, draft, event_types)
    for message in drafts:
        await services.publisher.check(principal.organization, entry, message)
    try:
        await applications.create(services, principal, change)
    except ConflictError:
        return  # another request made it in between


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
