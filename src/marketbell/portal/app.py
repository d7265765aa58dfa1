"""The portal over HTTP: signing in, pages for whoever is signed in, and their forms."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from marketbell.control import portal
from marketbell.control.origins import Sources, headers_of, origin_of
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    LimitReachedError,
    MarketbellError,
    MoveRefusedError,
    NotFoundError,
    RateLimitedError,
    StoreError,
    TooLargeError,
    TooSlowError,
)
from marketbell.portal.assets import asset, templates
from marketbell.portal.forms import read_form
from marketbell.store.base import changing

HOME: Final = "/portal"
LOGIN: Final = "/portal/login"
COOKIE: Final = "marketbell_portal"

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
_FOR_GOOD: Final = "public, max-age=31536000, immutable"

STATUSES: Final[tuple[tuple[type[MarketbellError], int], ...]] = (
    (TooLargeError, 413),
    (TooSlowError, 408),
    (InvalidError, 422),
    (AuthenticationError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (MoveRefusedError, 409),
    (RateLimitedError, 429),
    (LimitReachedError, 400),
    (GoneError, 410),
    (StoreError, 503),
)
"""The first class that fits decides; anything else is 500."""

_log = structlog.get_logger("marketbell.portal")


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One request of somebody who is signed in."""

    services: Services
    request: Request
    principal: Principal
    application: str
    """The public id of the one application that it is about."""
    sees_secrets: bool
    rotates: bool
    """Whether it may see secrets, and make new ones."""
    form_token: str
    form: Mapping[str, str] = {}

    def page(self, template: str, **shown: object) -> Response:
        """A page for this visit."""
        done = self.request.query_params.get("done", "")
        return rendered(template, {"form_token": self.form_token, "done": done, **shown})


Work: TypeAlias = Callable[[Visit], Awaitable[Response]]


def rendered(template: str, shown: Mapping[str, object], status: int = 200) -> Response:
    """A page made from a template."""
    text = templates().get_template(template).render(shown)
    return HTMLResponse(text, status, _HEADERS)


def see(place: str) -> Response:
    """Go and look there, after a form was taken."""
    return RedirectResponse(place, 303, _HEADERS)


def by_path(found: Iterable[Route]) -> tuple[BaseRoute, ...]:
    """
    One route for each path, with all its methods, so that a refused method is told every other.

    Last stands a page for whatever else is below /portal.
    """
    paths: dict[str, list[Route]] = {}
    for route in found:
        paths.setdefault(route.path, []).append(route)
    return (*(_joined(path, own) for path, own in paths.items()), _Elsewhere())


def _joined(path: str, own: Sequence[Route]) -> Route:
    works = {method: route.endpoint for route in own for method in route.methods or ()}

    async def answer(request: Request) -> Response:
        response: Response = await works[request.method](request)
        return response

    return Route(path, answer, methods=list(works))


