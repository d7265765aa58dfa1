"""One running node: store, data plane and management API, wired together and taken down in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from marketbell.api.app import create_app
from marketbell.api.protocol import PublishProtocol
from marketbell.clock import Clock
from marketbell.delivery.dialer import DirectDialer, tls_context
from marketbell.delivery.dispatcher import Dispatcher, DispatchLimits
from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.http1 import Client
from marketbell.delivery.janitor import Duties, Janitor
from marketbell.delivery.netguard import Networks
from marketbell.delivery.plan import Planner
from marketbell.delivery.resolver import Resolver
from marketbell.delivery.sender import Sender, SendLimits
from marketbell.dialects.registry import DialectOptions, Registry
from marketbell.observe import Observer, configure_logging, open_spans
from marketbell.settings import Settings
from marketbell.store.base import Ages
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits


class Node:
    """What runs, as its owner sees it."""

    def __init__(
        self, url: str, store: SqliteStore, dispatcher: Dispatcher, observer: Observer
    ) -> None:
        self.url = url
        """Where the management API answers, without a trailing slash."""
        self.store = store
        self.dispatcher = dispatcher
        self.observer = observer
        self._closed = asyncio.Event()

    async def wait_closed(self) -> None:
        """Return once the node has stopped serving."""
        await self._closed.wait()

    def close(self) -> None:
        """Say that it has stopped."""
        self._closed.set()


@contextlib.asynccontextmanager
async def running_node(
    settings: Settings, clock: Clock, *, registry: Registry | None = None
) -> AsyncIterator[Node]:
    """
    A node that serves while the context is open, with complete settings (secrets included).

    On leaving: no new requests are taken, what is in flight ends within `drain_timeout`, unsent
    claims are released, and what was accepted is on disk. Raises LockedError, SchemaError,
    UnavailableError or SettingsError before anything is served.
    """
    async with contextlib.AsyncExitStack() as stack:
        log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
        observer = Observer(log=log, spans=open_spans(settings.otel_endpoint, os.environ))
        stack.callback(observer.close)
        store = _open_store(settings, clock)
        stack.push_async_callback(store.aclose)
        registry = registry or Registry.load(_dialect_options(settings))
        client = _client(settings, clock)
        stack.push_async_callback(client.aclose)
        dispatcher = _dispatcher(
            settings, clock, store=store, client=client, registry=registry, observer=observer
        )
        store.on_change(dispatcher.forget)
        store.statistics.observe = observer.committed
        janitor = _janitor(settings, clock, store, observer)
        _register_gauges(
            observer,
            store=store,
            dispatcher=dispatcher,
            client=client,
            janitor=janitor,
            clock=clock,
        )
        dispatcher.start()
        stack.push_async_callback(dispatcher.drain, settings.drain_timeout / 1000)
        janitor.start()
        stack.push_async_callback(janitor.stop)
        app = create_app(
            settings=settings,
            clock=clock,
            store=store,
            intake=dispatcher,
            registry=registry,
            observer=observer,
            extra_routes=(_metrics_route(observer),),
        )
        server, url = await _serve(app, settings)
        _calm_collector()
        node = Node(url, store, dispatcher, observer)
        try:
            yield node
        finally:
            await server.stop()
            node.close()


def _calm_collector() -> None:
    """
    Let the garbage collector run seldom: messages, claims and attempts hold no cycles.

    What is in memory now stays for good, so it need not be looked at again. Measured: a tenth
    of the time on the hot path.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _open_store(settings: Settings, clock: Clock) -> SqliteStore:
    return SqliteStore(
        SqliteOptions(
            path=settings.db_file,
            cache_bytes=settings.sqlite_cache,
            readers=settings.readers,
            payload_retention=settings.payload_retention,
        ),
        Box([settings.secrets_key]),
        clock,
        WriterLimits(
            rows_per_transaction=settings.rows_per_transaction,
            waiting_rows=settings.waiting_rows_max,
            waiting_bytes=settings.waiting_bytes_max,
            wait_s=settings.waiting_max / 1000,
            lost_claims=settings.lost_claims_max,
        ),
    )


def _dialect_options(settings: Settings) -> DialectOptions:
    return DialectOptions(
        ovoko_zone=settings.ovoko_zone,
        ovoko_id_bridge=settings.ovoko_id_bridge,
        sellercenter_ids_as_strings=settings.sellercenter_ids_as_strings,
        cloudevents_source=settings.cloudevents_source,
    )


