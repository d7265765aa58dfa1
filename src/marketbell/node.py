"""One running node: store, data plane and management API, wired together and taken down in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from marketbell.api import health
from marketbell.api.app import Api, create_app
from marketbell.api.message_in import draft_of
from marketbell.assembly import (
    dialect_options,
    make_dispatcher,
    make_follower,
    make_janitor,
    make_relay,
    make_task_runner,
    open_client,
    open_store,
    prepare,
    register_gauges,
    tell_of_lost,
)
from marketbell.clock import Clock
from marketbell.cluster import Cluster
from marketbell.control.crier import Crier
from marketbell.control.rekeying import rekeying
from marketbell.delivery.dispatcher import Dispatcher
from marketbell.delivery.intake import Intake
from marketbell.dialects.registry import Registry
from marketbell.listening import Beside, Server, serve
from marketbell.marketplace.face import Marketplaces
from marketbell.observe import Observer, configure_logging, open_spans
from marketbell.portal.pages import routes as portal_routes
from marketbell.settings import Settings
from marketbell.shared_metrics import SharedMetrics
from marketbell.store.base import Store
from marketbell.store.opening import AnyStore

_OF_WORKERS: Final = frozenset({"/metrics", health.PATH, health.PING})
_NOWHERE: Final = "/api/v1/nowhere"
_KEEP_S: Final = 1.0


class Node:
    """What runs, as its owner sees it."""

    def __init__(
        self, url: str, store: AnyStore, dispatcher: Dispatcher, observer: Observer
    ) -> None:
        self.url = url
        """Where the management API answers, without a trailing slash."""
        self.store = store
        self.dispatcher = dispatcher
        self.observer = observer
        self.marketplaces: Marketplaces
        """Who acts on the marketplaces; there whether or not they are served."""
        self.marketplace_url: str | None = None
        """Where the marketplaces' own APIs answer; None if they are not served."""
        self.rekeyed: asyncio.Future[None]
        """Done once everything is sealed with the current key."""
        self._closed = asyncio.Event()

    async def wait_closed(self) -> None:
        """Return once the node has stopped serving."""
        await self._closed.wait()

    def close(self) -> None:
        """Say that it has stopped."""
        self._closed.set()


@contextlib.asynccontextmanager
async def running_node(
    settings: Settings,
    clock: Clock,
    *,
    registry: Registry | None = None,
    beside: Callable[[Marketplaces], Sequence[BaseRoute]] | None = None,
    intake: Callable[[Intake, Store], Intake] | None = None,
    listeners: Sequence[socket.socket] = (),
    shared: SharedMetrics | None = None,
) -> AsyncIterator[Node]:
    """
    A node that serves while the context is open, with complete settings (secrets included).

    The marketplaces' own APIs are served if `marketplace_port` says where, or if `beside` gives
    routes that stand beside them: then also on a free port. `intake` may put something before
    the way in for messages; a sandbox does. `listeners` are sockets for the API and for the
    marketplaces' own, and `shared` is where metrics are kept, of which other processes have a part.

    On leaving: no new requests are taken, what is in flight ends within `drain_timeout`, unsent
    claims are released, and what was accepted is on disk. Raises LockedError, SchemaError,
    UnavailableError or SettingsError before anything is served.
    """
    async with contextlib.AsyncExitStack() as stack:
        observer = _observe(stack, settings, shared)
        cluster, store = await _join(stack, settings, clock)
        registry = registry or Registry.load(dialect_options(settings))
        dispatcher = await _deliver(
            stack, settings, cluster, store=store, registry=registry, observer=observer
        )
        _follow(stack, settings, cluster, store=store, observer=observer)
        rekeyed = await stack.enter_async_context(
            rekeying(store, needed=bool(settings.secrets_keys_old))
        )
        app = create_app(
            settings=settings,
            clock=cluster.clock,
            store=store,
            intake=intake(dispatcher, store) if intake else dispatcher,
            registry=registry,
            observer=observer,
            extra_routes=(_metrics_route(observer),),
        )
        _go_on_with_tasks(
            stack, app, cluster, store=store, dispatcher=dispatcher, observer=observer
        )
        app.add(portal_routes(app.services))
        await stack.enter_async_context(_sharing(observer, shared is not None))
        server, url = await _listen(app, settings, listeners[:1])
        _calm_collector()
        node = Node(url, store, dispatcher, observer)
        node.rekeyed = rekeyed
        node.marketplaces = Marketplaces(app.services)
        stack.callback(node.close)
        stack.push_async_callback(server.stop)
        await stack.enter_async_context(_marketplaces(node, app, beside, listeners[1:]))
        stack.callback(cluster.leave)
        stack.callback(dispatcher.begin_no_more)  # before slow clients keep a server from ending
        yield node


def _observe(
    stack: contextlib.AsyncExitStack, settings: Settings, shared: SharedMetrics | None
) -> Observer:
    """What logs, counts and traces; closed last."""
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    observer = Observer(
        log=log, spans=open_spans(settings.otel_endpoint, os.environ), shared=shared
    )
    stack.callback(observer.close)
    return observer


