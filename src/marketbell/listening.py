"""Uvicorn on a socket that is bound before it starts, and stopped without signals."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from marketbell.api.app import Api
from marketbell.api.clients import BoundedProtocol, cut_late
from marketbell.api.protocol import PublishProtocol
from marketbell.errors import SettingsError
from marketbell.settings import Settings


class Server:
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

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn's own duties, ten times a second; and twice a second, an end to late clients."""
        if counter % 5 == 0:
            cut_late(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def listener(host: str, port: int) -> socket.socket:
    """
    A listening socket whose protocol is named, so that asyncio turns Nagle's algorithm off.

    SettingsError if the host names no address; OSError if it cannot be listened on.
    """
    try:
        family, kind, proto, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as fault:
        said = getattr(fault, "strerror", None) or fault
        mend = "give one of this machine's, such as 127.0.0.1, or 0.0.0.0 for all of them"
        raise SettingsError([f"host: {host} names no address ({said}); {mend}"]) from None
    made = socket.socket(family, kind, proto)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
    except OSError:
        made.close()
        raise
    return made


class Beside:
    """Another ASGI application in the same process, within the same bounds on its clients."""

    def __init__(self, app: ASGIApp, api: Api) -> None:
        self._app = app
        self.limits = api.limits
        self.refusal = api.refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)


async def serve(
    app: Api | Beside, settings: Settings, *, port: int, on: socket.socket | None = None
) -> tuple[Server, str]:
    """
    Serve on `host` and `port`, or on a socket that listens; the running server and its address. OSError, or SettingsError.

    A socket may be shared by several processes; it is this one's to close.
    """
    bound = on or listener(settings.host, port)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol if isinstance(app, Beside) else PublishProtocol,
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
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[bound]))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.005)
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return Server(server, task), f"http://{shown}:{port}"
