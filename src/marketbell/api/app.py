"""The management API as one ASGI application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import structlog
from starlette.routing import BaseRoute, Route, Router

from marketbell.api import publish as publishing
from marketbell.api.access import table_of
from marketbell.api.answers import Answer, Receive, RequestIds, Scope, Send, send_answer
from marketbell.api.bodies import read_body
from marketbell.api.call import Call, Operation
from marketbell.api.cors import VARY_LINE, Cors
from marketbell.api.framed import Framed
from marketbell.api.guard import WITH_BODY, Guard
from marketbell.api.limits import Limits
from marketbell.api.plain import PlainRequest
from marketbell.api.problems import not_allowed, problem, server_error
from marketbell.api.publish_runs import PublishRuns
from marketbell.api.query import Query
from marketbell.api.reference import files
from marketbell.api.routes import by_path, documented, operations
from marketbell.api.wire import NOTHING, Nothing
from marketbell.clock import Clock
from marketbell.control.origins import Peer, Sources, headers_of, origin_of
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.delivery.intake import Intake
from marketbell.dialects.registry import Registry
from marketbell.errors import MarketbellError, NotFoundError
from marketbell.observe import Observer
from marketbell.settings import Settings
from marketbell.store.base import Store, changing

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

    The key that checks tokens must be there. `extra_routes` stand beside it, such as /metrics.
    """
    services = Services.assemble(
        settings=settings,
        clock=clock,
        store=store,
        intake=intake,
        registry=registry,
        observer=observer or Observer(),
    )
    return Api(services, extra_routes)


