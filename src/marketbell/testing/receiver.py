"""A receiver of webhooks that behaves as a script says, well or badly, and keeps what came."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import http
import inspect
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self, TypeAlias

import msgspec


class Then(enum.Enum):
    """What the receiver does after an answer."""

    KEEP = "keep"
    """Wait for the next request."""
    CLOSE = "close"
    """Close the connection in order."""
    RESET = "reset"
    """Reset it: the client's next read or write fails."""
    HANG = "hang"
    """Say nothing more, but read whatever comes."""
    STALL = "stall"
    """Say nothing more and read nothing more."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer and how it is given."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    """Content-Length is added unless it or Transfer-Encoding stands here."""
    body: bytes = b""
    raw: bytes | None = None
    """These bytes instead of the answer that status, headers and body make."""
    cut: int | None = None
    """Only the first so many bytes of it."""
    delay_s: float = 0.0
    """How long to wait first, in real seconds."""
    drip_s: float = 0.0
    """How long to wait after every single byte."""
    endless: bytes = b""
    """What to send after it, again and again until the client goes."""
    early: bool = False
    """Answer when the request's head is read, its body unread."""
    then: Then = Then.KEEP

    def rendered(self) -> bytes:
        """The bytes that are sent."""
        data = self.raw
        if data is None:
            headers = list(self.headers)
            framed = {"content-length", "transfer-encoding"}
            bodiless = self.status < 200 or self.status in {204, 304}
            if not bodiless and not any(name.lower() in framed for name, _ in headers):
                headers.append(("Content-Length", str(len(self.body))))
            try:
                phrase = http.HTTPStatus(self.status).phrase
            except ValueError:
                phrase = "Unknown"
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            data = f"HTTP/1.1 {self.status} {phrase}\r\n{lines}\r\n".encode("latin-1") + self.body
        return data if self.cut is None else data[: self.cut]


OK: Final = Answer()
"""Takes the request with 200 and an empty body."""
HANG: Final = Answer(raw=b"", then=Then.HANG)
"""Takes the request and never answers."""
CLOSE: Final = Answer(raw=b"", then=Then.CLOSE)
"""Takes the request and closes."""
RESET: Final = Answer(raw=b"", then=Then.RESET)
"""Takes the request and resets the connection."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came."""

    method: str
    target: str
    """Path and query, byte for byte."""
    headers: tuple[tuple[str, str], ...]
    """In their order, names as they were written."""
    head: bytes
    """Everything before the body, to the byte."""
    body: bytes
    """Empty for a request that was answered `early`."""
    connection: int
    """Which connection it came over, counted from 1."""
    at: float
    """When it was read, on `time.monotonic`."""

    def header(self, name: str) -> str | None:
        """The value of the first header of this name, whatever the case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Script: TypeAlias = (
    Sequence[Answer] | Callable[[Received], Answer] | Callable[[Received], Awaitable[Answer]]
)


class TestReceiver:
    """
    A real HTTP/1.1 server on a free port of 127.0.0.1, for `async with`.

    The script is a list of answers, of which the last is repeated, or a function of the request,
    plain or async. Given a TLS context (see `Authority`) it speaks https, under `host`.
    Requests of more than 64 kB of head or 64 MB of body are cut off.
    """

    __test__ = False  # pytest takes every class of this name for a test

    def __init__(
        self,
        script: Script = (OK,),
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.script = script
        self.requests: list[Received] = []
        """What came, in the order of coming."""
        self.connections = 0
        """How many connections were accepted in all."""
        self.open = 0
        """How many are open now."""
        self.port = 0
        self._tls = tls
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._answered = 0

    @property
    def url(self) -> str:
        """The receiver's address, with the path `/`."""
        return f"http{'s' if self._tls else ''}://{self._host}:{self.port}/"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.refuse()

    async def listen(self) -> None:
        """Take connections, on the port of the first time."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls, backlog=1_024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close all connections and let new ones be refused, until `listen` is called again."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    async def wait_for(self, count: int, *, limit_s: float = 60.0) -> list[Received]:
        """The first `count` requests, once so many have come; TimeoutError if they do not come."""
        await self.wait_until(lambda: len(self.requests) >= count, limit_s=limit_s)
        return self.requests[:count]

    async def wait_until(self, condition: Callable[[], bool], *, limit_s: float = 60.0) -> None:
        """Wait until `condition` holds; it is asked whenever a request or connection comes or goes."""
        async with asyncio.timeout(limit_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream server calls this in a task of its own
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self._changed.set()
        number = self.connections
        try:
            with contextlib.suppress(
                OSError,
                asyncio.IncompleteReadError,
                asyncio.LimitOverrunError,
                asyncio.CancelledError,
            ):
                while await self._one(reader, writer, number):
                    pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self.open -= 1
            self._changed.set()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        """Take one request and answer it; whether the connection is kept."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = lines[0].split(" ")
        headers = tuple(
            (name, value.strip()) for name, _, value in (x.partition(":") for x in lines[1:])
        )
        request = Received(
            method=method,
            target=target,
            headers=headers,
            head=head,
            body=b"",
            connection=number,
            at=time.monotonic(),
        )
        answer = self._next() if not callable(self.script) else None
        if answer is None or not answer.early:
            size = min(int(request.header("content-length") or 0), 1 << 26)
            body = await reader.readexactly(size)
            request = msgspec.structs.replace(request, body=body, at=time.monotonic())
        if callable(self.script):
            given = self.script(request)
            answer = await given if inspect.isawaitable(given) else given
        self.requests.append(request)
        self._changed.set()
        assert isinstance(answer, Answer)  # noqa: S101 - whatever the script gave
        return await _give(answer, reader, writer)

    def _next(self) -> Answer:
        answers = self.script
        assert not callable(answers)  # noqa: S101 - asked for lists alone
        answer = answers[min(self._answered, len(answers) - 1)]
        self._answered += 1
        return answer


async def _give(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if answer.delay_s:
        await asyncio.sleep(answer.delay_s)
    data = answer.rendered()
    if answer.drip_s:
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await writer.drain()
            await asyncio.sleep(answer.drip_s)
    elif data:
        writer.write(data)
        await writer.drain()
    while answer.endless:
        writer.write(answer.endless * (1 + 65_536 // len(answer.endless)))
        await writer.drain()
        await asyncio.sleep(0)  # drain() alone lets nobody else run
    match answer.then:
        case Then.KEEP:
            return True
        case Then.CLOSE:
            writer.close()
            await writer.wait_closed()
        case Then.RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        case Then.HANG:
            while await reader.read(65_536):
                pass
        case Then.STALL:
            await asyncio.get_running_loop().create_future()
    return False
