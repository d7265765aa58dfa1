"""One running node: store, data plane and management API, wired together and taken down in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from marketbell.api.app import create_app
from marketbell.assembly import (
    dialect_options,
    make_dispatcher,
    make_janitor,
    open_client,
    open_store,
    register_gauges,
)
from marketbell.clock import Clock
from marketbell.delivery.dispatcher import Dispatcher
from marketbell.dialects.registry import Registry
from marketbell.listening import serve
from marketbell.observe import Observer, configure_logging, open_spans
from marketbell.settings import Settings
from marketbell.store.sqlite_store import SqliteStore


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
        store = open_store(settings, clock)
        stack.push_async_callback(store.aclose)
        registry = registry or Registry.load(dialect_options(settings))
        client = open_client(settings, clock)
        stack.push_async_callback(client.aclose)
        dispatcher = make_dispatcher(
            settings, clock, store=store, client=client, registry=registry, observer=observer
        )
        store.on_change(dispatcher.forget)
        store.statistics.observe = observer.committed
        janitor = make_janitor(settings, clock, store, observer)
        register_gauges(
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
        server, url = await serve(app, settings)
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


def _metrics_route(observer: Observer) -> Route:
    async def metrics(request: Request) -> Response:
        content_type, body = observer.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return Route("/metrics", metrics)
