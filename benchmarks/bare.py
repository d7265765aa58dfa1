"""
The least that a Python server can do: what Marketbell's figures are held against.

It parses a request (httptools), decodes its JSON (msgspec), and answers 202 with an id. With
`--relay PORT` it also posts the payload on to a receiver: a message in, a webhook out, and
nothing kept, checked, signed or recorded.

    python -m benchmarks.bare --core 0 [--relay 9000]        prints its port
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from collections import deque
from collections.abc import Callable
from typing import Final

import httptools
import msgspec
import uvloop

from benchmarks import machine, wire
from benchmarks.load import Load

_CONNECTIONS: Final = 64
_ACCEPTED: Final = (
    b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"
    b'{"id":"msg_2ItoQTrpGLMBkEyLG2WpQrkOMDY"}'
)


class _In(msgspec.Struct, rename="camel"):
    event_type: str
    payload: msgspec.Raw


class _Server(asyncio.Protocol):
    def __init__(self, forward: Callable[[bytes], None] | None) -> None:
        self._forward = forward
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._decode = msgspec.json.Decoder(_In).decode

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        message = self._decode(self._body)
        self._write(_ACCEPTED)
        if self._forward is not None:
            self._forward(bytes(message.payload))


class _Relay:
    """Posts payloads on over kept connections, one at a time on each."""

    def __init__(self, port: int) -> None:
        self._requests = wire.Requests(f"127.0.0.1:{port}", "/", token="none", keyed=False)
        self._payloads: deque[bytes] = deque()
        self.load = Load("127.0.0.1", port, self._next, concurrency=_CONNECTIONS)

    def _next(self, _number: int) -> bytes:
        return self._requests.request(self._payloads.popleft())

    def forward(self, payload: bytes) -> None:
        self._payloads.append(payload)
        self.load.offer()


async def _serve(options: argparse.Namespace) -> None:
    forward: Callable[[bytes], None] | None = None
    if options.relay:
        relay = _Relay(options.relay)
        await relay.load.connect()
        relay.load.begin_offers()
        forward = relay.forward
    server = await asyncio.get_running_loop().create_server(
        lambda: _Server(forward), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--relay", type=int, default=None)
    options = parser.parse_args()
    if options.core is not None:
        machine.pin(options.core)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    main()
