"""The management API as one ASGI application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from starlette.routing import BaseRoute, Route, Router

from marketbell.api import publish as publishing
from marketbell.api.answers import Answer, Receive, RequestIds, Scope, Send, send_answer
from marketbell.api.batch import BATCH
from marketbell.api.bodies import read_body
from marketbell.api.call import Access, Call, Operation
from marketbell.api.problems import not_allowed, problem, server_error
from marketbell.api.query import Query
from marketbell.api.routes import operations
from marketbell.clock import Clock
from marketbell.control.services import Services
from marketbell.control.tokens import Principal, TokenVerifier
from marketbell.delivery.intake import Intake
from marketbell.dialects.registry import Registry
from marketbell.errors import ForbiddenError, MarketbellError, NotFoundError
from marketbell.observe import Observer
from marketbell.settings import Settings
from marketbell.store.base import Store

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_NOBODY: Final = Principal("")

_LOG_REST_S: Final = 1.0

_log = structlog.get_logger("marketbell.api")


def create_app(
    *,
    settings: Settings,
    clock: Clock,
    store: Store,
    intake: Intake,
    registry: Registry,
    observer: Observer | None = None,
    extra_routes: Sequence[BaseRoute] = (),
) -> Api:
    """
    The management API over a running store and data plane.

    `settings.jwt_secret` must be there. `extra_routes` stand beside it, such as /metrics.
    """
    services = Services.assemble(
        settings=settings,
        clock=clock,
        store=store,
        intake=intake,
        registry=registry,
        observer=observer or Observer(),
    )
    return Api(services, TokenVerifier(settings.jwt_secret, clock), extra_routes)


class Api:
    """
    An ASGI application: HTTP, and an empty lifespan.

    Every path is answered with and without a trailing slash. Publishing one message passes by
    the router.
    """

    def __init__(
        self, services: Services, verifier: TokenVerifier, extra_routes: Sequence[BaseRoute] = ()
    ) -> None:
        self.services = services
        self.verifier = verifier
        self._request_ids = RequestIds()
        self._failures = 0
        self._logged_at = float("-inf")
        paths: dict[str, list[Operation]] = {}
        for operation in operations():
            paths.setdefault(operation.path, []).append(operation)
        routes: list[BaseRoute] = []
        for path, found in paths.items():
            # An eventId may be `batch` too, so other methods go on to the next route.
            methods = [one.method for one in found] if path == BATCH else None
            routes.append(Route(path, _Resource(self, found), methods=methods))
        self._router = Router(
            [*routes, *extra_routes], redirect_slashes=False, default=self._no_such_path
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        path: str = scope["path"]
        if path[-1:] == "/" and len(path) > 1:
            path = path.rstrip("/") or "/"
            scope = {**scope, "path": path}
        if scope["method"] == "POST":
            application = publishing.application_of(path)
            if application is not None:
                await self._publish(application, scope, receive, send)
                return
        await self._router(scope, receive, send)

    @property
    def body_max(self) -> int:
        """The largest body of one message, in bytes."""
        return self.services.settings.body_max

    async def publish_plain(
        self, application: str, headers: Mapping[bytes, bytes], query: bytes, body: bytes
    ) -> tuple[Answer, bytes]:
        """Publish one message whose request was read ahead of ASGI; the answer and the request's id."""
        request_id = self._request_ids.of(headers)
        try:
            principal = self.verifier.principal(headers.get(b"authorization"))
            answer = await publishing.publish(
                self.services,
                principal,
                application,
                body,
                query=query,
                idempotency_key=headers.get(b"idempotency-key"),
            )
        except Exception as fault:
            scope = {"method": "POST", "path": publishing.path_of(application)}
            answer = self._failed(fault, scope, request_id)
        return answer, request_id

    async def _publish(self, application: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_ids.of(headers)
        try:
            principal = self.verifier.principal(headers.get(b"authorization"))
            body = await read_body(receive, self.body_max, headers)
            if body is None:
                return
            answer = await publishing.publish(
                self.services,
                principal,
                application,
                body,
                query=scope["query_string"],
                idempotency_key=headers.get(b"idempotency-key"),
            )
        except Exception as fault:
            answer = self._failed(fault, scope, request_id)
        await send_answer(send, answer, request_id)

    def _failed(self, fault: Exception, scope: Scope, request_id: bytes) -> Answer:
        if isinstance(fault, MarketbellError):
            return self._problem(fault, scope, request_id)
        return self._broken(scope, request_id)

    async def serve(
        self, by_method: dict[str, Operation], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request whose path has these operations."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_ids.of(headers)
        try:
            answer = await self._answer(by_method, scope, receive, headers)
        except Exception as fault:
            answer = self._failed(fault, scope, request_id)
        if answer is not None:
            await send_answer(send, answer, request_id)

    async def _answer(
        self,
        by_method: dict[str, Operation],
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
    ) -> Answer | None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = by_method.get(method)
        if operation is None:
            return not_allowed(tuple(by_method))
        principal = _NOBODY
        if operation.access is not Access.NOBODY:
            principal = self.verifier.principal(headers.get(b"authorization"))
            if operation.access is Access.OPERATOR and principal.application is not None:
                raise ForbiddenError(
                    "This token is for one application; this takes the organization's token."
                )
        body = b""
        if method in _WITH_BODY:
            limit = self.services.settings.body_max
            if operation.body_max is not None:
                limit = operation.body_max(self.services)
            given = await read_body(receive, limit, headers)
            if given is None:
                return None
            body = given
        call = Call(
            services=self.services,
            principal=principal,
            path=scope["path_params"],
            url_path=scope["path"],
            query=Query(scope["query_string"], operation.query),
            body=body,
            idempotency_key=headers.get(b"idempotency-key") if method == "POST" else None,
        )
        return await operation.work(call)

    async def _no_such_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] != "http":
            return
        request_id = self._request_ids.of(dict(scope["headers"]))
        await send_answer(send, problem(NotFoundError("There is no such path.")), request_id)

    def _problem(self, fault: MarketbellError, scope: Scope, request_id: bytes) -> Answer:
        """The answer to an error; what is the server's own is logged, once a second at most."""
        answer = problem(fault)
        if answer.status >= 500:
            self._failures += 1
            now = self.services.clock.monotonic()
            if now - self._logged_at >= _LOG_REST_S:
                self._logged_at = now
                _log.error(
                    "request failed",
                    status=answer.status,
                    code=fault.code,
                    reason=fault.detail,
                    failures=self._failures,
                    **_named(scope, request_id),
                )
                self._failures = 0
        return answer

    def _broken(self, scope: Scope, request_id: bytes) -> Answer:
        _log.exception("request failed", status=500, **_named(scope, request_id))
        return server_error()


class _Resource:
    """One path with its operations, as the router calls it."""

    def __init__(self, api: Api, found: Sequence[Operation]) -> None:
        self._api = api
        self._by_method = {operation.method: operation for operation in found}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._api.serve(self._by_method, scope, receive, send)


def _named(scope: Scope, request_id: bytes) -> dict[str, str]:
    return {
        "request": request_id.decode("latin-1"),
        "method": scope["method"],
        "path": scope["path"],
    }