class Api:
    """
    An ASGI application: HTTP, and an empty lifespan.

    Every path is answered with and without a trailing slash. Publishing one message passes by
    the router.
    """

    def __init__(self, services: Services, extra_routes: Sequence[BaseRoute] = ()) -> None:
        self.services = services
        self._request_ids = RequestIds()
        settings = services.settings
        self._sources = Sources(settings.trusted_proxies)
        self.guard = Guard(services, self._sources, table_of(operations()))
        """Who is let in, and who may do what."""
        self._cors = Cors(settings.cors_origins) if settings.cors_origins else None
        self.always = VARY_LINE if settings.cors_origins else b""
        """Header lines that answers ahead of ASGI have too."""
        self.limits = Limits(
            connections=settings.connections_max,
            head_bytes=settings.head_max,
            request_s=settings.request_timeout / 1000,
        )
        """What the server bounds before a request is whole."""
        self.runs = PublishRuns(
            services.clock,
            self.guard.gate,
            services.publisher.runs,
            self._request_ids,
            alone=self._publish_plain,
            failed=self._publish_failed,
        )
        """Publishes what is read off sockets ahead of ASGI."""
        self._failures = 0
        self._logged_at = float("-inf")
        routes: list[BaseRoute] = [
            Route(path, _Resource(self, found), methods=methods)
            for path, found, methods in by_path(operations())
        ]
        self._router = Router(
            [*routes, *map(self._framed, (*files.routes(documented()), *extra_routes))],
            redirect_slashes=False,
            default=self._no_such_path,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        if self._cors is not None:
            headers = dict(scope["headers"])
            asked = self._cors.preflight(scope, headers)
            if asked is not None:
                await send_answer(send, asked, self._request_ids.of(headers))
                return
            send = self._cors.around(scope, headers, send)
        path: str = scope["path"]
        if path[-1:] == "/" and len(path) > 1:
            path = path.rstrip("/") or "/"
            scope = {**scope, "path": path}
        if "\x00" in path:  # no name has it, and not every database takes it
            await self._no_such_path(scope, receive, send)
            return
        if scope["method"] == "POST":
            application = publishing.application_of(path)
            if application is not None:
                await self._publish(application, scope, receive, send)
                return
        await self._router(scope, receive, send)

    def add(self, routes: Sequence[BaseRoute]) -> None:
        """Serve these beside the API too, such as pages that stand on its services."""
        self._router.routes.extend(map(self._framed, routes))

    def refusal(self, fault: MarketbellError) -> tuple[Answer, bytes]:
        """The answer to what could not be read as a request, and an id for it."""
        return problem(fault), self._request_ids.of({})

    def _framed(self, route: BaseRoute) -> BaseRoute:
        return Framed(route, self._request_ids)

    @property
    def body_max(self) -> int:
        """The largest body of one message, in bytes."""
        return self.services.settings.body_max

    async def _publish_plain(
        self, request: PlainRequest, request_id: bytes, peer: Peer, principal: Principal | None
    ) -> Answer:
        """Publish one message whose request was read ahead of ASGI; its caller, if that is known."""
        application, headers = request.application, request.headers
        try:
            if principal is None:
                principal = await self.guard.caller(peer, headers)
            return await publishing.publish(
                self.services,
                principal,
                application,
                request.body,
                query=request.query,
                headers=headers,
                making=partial(self._making, principal, application, peer, headers, request_id),
            )
        except Exception as fault:
            return self._publish_failed(fault, application, request_id)

    def _publish_failed(self, fault: Exception, application: str, request_id: bytes) -> Answer:
        scope = {"method": "POST", "path": publishing.path_of(application)}
        return self._failed(fault, scope, request_id)

    async def _publish(self, application: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope["headers"])
        request_id = self._request_ids.of(headers)
        try:
            principal = await self.guard.caller(scope["client"], headers)
            publishing.RULE.check(principal)
            body = await read_body(receive, self.body_max, headers, within_s=self.limits.request_s)
            if body is None:
                return
            answer = await publishing.publish(
                self.services,
                principal,
                application,
                body,
                query=scope["query_string"],
                headers=headers,
                making=partial(
                    self._making, principal, application, scope["client"], headers, request_id
                ),
            )
        except Exception as fault:
            answer = self._failed(fault, scope, request_id)
        await send_answer(send, answer, request_id)

    def _making(
        self,
        principal: Principal,
        application: str,
        peer: Peer,
        headers: Mapping[bytes, bytes],
        request_id: bytes,
    ) -> AbstractContextManager[None]:
        """Within it, what publishing changes beside keeping a message is logged."""
        return changing(
            origin_of(
                principal,
                publishing.OPERATION.name,
                at=self.services.clock.now(),
                path=publishing.path_of(application),
                parts={"app_id": application},
                address=self._sources.address(peer, headers),
                request_id=request_id,
            )
        )

    def _failed(self, fault: Exception, scope: Scope, request_id: bytes) -> Answer:
        if isinstance(fault, MarketbellError):
            return self._problem(fault, scope, request_id)
        return self._broken(fault, scope, request_id)

    async def serve(
        self, by_method: dict[str, Operation], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request whose path has these operations."""
        headers = headers_of(scope["headers"])
        request_id = self._request_ids.of(headers)
        try:
            answer = await self._answer(by_method, scope, receive, headers, request_id)
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
        request_id: bytes,
    ) -> Answer | None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = by_method.get(method)
        if operation is None:
            publishes = publishing.application_of(scope["path"]) is not None
            return not_allowed((*(("POST",) if publishes else ()), *by_method))
        principal = await self.guard.caller_of(operation, scope, headers)
        body = b""
        if method in WITH_BODY:
            limit = self.services.settings.body_max
            if operation.body_max is not None:
                limit = operation.body_max(self.services)
            given = await read_body(receive, limit, headers, within_s=self.limits.request_s)
            if given is None:
                return None
            body = given
            if body and operation.takes in {None, Nothing}:
                NOTHING(body)
        call = Call(
            services=self.services,
            principal=principal,
            path=scope["path_params"],
            url_path=scope["path"],
            query=Query(scope["query_string"], operation.query),
            body=body,
            idempotency_key=headers.get(b"idempotency-key") if method == "POST" else None,
        )
        if method == "GET":
            return await operation.work(call)
        origin = origin_of(
            principal,
            operation.name,
            at=self.services.clock.now(),
            path=call.url_path,
            parts=call.path,
            address=self._sources.address(scope["client"], headers),
            request_id=request_id,
        )
        with changing(origin):
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
                    reason=str(fault),
                    failures=self._failures,
                    **_named(scope, request_id),
                )
                self._failures = 0
        return answer

    def _broken(self, fault: Exception, scope: Scope, request_id: bytes) -> Answer:
        _log.error("request failed", status=500, exc_info=fault, **_named(scope, request_id))
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