class _Elsewhere(Route):
    """What is no page of the portal; tried only after all that are, whatever the method."""

    def __init__(self) -> None:
        super().__init__(HOME + "/{rest:path}", _no_such_page)
        self.methods = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Never more than in part: a page that has the path, but not the method, comes before."""
        match, child = super().matches(scope)
        return (Match.PARTIAL if match is Match.FULL else match), child


class Portal:
    """The pages of one server."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sources = Sources(services.settings.trusted_proxies)

    def page(self, path: str, work: Work) -> Route:
        """A page for those who are signed in."""

        async def answer(request: Request) -> Response:
            return await self._answered(request, self._visited(request, work))

        return Route(path, answer, methods=["GET"])

    def form(self, path: str, operation: str, work: Work) -> Route:
        """A form of a page; the audit log calls what it does by the operation's name."""

        async def answer(request: Request) -> Response:
            return await self._answered(request, self._posted(request, operation, work))

        return Route(path, answer, methods=["POST"])

    def open(self) -> tuple[Route, ...]:
        """What takes no session: signing in, and files."""
        return (
            Route(LOGIN, self._login, methods=["GET"]),
            Route(LOGIN, self._signed_in, methods=["POST"]),
            Route("/portal/static/{name}", _file, methods=["GET"]),
        )

    # -- sessions -----------------------------------------------------------------------

    async def _visit(self, request: Request) -> Visit | None:
        secret = request.cookies.get(COOKIE)
        found = await portal.signed_in(self._services, secret) if secret else None
        if found is None or secret is None:
            return None
        principal, session = found
        return Visit(
            services=self._services,
            request=request,
            principal=principal,
            application=session.grant.application,
            sees_secrets=session.grant.sees_secrets,
            rotates=session.grant.rotates,
            form_token=portal.form_token(secret),
        )

    async def _visited(self, request: Request, work: Work) -> Response:
        visit = await self._visit(request)
        return _not_signed_in() if visit is None else await work(visit)

    async def _posted(self, request: Request, operation: str, work: Work) -> Response:
        visit = await self._visit(request)
        if visit is None:
            return _not_signed_in()
        form = await read_form(request, within_s=self._services.settings.request_timeout / 1000)
        if not hmac.compare_digest(form.get("form_token", "").encode(), visit.form_token.encode()):
            raise ForbiddenError("The form is not one of this session; open the page again.")
        request_id: bytes = request.scope.get("request_id", b"")
        origin = origin_of(
            visit.principal,
            operation,
            at=self._services.clock.now(),
            path=request.url.path,
            parts={"app_id": visit.application, **request.path_params},
            address=self._sources.address(
                request.scope["client"], headers_of(request.scope["headers"])
            ),
            request_id=request_id,
        )
        with changing(origin):
            return await work(msgspec.structs.replace(visit, form=form))

    async def _login(self, request: Request) -> Response:
        """A page whose form has the code: a program that merely follows links does not use it up."""
        return _login_page("", code=request.query_params.get("code", ""))

    async def _signed_in(self, request: Request) -> Response:
        return await self._answered(request, self._sign_in(request))

    async def _sign_in(self, request: Request) -> Response:
        settings = self._services.settings
        form = await read_form(request, within_s=settings.request_timeout / 1000)
        try:
            secret = await portal.sign_in(self._services, form.get("code", ""))
        except NotFoundError as fault:
            return _login_page(fault.detail, 401)
        response = see(HOME)
        response.set_cookie(
            COOKIE,
            secret,
            max_age=settings.portal_session // 1000,
            path=HOME,
            secure=self._services.site.secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def sign_out(self, visit: Visit) -> Response:
        """End the session."""
        await portal.sign_out(self._services, visit.request.cookies[COOKIE])
        response = _login_page("You are signed out.")
        response.delete_cookie(
            COOKIE, path=HOME, secure=self._services.site.secure, httponly=True, samesite="lax"
        )
        return response

    # -- errors -------------------------------------------------------------------------

    async def _answered(self, request: Request, work: Awaitable[Response]) -> Response:
        try:
            return await work
        except MarketbellError as fault:
            status = next((code for kind, code in STATUSES if isinstance(fault, kind)), 500)
            detail = fault.detail
            if status >= 500:
                _log.error("page failed", status=status, reason=detail, **_named(request))
        except Exception:
            _log.exception("page failed", status=500, **_named(request))
            status = 500
        if status == 500:
            detail = "The server made an error; its log has the request id."
        return rendered("error.html", {"fault": detail}, status)


def _not_signed_in() -> Response:
    return _login_page("You are not signed in, or no longer.", 401)


def _login_page(fault: str, status: int = 200, *, code: str = "") -> Response:
    return rendered("login.html", {"fault": fault, "code": code}, status)


async def _no_such_page(_request: Request) -> Response:
    return rendered("error.html", {"fault": "There is no such page."}, 404)


async def _file(request: Request) -> Response:
    found = asset(request.path_params["name"])
    if found is None:
        return await _no_such_page(request)
    return Response(found.body, headers={"content-type": found.kind, "cache-control": _FOR_GOOD})


def _named(request: Request) -> dict[str, str]:
    request_id: bytes = request.scope.get("request_id", b"")
    return {
        "request": request_id.decode("latin-1"),
        "method": request.method,
        "path": request.url.path,
    }
