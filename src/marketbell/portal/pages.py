"""The four pages: endpoints, one endpoint, its secret, one message; and what their forms do."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from marketbell import ids
from marketbell.control import endpoints, history, secrets
from marketbell.control.keys import ED25519
from marketbell.control.scopes import require
from marketbell.control.services import Services
from marketbell.errors import ForbiddenError, InvalidError, NotFoundError
from marketbell.portal.app import HOME, Portal, Visit, by_path, see
from marketbell.portal.views import (
    AttemptView,
    attempt_view,
    delivery_text,
    endpoint_view,
    message_view,
)
from marketbell.store.base import AttemptFilter, AttemptRow, Page

ENDPOINT: Final = "/portal/endpoint/{endpoint_id}"
SECRET: Final = "/portal/endpoint/{endpoint_id}/secret"  # noqa: S105 - a path
MESSAGE: Final = "/portal/message/{msg_id}"

_ENDPOINTS: Final = 25
_LAST: Final = 5
_ATTEMPTS: Final = 25
GRACES: Final = {"0": 0, "1h": 3_600, "24h": 86_400, "7d": 604_800}
"""How long a secret that is rotated away still signs, as the form says it, in seconds."""


def routes(services: Services) -> tuple[BaseRoute, ...]:
    """The whole portal over the services of a node."""
    portal = Portal(services)
    return by_path(
        (
            *portal.open(),
            portal.page(HOME, _endpoints),
            portal.page(ENDPOINT, _endpoint),
            portal.page(SECRET, _secret),
            portal.page(MESSAGE, _message),
            portal.form(SECRET, "v1.endpoint.rotate-secret", _rotate),
            portal.form(MESSAGE, "v1.message-attempt.resend", _resend),
            portal.form("/portal/logout", "v1.authentication.logout", portal.sign_out),
        )
    )


async def _endpoints(visit: Visit) -> Response:
    require(visit.principal, "endpoint:read")
    require(visit.principal, "message:read")
    page = Page(limit=_ENDPOINTS, after=_iterator(visit, ids.ENDPOINT))
    part = await endpoints.listed(visit.services, visit.principal, visit.application, page)
    shown = []
    for endpoint in part.data:
        last = await history.attempts(
            visit.services,
            visit.principal,
            visit.application,
            endpoint=endpoint.public_id,
            which=AttemptFilter(with_content=False),
            page=Page(limit=_LAST, descending=True),
        )
        shown.append(endpoint_view(endpoint, _views(visit, last.data)))
    following = None if part.done or not part.data else part.data[-1].public_id
    return visit.page("endpoints.html", endpoints=shown, following=following)


async def _endpoint(visit: Visit) -> Response:
    require(visit.principal, "endpoint:read")
    require(visit.principal, "message:read")
    ref = visit.request.path_params["endpoint_id"]
    endpoint = await endpoints.get(visit.services, visit.principal, visit.application, ref)
    part = await history.attempts(
        visit.services,
        visit.principal,
        visit.application,
        endpoint=ref,
        which=AttemptFilter(with_content=False),
        page=Page(limit=_ATTEMPTS, after=_iterator(visit, ids.ATTEMPT), descending=True),
    )
    following = None if part.done or not part.data else part.data[-1].attempt.public_id
    return visit.page(
        "endpoint.html",
        endpoint=endpoint_view(endpoint),
        attempts=_views(visit, part.data),
        following=following,
        may_see_secret=visit.sees_secrets,
    )


async def _secret(visit: Visit) -> Response:
    if not visit.sees_secrets:
        raise ForbiddenError("This session may not see secrets.")
    ref = visit.request.path_params["endpoint_id"]
    endpoint = await endpoints.get(visit.services, visit.principal, visit.application, ref)
    key = await secrets.secret(visit.services, visit.principal, visit.application, ref)
    return visit.page(
        "secret.html",
        endpoint=endpoint_view(endpoint),
        secret=key,
        may_rotate=visit.rotates,
    )


async def _rotate(visit: Visit) -> Response:
    if not visit.rotates:
        raise ForbiddenError("This session may not rotate secrets.")
    ref = visit.request.path_params["endpoint_id"]
    grace_s = GRACES.get(visit.form.get("grace", ""))
    if grace_s is None:
        raise InvalidError(("body", "grace"), f"The grace is one of {', '.join(GRACES)}")
    endpoint = await endpoints.get(visit.services, visit.principal, visit.application, ref)
    kind = ED25519 if endpoint.secrets[0].kind == "v1a" else None
    await secrets.rotate(
        visit.services,
        visit.principal,
        visit.application,
        ref,
        key=None,
        key_type=kind,
        grace_s=grace_s,
    )
    return see(f"/portal/endpoint/{endpoint.public_id}/secret?done=rotated")


async def _message(visit: Visit) -> Response:
    require(visit.principal, "message:read")
    ref = visit.request.path_params["msg_id"]
    message = await history.message(visit.services, visit.principal, visit.application, ref)
    destinations = await history.destinations(
        visit.services, visit.principal, visit.application, ref, Page(limit=_ENDPOINTS)
    )
    part = await history.attempts(
        visit.services,
        visit.principal,
        visit.application,
        message=ref,
        which=AttemptFilter(with_content=False),
        page=Page(limit=_ATTEMPTS, after=_iterator(visit, ids.ATTEMPT), descending=True),
    )
    following = None if part.done or not part.data else part.data[-1].attempt.public_id
    return visit.page(
        "message.html",
        message=message_view(message),
        destinations=[
            (endpoint_view(one.endpoint), delivery_text(one.state, one.next_at))
            for one in destinations.data
        ],
        attempts=_views(visit, part.data),
        following=following,
        may_resend=_may(visit, "message:write"),
    )


async def _resend(visit: Visit) -> Response:
    require(visit.principal, "message:write")
    ref = visit.request.path_params["msg_id"]
    message = await history.message(visit.services, visit.principal, visit.application, ref)
    await history.resend(
        visit.services,
        visit.principal,
        visit.application,
        message.public_id,
        visit.form.get("endpoint", ""),
    )
    return see(f"/portal/message/{message.public_id}?done=resent")


def _views(visit: Visit, rows: tuple[AttemptRow, ...]) -> tuple[AttemptView, ...]:
    return tuple(attempt_view(row, history.attempts_max(visit.services, row)) for row in rows)


def _may(visit: Visit, scope: str) -> bool:
    scopes = visit.principal.scopes
    return scopes is None or scope in scopes


def _iterator(visit: Visit, prefix: str) -> str | None:
    """After which row the page begins. NotFoundError for what no page linked to."""
    text = visit.request.query_params.get("after")
    if text is not None and not ids.is_id(prefix, text):
        raise NotFoundError("There is no such page.")
    return text
