"""
A receiver of webhooks that costs little, counts what comes and remembers when it came.

Every message of a benchmark has a serial number in its payload. The sink notes how often each
number came and when its first byte did, so that a lost or a doubled message is seen.

    python -m benchmarks.sink --core 0        a sink on its own; prints its port
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import ssl
import time
from array import array
from collections.abc import Callable
from typing import Final

import uvloop

from benchmarks import machine, wire

_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_LAST: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
_HANG: Final = b"/hang"


class Sink:
    """
    Listens on 127.0.0.1, on as many ports as asked; a path that begins with /hang is never answered.

    `expect` says how many messages may come; until then they are only counted.
    """

    def __init__(self, *, close_after: int = 0, delay_s: float = 0.0) -> None:
        self.close_after = close_after
        """Every connection is closed after so many requests; 0 keeps them."""
        self.delay_s = delay_s
        self.count = 0
        self.hanging = 0
        self.connections = 0
        self.ports: list[int] = []
        self.first_at: array[float] = array("d")
        """By serial number, when the first byte of its first request came; 0 for not yet."""
        self.times = bytearray()
        """By serial number, how often it came."""
        self.began_at = self.last_at = 0.0
        self._servers: list[asyncio.Server] = []

    async def start(self, *, ports: int = 1, tls: ssl.SSLContext | None = None) -> None:
        """Listen on free ports."""
        loop = asyncio.get_running_loop()
        for _ in range(ports):
            server = await loop.create_server(
                lambda: _Receiver(self), "127.0.0.1", 0, ssl=tls, backlog=4096
            )
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    def expect(self, messages: int) -> None:
        """Forget what came, and note the serial numbers below `messages` from now on."""
        self.first_at = array("d", bytes(8 * messages))
        self.times = bytearray(messages)
        self.count = self.hanging = self.connections = 0
        self.began_at = self.last_at = 0.0

    @property
    def unique(self) -> int:
        """How many of the expected messages came at least once."""
        return len(self.times) - self.times.count(0)

    @property
    def doubled(self) -> int:
        """How many came more than once."""
        return self.unique - self.times.count(1)

    async def until(self, count: int, *, within_s: float) -> bool:
        """Wait until so many requests have come; False if they do not come in time."""
        limit = time.monotonic() + within_s
        while self.count < count:
            if time.monotonic() > limit:
                return False
            await asyncio.sleep(0.002)
        return True

    def aclose(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()

    def came(self, data: bytes, now: float) -> None:
        """One whole request, whose first byte came at `now`."""
        self.count += 1
        if self.count == 1:
            self.began_at = now
        self.last_at = now
        if self.times:
            serial = wire.serial_in(data)
            if 0 <= serial < len(self.times):
                if self.times[serial] == 0:
                    self.first_at[serial] = now
                if self.times[serial] < 255:
                    self.times[serial] += 1


class _Receiver(asyncio.Protocol):
    __slots__ = ("_began", "_buffer", "_served", "_sink", "_transport", "_write")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._began = 0.0
        self._served = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._write: Callable[[bytes], None] = transport.write
        self._sink.connections += 1

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._buffer:
            data = self._buffer + data
            now = self._began
        while data:
            end = data.find(b"\r\n\r\n")
            size = end + 4 + wire.body_length(data[:end]) if end >= 0 else 0
            if end < 0 or len(data) < size:
                self._buffer, self._began = data, now
                return
            self._answer(data if len(data) == size else data[:size], now)
            data = data[size:]
        self._buffer = b""

    def _answer(self, request: bytes, now: float) -> None:
        sink = self._sink
        if request.startswith(_HANG, 5):
            sink.hanging += 1
            return
        sink.came(request, now)
        self._served += 1
        if sink.delay_s:
            asyncio.get_running_loop().call_later(sink.delay_s, self._write, _OK)
        elif sink.close_after and self._served >= sink.close_after:
            self._write(_LAST)
            self._transport.close()
        else:
            self._write(_OK)


async def _serve(options: argparse.Namespace) -> None:
    tls: ssl.SSLContext | None = None
    if options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.cert, options.key)
    sink = Sink(close_after=options.close_after, delay_s=options.delay)
    await sink.start(ports=options.ports, tls=tls)
    print(*sink.ports, flush=True)
    gc.freeze()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def main() -> None:
    """Listen until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description=__doc__)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--ports", type=int, default=1)
    parser.add_argument("--close-after", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    if options.core is not None:
        machine.pin(options.core)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    main()
