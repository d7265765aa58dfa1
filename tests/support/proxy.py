"""A faulty network before a server: cut, refused, stalled, slow, half-open, or at a chosen byte."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from support.ports import free_ports
from support.proxy_connection import Act, Broken, Connection, Line, Side, Watch, Way

__all__ = ["Act", "Line", "Side", "TcpProxy", "Watch", "Way"]

_CALL_S: Final = 60.0
_MOST: Final = 1_000
"""Connections at a time; further ones are reset."""
CLEAR: Final = Line()
_COMMIT: Final = re.compile(rb"\bcommit\s*;?\s*\0", re.IGNORECASE)
"""The end of a query of PostgreSQL's protocol."""

T = TypeVar("T")


class TcpProxy:
    """
    A port of loopback from which connections go to a target, in a thread of its own.

    Everything here may be called from any thread and holds when it returns, for connections that
    are open as for those to come. The port stays the same; the target may be changed, as after a
    failover, and then holds for new connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.accepted = 0
        """Connections so far."""
        self.line = CLEAR
        """To be changed by `put`."""
        self._watch: Watch | None = None
        self._until: Callable[[bytes], bool] = bool
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._vanished: list[Connection] = []
        """Of which one side does not know yet that the other is gone."""
        self._change = asyncio.Event()
        self._listener: socket.socket | None = None
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        for self.port in free_ports():
            with contextlib.suppress(OSError):
                self.admit()
                break

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def before(cls, url: str) -> Self:
        """One whose target is the host and port of a URL; `url` gives the way through it."""
        parts = urlsplit(url)
        assert parts.hostname is not None, f"no host in {url}"
        assert parts.port is not None, f"no port in {url}"
        return cls(parts.hostname, parts.port)

    def url(self, url: str) -> str:
        """The same URL, through this proxy."""
        parts = urlsplit(url)
        name, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{name}{at}127.0.0.1:{self.port}"))

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    # -- faults -------------------------------------------------------------------------

    def put(self, line: Line) -> None:
        """From now on do this with the bytes of all connections; `Line()` passes them on."""
        self._call(lambda: self._put(line))

    def cut(self, side: Side = "both") -> int:
        """
        Reset the connections there are; how many. New ones are accepted.

        With one side only, the other does not learn of it and its socket stays open, as where
        a machine loses its power, until `cut` or `close`.
        """
        return self._call(lambda: self._cut(side))

    def refuse(self) -> None:
        """Listen no more and reset the connections there are: new ones are refused."""
        self._call(self._refuse)

    def admit(self) -> None:
        """Listen again, on the same port."""
        self._call(self._admit)

    def watch(self, watch: Watch | None, until: Callable[[bytes], bool] = bool) -> None:
        """
        Have a say in each piece that clients send; None ends that.

        An answer that is to be lost is kept back until `until` says of all of it that it is whole.
        """

        self._until = until
        self._watch = watch

    def at_commit(self, act: Act) -> threading.Event:
        """
        Do this with the next PostgreSQL connection whose client commits, then never again.

        With LOSE_ANSWER the server has committed, with RESET it never heard of it; the client
        can't tell them apart. The event is set once it has happened. Without TLS only.
        """
        happened = threading.Event()

        def commits(piece: bytes) -> Act:
            if _COMMIT.search(piece) is None:
                return Act.PASS
            self._watch = None
            if act is not Act.LOSE_ANSWER:
                happened.set()
            return act

        def committed(answer: bytes) -> bool:
            if b"COMMIT\0" not in answer:  # the tag of a CommandComplete
                return False
            happened.set()
            return True

        self.watch(commits, committed)
        return happened

    def close(self) -> None:
        """Listen no more, reset all connections, end the thread."""
        if not self._thread.is_alive():
            return
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)
        self._loop.close()

    # -- what its connections ask --------------------------------------------------------

    def act(self, piece: bytes) -> Act:
        """What to do with a piece that a client sent."""
        return Act.PASS if self._watch is None else self._watch(piece)

    def answered(self, answer: bytes) -> bool:
        """Whether this answer, which is lost, is whole."""
        return self._until(answer)

    async def changed(self) -> None:
        """Return once the line is another."""
        await self._change.wait()

    # -- in its thread --------------------------------------------------------------------

    def _call(self, do: Callable[[], Awaitable[T]]) -> T:
        async def done() -> T:
            return await do()

        assert threading.current_thread() is not self._thread, "not from what watches"
        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(_CALL_S)

    async def _put(self, line: Line) -> None:
        if self.line.swallowed is not None and line.swallowed is None:
            await self._end([each for each in self._connections if each.holed], "both")
        self.line = line
        self._change.set()
        self._change = asyncio.Event()

    async def _cut(self, side: Side) -> int:
        there = list(self._connections)
        await self._end(there, side)
        self._vanished += there
        if side == "both":
            for connection in self._vanished:
                connection.reset()
            self._vanished.clear()
        return len(there)

    async def _end(self, connections: list[Connection], side: Side) -> None:
        tasks = [self._connections.pop(each) for each in connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            connection.reset(side)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._cut("both")

    async def _admit(self) -> None:
        if self._listener is None:
            listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
            listener.setblocking(False)
            self._listener = listener
            # Not by sock_accept: cancelled in its last moment it would lose what it had accepted.
            self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client.setblocking(False)
        self.accepted += 1
        connection = Connection(client, self.target, self)
        if len(self._connections) >= _MOST:
            connection.reset()
            return
        self._connections[connection] = self._loop.create_task(self._run(connection))

    async def _run(self, connection: Connection) -> None:
        end = connection.close
        try:
            await connection.run()
        except* (OSError, Broken):
            end = connection.reset
        # Not if it is cancelled: whoever does that closes it.
        self._connections.pop(connection, None)
        end()
