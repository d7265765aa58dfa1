"""One connection through a proxy that holds, loses and cuts bytes as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, Protocol

import msgspec

Way = Literal["up", "down"]
"""`up` from the client to the server, `down` back."""
Side = Literal["client", "server", "both"]
_PIECE: Final = 65_536
_WAITING: Final = 64
"""Pieces that a connection holds each way; then it reads no more."""
_TICK_S: Final = 0.02


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What the proxy does with bytes; by itself it passes them on at once."""

    delay_ms: int = 0
    """Each way."""
    bytes_per_s: int | None = None
    """Each way, of each connection."""
    stalled: bool = False
    """Connections are accepted and kept, and nothing goes through, nor that one side left."""
    swallowed: Way | None = None
    """Bytes of this way vanish, the others pass; such a connection is reset when this ends."""
    reset_after: int | None = None
    """Both sides are reset once so many bytes of the way down have passed since this was set."""


class Act(Enum):
    """What to do with a connection on which the client has just sent something."""

    PASS = "pass"
    RESET = "reset"
    """At once: the server does not get what was sent."""
    LOSE_ANSWER = "lose the answer"
    """Pass it on, keep back what the server says until it is done, then reset both sides."""


Watch = Callable[[bytes], Act]
"""Sees each piece that a client sends, in the proxy's own thread."""


class Rules(Protocol):
    """What a connection asks its proxy at every step."""

    line: Line

    def act(self, piece: bytes) -> Act:
        """What to do with a piece that the client sent."""

    def answered(self, answer: bytes) -> bool:
        """Whether this answer, which is lost, is whole."""

    async def changed(self) -> None:
        """Return once the line is another."""


class Connection:
    """A client's socket, one to the target, and what is between them."""

    def __init__(self, client: socket.socket, target: tuple[str, int], rules: Rules) -> None:
        self.holed = False
        """Whether bytes of it have vanished."""
        self._client = client
        self._server = socket.socket()
        self._server.setblocking(False)
        self._target = target
        self._rules = rules
        self._kept_back: bytearray | None = None
        """The server's answer that is to be lost."""
        self._passed_down = 0
        self._counted_for: Line | None = None

    async def run(self) -> None:
        """Return once both sides have left; raises what breaks it. `close` it then."""
        await asyncio.get_running_loop().sock_connect(self._server, self._target)
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.TaskGroup() as tasks:
            for way in ("up", "down"):
                pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
                tasks.create_task(self._read(way, pieces))
                tasks.create_task(self._write(way, pieces))

    def close(self) -> None:
        """Close what is open of it; `run` must have ended."""
        self._client.close()
        self._server.close()

    def reset(self, side: Side = "both") -> None:
        """Close without a farewell, so that this side sees a reset and the other one nothing."""
        ends = {"client": [self._client], "server": [self._server]}
        for end in ends.get(side, [self._client, self._server]):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    async def _read(self, way: Way, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        source = self._client if way == "up" else self._server
        while True:
            piece = await loop.sock_recv(source, _PIECE)
            await pieces.put((loop.time() + self._rules.line.delay_ms / 1000, piece))
            if not piece:
                return

    async def _write(self, way: Way, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        target = self._server if way == "up" else self._client
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - loop.time())
            while self._rules.line.stalled:
                await self._rules.changed()
            if not piece:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
            if self._rules.line.swallowed == way:
                self.holed = True
            elif way == "up":
                await self._send_up(target, piece)
            else:
                await self._send_down(target, piece)

    async def _send_up(self, server: socket.socket, piece: bytes) -> None:
        act = self._rules.act(piece)
        if act is Act.RESET:
            raise Broken
        if act is Act.LOSE_ANSWER:
            self._kept_back = bytearray()
        await self._send(server, piece)

    async def _send_down(self, client: socket.socket, piece: bytes) -> None:
        if self._kept_back is not None:
            self._kept_back += piece
            if self._rules.answered(bytes(self._kept_back)):
                raise Broken
            return
        line = self._rules.line
        if line.reset_after is not None:
            if self._counted_for is not line:
                self._passed_down, self._counted_for = 0, line
            left = line.reset_after - self._passed_down
            self._passed_down += len(piece)
            if len(piece) >= left:
                await self._send(client, piece[:left])
                # A reset overtakes what the client has not read yet: let it arrive before.
                await asyncio.sleep(_TICK_S)
                raise Broken
        await self._send(client, piece)

    async def _send(self, target: socket.socket, piece: bytes) -> None:
        loop = asyncio.get_running_loop()
        left = memoryview(piece)
        while left:
            rate = self._rules.line.bytes_per_s
            some = len(left) if rate is None else max(1, int(rate * _TICK_S))
            await loop.sock_sendall(target, left[:some])
            if rate is not None:
                await asyncio.sleep(min(some, len(left)) / rate)
            left = left[some:]


class Broken(Exception):  # noqa: N818 - it is what was asked for
    """This connection is to be reset, as it was told."""
