"""
A load of HTTP requests over kept connections, cheap enough that what it loads is the limit.

Closed: every connection sends its next request when the last is answered. Open: requests are
sent at a fixed rate whether or not the server keeps up, and each is timed from the instant at
which it should have been sent, so that a stall is seen by all the requests that it held up.

    python -m benchmarks.load --port 8080 --seconds 5        a closed load on its own
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import ssl
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
import uvloop

from benchmarks import machine, wire

Answered: TypeAlias = Callable[[int, int, bytes, float], None]
"""Called with the request's number, the status, the whole answer and the instant."""

_TICK_S: Final = 0.001
_WAITING_MAX: Final = 200_000
_CONNECT_S: Final = 10.0


class Outcome(msgspec.Struct, frozen=True):
    """What became of a load."""

    sent: int
    answered: int
    seconds: float
    statuses: dict[int, int]
    lost: int
    """Connections that closed with a request on them."""
    latencies: array[float]
    """Seconds from when a request was, or should have been, sent until its answer."""
    unsent: int
    """Requests of an open load that had no free connection before its end."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """The latency in seconds that this share of the requests stays within."""
        return percentile(self.latencies, share)


def percentile(values: array[float], share: float) -> float:
    """The value that this share of `values` stays within; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Load:
    """
    Kept connections to one address, or to several in turn, driven from callbacks.

    `request(number)` gives the bytes of the request with that number, counted from 0.
    """

    def __init__(
        self,
        host: str,
        port: int,
        request: Callable[[int], bytes],
        *,
        concurrency: int,
        on_answer: Answered | None = None,
        tls: ssl.SSLContext | None = None,
        others: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._addresses = itertools.cycle(((host, port), *others))
        self._tls = tls
        self.request = request
        self.concurrency = concurrency
        self.on_answer = on_answer
        self.sent = self.answered = self.lost = 0
        self.statuses: dict[int, int] = {}
        self.latencies: array[float] = array("d")
        self.stopped = True
        self._count_max = 0
        self._first = 0
        self._closed_loop = True
        self._spent = asyncio.Event()
        self._quiet = asyncio.Event()
        self._free: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._connections: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open all connections. ConnectionError or TimeoutError if the server does not take them."""
        async with asyncio.timeout(_CONNECT_S):
            for _ in range(self.concurrency):
                await self._open()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self), *next(self._addresses), ssl=self._tls
        )
        self._connections.add(connection)
        self.ready(connection)

    async def closed(self, seconds: float, *, count_max: int = 10_000_000) -> Outcome:
        """Every connection busy for so long, or until so many requests have been sent."""
        self._begin(count_max, closed=True)
        begun = time.monotonic()
        connections, self._free = self._free, []
        for connection in connections:
            self.ready(connection)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._spent.wait()
        await self._settle()
        return self._outcome(time.monotonic() - begun, 0)

    async def open(self, rate: float, seconds: float) -> Outcome:
        """A request every 1/rate seconds for so long, whether or not the server keeps up."""
        self._begin(1 << 60, closed=False)
        begun = time.monotonic()
        planned, total = 0, int(rate * seconds)
        while planned < total:
            due = min(total, int((time.monotonic() - begun) * rate) + 1)
            while planned < due:
                intended = begun + planned / rate
                planned += 1
                if self._free:
                    self._free.pop().send(intended)
                elif len(self._waiting) < _WAITING_MAX:
                    self._waiting.append(intended)
            await asyncio.sleep(_TICK_S)
        unsent = len(self._waiting)
        self._waiting.clear()
        await self._settle()
        return self._outcome(time.monotonic() - begun, unsent)

    def begin_offers(self) -> None:
        """Send a request for every `offer`, until the load is closed."""
        self._begin(1 << 60, closed=False)

    def offer(self) -> None:
        """One more request, as soon as a connection is free."""
        now = time.monotonic()
        if self._free:
            self._free.pop().send(now)
        else:
            self._waiting.append(now)

    async def aclose(self) -> None:
        """Close all connections."""
        self.stopped = True
        for connection in list(self._connections):
            connection.close()
        await asyncio.sleep(0)

    def ready(self, connection: _Connection) -> None:
        """A connection has nothing to do."""
        if self.stopped:
            self._free.append(connection)
            if len(self._free) == len(self._connections):
                self._quiet.set()
        elif self._closed_loop:
            if self.sent >= self._count_max:
                self._spent.set()
                self._free.append(connection)
            else:
                connection.send(time.monotonic())
        elif self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def gone(self, connection: _Connection, *, busy: bool) -> None:
        """A connection was closed by the other side."""
        self._connections.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if busy:
            self.lost += 1
        if not self.stopped:
            task = asyncio.ensure_future(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        elif len(self._free) == len(self._connections):
            self._quiet.set()

    def _begin(self, count_max: int, *, closed: bool) -> None:
        self.answered = self.lost = 0
        self._first, self._count_max = self.sent, self.sent + count_max
        self.statuses = {}
        self.latencies = array("d")
        self._closed_loop = closed
        self._spent, self._quiet = asyncio.Event(), asyncio.Event()
        self.stopped = False

    async def _settle(self) -> None:
        """Send nothing more, and wait for the answers that are still on their way."""
        self.stopped = True
        if any(connection.busy for connection in self._connections):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONNECT_S):
                    await self._quiet.wait()

    def _outcome(self, seconds: float, unsent: int) -> Outcome:
        return Outcome(
            sent=self.sent - self._first,
            answered=self.answered,
            seconds=seconds,
            statuses=dict(self.statuses),
            lost=self.lost,
            latencies=self.latencies,
            unsent=unsent,
        )


class _Connection(asyncio.Protocol):
    __slots__ = ("_buffer", "_intended", "_load", "_number", "_write", "busy", "transport")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._number = 0
        self._intended = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._write = transport.write

    def send(self, intended: float) -> None:
        load = self._load
        self._number = load.sent
        load.sent += 1
        self._intended = intended
        self.busy = True
        self._write(load.request(self._number))

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + wire.body_length(data[:end]):
            self._buffer = data
            return
        self._buffer = b""
        load = self._load
        now = time.monotonic()
        status = int(data[9:12])
        load.statuses[status] = load.statuses.get(status, 0) + 1
        load.latencies.append(now - self._intended)
        load.answered += 1
        self.busy = False
        if load.on_answer is not None:
            load.on_answer(self._number, status, data, now)
        if data.find(b"\r\nconnection: close", 0, end) < 0:
            load.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:
        busy, self.busy = self.busy, False
        self._load.gone(self, busy=busy)

    def close(self) -> None:
        self.transport.close()


async def _measure(options: argparse.Namespace) -> dict[str, float]:
    tls: ssl.SSLContext | None = None
    if options.ca:
        tls = ssl.create_default_context(cafile=options.ca)
    requests = wire.Requests(f"127.0.0.1:{options.port}", "/", token="none", keyed=options.keyed)
    bodies = [wire.payload(number) for number in range(256)]
    load = Load(
        "127.0.0.1",
        options.port,
        lambda number: requests.request(bodies[number & 255]),
        concurrency=options.concurrency,
        tls=tls,
    )
    await load.connect()
    gc.freeze()
    await load.closed(min(0.3, options.seconds / 4))
    before = time.process_time()
    outcome = await load.closed(options.seconds)
    cpu = time.process_time() - before
    await load.aclose()
    return {
        "rate": outcome.rate,
        "answered": outcome.answered,
        "good": outcome.statuses.get(200, 0) + outcome.statuses.get(202, 0),
        "cpu_us": cpu / max(outcome.answered, 1) * 1e6,
        "p50_ms": outcome.percentile(0.5) * 1000,
        "p99_ms": outcome.percentile(0.99) * 1000,
    }


def main() -> None:
    """Load one port and print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument(
        "--keyed", action="store_true", help="with an idempotency key in each request"
    )
    parser.add_argument("--ca", help="speak TLS and trust this PEM file")
    options = parser.parse_args()
    if options.core is not None:
        machine.pin(options.core)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_measure(options))))


if __name__ == "__main__":
    main()