def _client(settings: Settings, clock: Clock) -> Client:
    resolver = Resolver(
        clock=clock,
        allowed=_networks(settings),
        limit_s=settings.resolve_timeout / 1000,
    )
    return Client(
        clock=clock,
        resolver=resolver,
        dialer=DirectDialer(tls_context(settings.extra_ca)),
        max_idle=settings.idle_connections_max,
        idle_s=settings.idle_connection_ms / 1000,
    )


def _networks(settings: Settings) -> Networks:
    return Networks.parse(str(network) for network in settings.allow_networks)


def _dispatcher(
    settings: Settings,
    clock: Clock,
    *,
    store: SqliteStore,
    client: Client,
    registry: Registry,
    observer: Observer,
) -> Dispatcher:
    sender = Sender(
        client,
        clock,
        SendLimits(
            resolve_s=settings.resolve_timeout / 1000,
            connect_s=settings.connect_timeout / 1000,
            first_byte_s=settings.first_byte_timeout / 1000,
            header_bytes=settings.answer_headers_max,
            reply_bytes=settings.reply_kept,
        ),
    )
    planner = Planner(
        registry,
        timeout=settings.attempt_timeout,
        max_in_flight=settings.endpoint_in_flight,
        networks=_networks(settings),
    )
    lanes = Lanes(
        Places(
            at_work=settings.at_work_max,
            sockets=settings.sockets_max,
            unproven_share=settings.unproven_share,
        ),
        breaker_failures=settings.breaker_failures,
        breaker_rest=settings.breaker_rest,
    )
    return Dispatcher(
        store,
        sender=sender,
        planner=planner,
        lanes=lanes,
        clock=clock,
        witness=observer,
        limits=DispatchLimits(
            lease=settings.lease,
            retry_after_max=settings.retry_after_max,
            lost_claims_max=settings.lost_claims_max,
        ),
    )


def _janitor(settings: Settings, clock: Clock, store: SqliteStore, observer: Observer) -> Janitor:
    return Janitor(
        store,
        observer,
        clock,
        Duties(
            ages=Ages(
                payloads=settings.payload_retention,
                attempts=settings.attempt_retention,
                messages=settings.message_retention,
            ),
            interval_s=settings.prune_interval / 1000,
            rows=settings.prune_rows,
            auto_disable_after=settings.auto_disable_after,
        ),
    )


def _register_gauges(
    observer: Observer,
    *,
    store: SqliteStore,
    dispatcher: Dispatcher,
    client: Client,
    janitor: Janitor,
    clock: Clock,
) -> None:
    def oldest_due() -> float:
        gauges = janitor.gauges
        if gauges is None or gauges.oldest_due is None:
            return 0.0
        return max(0.0, (clock.now() - gauges.oldest_due) / 1000)

    observer.gauge("marketbell_oldest_due_seconds", oldest_due)
    observer.gauge("marketbell_in_flight", lambda: dispatcher.in_flight)
    observer.gauge("marketbell_sockets", lambda: client.connections - client.idle, state="busy")
    observer.gauge("marketbell_sockets", lambda: client.idle, state="idle")
    observer.gauge("marketbell_waiting_rows", lambda: store.waiting_rows)
    observer.gauge(
        "marketbell_parked_deliveries", lambda: janitor.gauges.parked if janitor.gauges else 0
    )
    observer.gauge(
        "marketbell_database_bytes",
        lambda: janitor.gauges.file_bytes + janitor.gauges.log_bytes if janitor.gauges else 0,
    )


def _metrics_route(observer: Observer) -> Route:
    async def metrics(request: Request) -> Response:
        content_type, body = observer.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return Route("/metrics", metrics)


class _Server:
    """Uvicorn on a socket that is bound before it starts, stopped without signals."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None]) -> None:
        self._server = server
        self._task = task

    async def stop(self) -> None:
        """Take no new request, let those under way end."""
        self._server.should_exit = True
        await self._task


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handlers: the command decides what a signal means."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals alone."""
        yield


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket whose protocol is named, so that asyncio turns Nagle's algorithm off."""
    family, kind, proto, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


async def _serve(app, settings: Settings) -> tuple[_Server, str]:  # type: ignore[no-untyped-def]
    listener = _listener(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http=PublishProtocol,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=None,
        ws="none",
    )
    server = _Uvicorn(config)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.005)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return _Server(server, task), f"http://{shown}:{port}"
