"""A seller's receiver on a port of its own that fails as the script says, then is well."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Self

import msgspec

from marketbell.demo.script import SCRIPT, Step

_TARGET: Final = "/hooks?seller=7&key=a%2Fb"
_HEAD_MAX: Final = 64 * 1024
_BODY_MAX: Final = 1_000_000
_FIRST_LINE: Final = {200: b"200 OK", 204: b"204 No Content", 500: b"500 Internal Server Error"}


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came in."""

    step: Step
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class ScriptedReceiver:
    """
    Answers 500, then nothing at all, then refuses connections until `resume`, then is well.

    While it refuses, its port stays bound to it, so that no other program answers there.
    Used as an async context manager; `received` has every request in order.
    """

    def __init__(self, good_status: int) -> None:
        self.received: list[Received] = []
        self.port = 0
        self._good_status = good_status
        self._server: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens; with a query, which must arrive untouched."""
        return f"http://127.0.0.1:{self.port}{_TARGET}"

    @property
    def target(self) -> str:
        """The path and query of its URL, as a request's first line must have them."""
        return _TARGET

    @property
    def refuses(self) -> bool:
        """Whether connections are refused at this moment."""
        return self._placeholder is not None

    async def __aenter__(self) -> Self:
        """Start to listen on a free port."""
        await self._listen(self._bound(0))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop every connection and let go of the port."""
        if self._server is not None:
            self._server.close()
        if self._placeholder is not None:
            self._placeholder.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def resume(self) -> None:
        """Listen again after having refused."""
        if self._placeholder is not None:
            placeholder, self._placeholder = self._placeholder, None
            await self._listen(placeholder)

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        self.port = bound.getsockname()[1]
        return bound

    async def _listen(self, bound: socket.socket) -> None:
        self._server = await asyncio.start_server(self._connected, sock=bound, limit=_HEAD_MAX)

    def _refuse(self) -> None:
        """A bound socket that does not listen: the system answers for it that nobody is there."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._placeholder = self._bound(self.port)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the sender went away, as it does after its time-out
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take one request and answer it by the script; whether the connection is kept."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(min(int(headers.get("content-length", "0")), _BODY_MAX))
        # The refused attempt never gets here, so the third request meets the fourth step.
        met = [step for step in SCRIPT if step is not Step.REFUSE]
        step = met[min(len(self.received), len(met) - 1)]
        self.received.append(
            Received(step=step, target=first.split(" ")[1], headers=headers, body=body)
        )
        if step is Step.HANG:
            self._refuse()
            await reader.read()  # until the sender gives up
            return False
        status = 500 if step is Step.ERROR else self._good_status
        length = b"" if status == 204 else b"Content-Length: 0\r\n"
        writer.write(b"HTTP/1.1 " + _FIRST_LINE[status] + b"\r\n" + length + b"\r\n")
        await writer.drain()
        return True
