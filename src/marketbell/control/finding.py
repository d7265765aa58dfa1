"""An endpoint, a message or an attempt by its id alone, whichever application's it is."""

from __future__ import annotations

from datetime import UTC, datetime

from marketbell import ids
from marketbell.control import endpoints, history
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import NotFoundError, no_such
from marketbell.model import Endpoint, Message
from marketbell.store.base import AttemptRow, Owned, Owner
from marketbell.store.operational_plane import HIDDEN


async def endpoint(services: Services, principal: Principal, public_id: str) -> Owned[Endpoint]:
    """One endpoint of the organization. NotFoundError, which names the application of a deleted one."""
    application = (await _owner(services, principal, ids.ENDPOINT, public_id)).application
    return Owned(application, await endpoints.get(services, principal, application, public_id))


async def message(services: Services, principal: Principal, public_id: str) -> Owned[Message]:
    """One message of the organization. NotFoundError."""
    application = (await _owner(services, principal, ids.MESSAGE, public_id)).application
    return Owned(application, await history.message(services, principal, application, public_id))


async def attempt(services: Services, principal: Principal, public_id: str) -> Owned[AttemptRow]:
    """One attempt of the organization. NotFoundError."""
    owner = await _owner(services, principal, ids.ATTEMPT, public_id)
    row = await history.attempt(
        services, principal, owner.application, owner.message or "", public_id
    )
    return Owned(owner.application, row)


async def _owner(services: Services, principal: Principal, prefix: str, public_id: str) -> Owner:
    """Whose it is. NotFoundError for what is another organization's, or was deleted."""
    what = _WHAT[prefix]
    missing = no_such(what, public_id, f"id {prefix}..., and the token's organization")
    if not ids.is_id(prefix, public_id):
        raise missing
    try:
        owner = await services.store.owner(public_id)
    except NotFoundError:
        raise missing from None
    if owner.organization == HIDDEN + principal.organization:
        where = (
            "which has a path of its own: /api/v1/operational-webhook/endpoint"
            if prefix == ids.ENDPOINT
            else "which no path shows"
        )
        raise NotFoundError(f"It is an operational {what}, {where}.")
    if owner.organization != principal.organization:
        raise missing
    if owner.deleted_at is not None:
        at = datetime.fromtimestamp(owner.deleted_at / 1000, UTC)
        raise NotFoundError(
            f"The {what}, or its application {owner.application}, was deleted at "
            f"{at:%Y-%m-%dT%H:%M:%SZ}."
        )
    return owner


_WHAT = {ids.ENDPOINT: "endpoint", ids.MESSAGE: "message", ids.ATTEMPT: "attempt"}