async def _join(
    stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock
) -> tuple[Cluster, AnyStore]:
    """The node's place among those of its database, and its way to what is kept there."""
    prepare(settings)
    cluster = await Cluster.join(settings, clock)
    stack.push_async_callback(cluster.aclose)
    store = open_store(settings, cluster.clock, node_number=cluster.number)
    stack.push_async_callback(store.aclose)
    return cluster, store


def _follow(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    cluster: Cluster,
    *,
    store: AnyStore,
    observer: Observer,
) -> None:
    """Keep up what searches and figures stand on, on the node that keeps house for all."""
    follower = make_follower(settings, cluster.clock, store, lambda: cluster.leads)
    observer.gauge("marketbell_payload_search_lag_seconds", lambda: follower.texts_lag_s)
    follower.start()
    stack.push_async_callback(follower.stop)


async def _deliver(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    cluster: Cluster,
    *,
    store: AnyStore,
    registry: Registry,
    observer: Observer,
) -> Dispatcher:
    """Begin to deliver, and to keep the store small, until the stack ends it."""
    clock = cluster.clock
    client = open_client(settings, clock)
    stack.push_async_callback(client.aclose)
    dispatcher = make_dispatcher(
        settings,
        clock,
        store=store,
        client=client,
        registry=registry,
        observer=observer,
        owned=cluster.tenure,
        hint=cluster.hints.due,
    )
    store.on_change(dispatcher.forget)
    store.statistics.observe = observer.committed
    store.on_cancelled = observer.cancelled
    tell_of_lost(observer, store)
    janitor = make_janitor(settings, clock, store, observer, leads=lambda: cluster.leads)
    register_gauges(
        observer,
        store=store,
        dispatcher=dispatcher,
        client=client,
        janitor=janitor,
        clock=clock,
    )
    dispatcher.start()
    stack.push_async_callback(cluster.stop)
    await cluster.start(store, dispatcher, observer)
    stack.push_async_callback(dispatcher.drain, settings.drain_timeout / 1000)
    janitor.start()
    stack.push_async_callback(janitor.stop)
    return dispatcher


def _go_on_with_tasks(
    stack: contextlib.AsyncExitStack,
    app: Api,
    cluster: Cluster,
    *,
    store: AnyStore,
    dispatcher: Dispatcher,
    observer: Observer,
) -> None:
    """Begin the steps of background tasks, and to tell operators, until the stack ends it."""
    services = app.services
    runner = make_task_runner(services.settings, services.clock, store, dispatcher)
    observer.gauge("marketbell_tasks_running", lambda: runner.running)
    if services.settings.role != "api":
        runner.start()
        stack.push_async_callback(runner.stop)
    relay = make_relay(
        services.settings,
        services.clock,
        store=store,
        publisher=services.publisher,
        observer=observer,
        read=draft_of,
        share=lambda: None if cluster.alone else cluster.tenure.slots,
    )
    if store.has_outbox:
        relay.start()
        stack.push_async_callback(relay.stop)
    crier = Crier(store, services.publisher, lambda: cluster.leads)
    store.on_change(lambda _change: crier.ring())
    crier.start()
    stack.push_async_callback(crier.stop)


@contextlib.asynccontextmanager
async def _marketplaces(
    node: Node,
    app: Api,
    beside: Callable[[Marketplaces], Sequence[BaseRoute]] | None,
    listeners: Sequence[socket.socket],
) -> AsyncIterator[None]:
    """The marketplaces' own APIs on a port of their own, if they are to be served."""
    settings = app.services.settings
    if not settings.marketplace_port and beside is None:
        yield
        return
    face = node.marketplaces.app(beside(node.marketplaces) if beside else ())
    server, node.marketplace_url = await serve(
        Beside(face, app),
        settings,
        port=settings.marketplace_port,
        on=next(iter(listeners), None),
    )
    try:
        yield
    finally:
        await server.stop()


async def _listen(
    app: Api, settings: Settings, listeners: Sequence[socket.socket]
) -> tuple[Server, str]:
    """Serve the API, on the first of these sockets if there is one; the server and its address."""
    on = next(iter(listeners), None)
    server, url = await serve(_narrowed(app, settings), settings, port=settings.port, on=on)
    app.services.site.listening(int(url.rpartition(":")[2]))
    return server, url


def _narrowed(app: Api, settings: Settings) -> Api | Beside:
    """What a node of this role serves: one that only delivers tells how it is, and no more."""
    if settings.role != "worker":
        return app

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") not in _OF_WORKERS:
            scope = {**scope, "path": _NOWHERE}
        await app(scope, receive, send)

    return Beside(told, app)


@contextlib.asynccontextmanager
async def _sharing(observer: Observer, shares: bool) -> AsyncIterator[None]:
    """Let other processes see the metrics, every second while it is open."""

    async def keep() -> None:
        while True:
            observer.keep_metrics()
            await asyncio.sleep(_KEEP_S)

    task = asyncio.create_task(keep()) if shares else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            observer.keep_metrics()


def _calm_collector() -> None:
    """
    Let the garbage collector run seldom: messages, claims and attempts hold no cycles.

    What is in memory now stays for good, so it need not be looked at again. Measured: a tenth
    of the time on the hot path.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _metrics_route(observer: Observer) -> Route:
    async def metrics(request: Request) -> Response:
        content_type, body = observer.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return Route("/metrics", metrics)
