"""
One HTTP/1.1 connection of the client: a request is written, an answer is read within bounds.

Callbacks instead of a coroutine per request: a future and a task for each would cost a fifth of
the rate. The rules are RFC 9112's; httptools (llhttp, strict) reads the answer's syntax.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast

import httptools

from marketbell.delivery import reasons
from marketbell.delivery.exchange import Exchange, Kind, Limits
from marketbell.delivery.flight import Flight, Key, Owner
from marketbell.delivery.wire import answer_header, ends_with_connection, keep_alive_s

_ANSWERED: Final = Kind.ANSWERED
_PIECE: Final = 65_536
"""Bodies up to this go out with the head in one write; longer ones in pieces of it."""
_INTERIMS: Final = 8
"""How many 1xx answers may come before the answer."""
_FRAMING: Final = 16_384
"""What chunk sizes, extensions and trailers may cost on top of twice the kept body."""
_SAID: Final = 1_024
"""The longest answer that is remembered."""
_VERSIONS: Final = frozenset(("1.1", "1.0"))


class Connection(asyncio.Protocol):
    """One connection, with at most one exchange at a time."""

    __slots__ = (
        "_chunks", "_complete", "_counted", "_fault", "_head", "_head_done", "_interims", "_keep",
        "_kept", "_now", "_owner", "_parser", "_paused", "_read", "_rest", "_said", "_said_body",
        "_status", "_surplus", "_truncated", "_whole", "address", "fileno", "flight", "idle_since", "idle_until", "key",
        "look", "on_body", "on_message_begin", "server_idle_s", "transport", "uses",
    )  # fmt: skip

    def __init__(self, owner: Owner, key: Key) -> None:
        host = f"[{key[1]}]" if ":" in key[1] else key[1]
        self.key = key
        self.address = f"{host}:{key[2]}"
        self.flight: Flight | None = None
        self.transport: asyncio.Transport | None = None
        self.uses = 0
        self.fileno = -1
        self.look: Callable[[int], Sequence[object]] | None = None
        """What the pool looks at its socket with."""
        self.idle_since = 0.0
        self.idle_until = 0.0
        self.server_idle_s: float | None = None
        self._owner = owner
        self._now = owner.now
        self._paused = False
        self._rest: memoryview | None = None
        self._read = 0  # bytes of the answer
        self._head = b""  # those up to the end of its head, and perhaps more
        self._head_done = False
        self._interims = 0
        self._status = 0
        self._complete = False
        self._surplus = False
        self._truncated = False
        self._keep = False
        self._fault = ""
        self._chunks: list[bytes] = []
        """Of the body, and of what comes after it."""
        self._kept = 0
        """How many of them were the body's when it was complete."""
        self._counted = (0, 0)
        """How many of them `_bound` has looked at, and their bytes."""
        self._whole: list[bool] = []
        """Holds something from the end of a whole answer until another one begins."""
        self._said = b""
        """The last answer, if it was a short success that came whole; a busy receiver repeats it to the byte."""
        self._said_body = (0, b"")
        """Its status and its body."""
        # Lists can do what is to be done at these two, and the parser calls them for half as much.
        self.on_body = self._chunks.append
        self.on_message_begin = self._whole.clear
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    @property
    def open(self) -> bool:
        """Whether bytes can still be written."""
        return self.transport is not None and not self.transport.is_closing()

    def begin(self, flight: Flight, now: float) -> None:
        """Send its request; the connection must be open and free."""
        transport = self.transport
        if transport is None:
            raise RuntimeError("a connection that is gone cannot be used")
        # After an answer that has set anything else it is not used again.
        self._read = self._interims = self._status = 0
        self._head_done = self._complete = False
        self._counted = (0, 0)
        self.uses += 1
        self.flight = flight
        flight.connection = self
        if len(flight.body) <= _PIECE:
            deadline = now + flight.way.limits.first_byte_s
            flight.deadline = deadline if deadline < flight.end else flight.end  # noqa: FURB136
            flight.late = reasons.ANSWER_TIMED_OUT
            transport.write(flight.head + flight.body)
        else:
            flight.phase(flight.end, reasons.SEND_TIMED_OUT)
            self._rest = memoryview(flight.body)
            transport.write(flight.head)
            self._push()

    def _push(self) -> None:
        """Write as much of the body as the transport takes without piling it up."""
        transport, flight = self.transport, self.flight
        while self._rest and transport is not None and not self._paused:
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            transport.write(piece)
        if not self._rest and flight is not None and not self._read:
            deadline = self._now() + flight.way.limits.first_byte_s
            flight.phase(deadline, reasons.ANSWER_TIMED_OUT)

    def drop(self, reason: str, kind: Kind = Kind.FAILED) -> None:
        """End the exchange without a valid answer, if there is one, and the connection at once."""
        self.abort()
        self._end(kind, reason, self._now())

    def close(self) -> None:
        """Close in order: over TLS the receiver is told."""
        if self.key[3]:
            # uvloop cannot begin to end TLS while it hands out what was read.
            asyncio.get_running_loop().call_soon(self._close)
        else:
            self._close()

    def _close(self) -> None:
        try:
            if self.transport is not None:
                self.transport.close()
        except RuntimeError:  # the receiver was quicker, and the two ends of TLS met half-way
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever is still in buffers."""
        if self.transport is not None:
            self.transport.abort()

    def _end(self, kind: Kind, reason: str, now: float) -> None:
        """
        End the exchange, if there is one; a connection that may be used again is kept.

        ANSWERED is for an answer that counts: whole, or as much of its body as is kept.
        """
        flight = self.flight
        if flight is None:
            return
        rest, self.flight, self._rest = self._rest, None, None
        keep = False
        if kind is _ANSWERED:
            transport = self.transport
            unsent = rest or transport is None or transport.get_write_buffer_size()
            if self._surplus or self._truncated or unsent:
                self.abort()
            elif self._keep:
                keep = True
                if b"imeout" in self._head or self.uses == 1:
                    self.server_idle_s = keep_alive_s(self._head, self._interims)
            else:
                self.close()
        retry_after = location = None
        if self._status >= 300:
            retry_after = self._header(b"retry-after", 100)
            location = self._header(b"location", 2_048)
        chunks = self._chunks
        if self._surplus and self._complete:
            del chunks[self._kept :]
        exchange = Exchange(
            kind,
            reason,
            self._status,
            chunks[0] if len(chunks) == 1 else b"".join(chunks),
            self._truncated,
            retry_after,
            location,
            self.address,
            True,  # sent
            self.uses > 1,
            int((now - flight.started) * 1000),
            flight.connect,
            flight.first_byte,
        )
        chunks.clear()
        self._head = b""  # it may share its bytes with a long body
        if keep:
            self._owner.keep(self, now)
        self._owner.finish(flight, exchange)

    def _header(self, name: bytes, longest: int) -> str | None:
        values = answer_header(self._head, self._interims, name)
        return values[0][:longest].decode("latin-1") if values else None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready, over TLS after the handshake."""
        self.transport = cast("asyncio.Transport", transport)
        self.fileno = transport.get_extra_info("socket").fileno()
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer."""
        flight, parser = self.flight, self._parser
        if flight is None or parser is None:
            self.abort()  # nothing was asked for, so the next answer could not be trusted
            return
        now = self._now()
        if not self._read:
            flight.first_byte = int((now - flight.started) * 1000)
            if data == self._said:  # so it says the same, and the parser stands where it stood
                self._status, body = self._said_body
                self._chunks.append(body)
                self._end(_ANSWERED, "", now)
                return
        if not self._head_done:
            self._head = self._head + data if self._head else data
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._surplus = True
            if not self._complete and not self._fault:
                self._fault = reasons.no_http(self._head, str(error)[:100])
        except httptools.HttpParserUpgrade:
            self._surplus = True  # status 101, which is a fault already
        self._read = read = self._read + len(data)
        if self._complete and not self._whole:
            self._surplus = True
        limits = flight.way.limits
        if read > limits.reply_bytes or read > limits.header_bytes:
            self._bound(limits)
        if self._fault:
            self.drop(self._fault)
        elif self._complete or self._truncated:
            self._remember(data)
            self._end(_ANSWERED, "", now)
        else:
            flight.phase(flight.end, reasons.READ_TIMED_OUT)

    def _remember(self, data: bytes) -> None:
        if self._read == len(data) <= _SAID and 200 <= self._status < 300 and not self._surplus:
            self._said = data
            self._said_body = (self._status, b"".join(self._chunks))

    def _bound(self, limits: Limits) -> None:
        """Look at the limits, once so much has come that one of them may be passed."""
        chunks = self._chunks
        if self._complete:
            del chunks[self._kept :]
        known, size = self._counted
        size += sum(map(len, chunks[known:]))
        self._counted = len(chunks), size
        if size > limits.reply_bytes:
            self._truncated = True
            chunks[:] = [b"".join(chunks)[: limits.reply_bytes]]
            self._kept = 1
        if self._read <= limits.header_bytes:
            return
        end = -4
        for _ in range(self._interims + self._head_done):
            end = self._head.find(b"\r\n\r\n", end + 4)
        if not self._head_done or end > limits.header_bytes:
            self._fault = self._fault or reasons.headers_over(limits.header_bytes)
            self._status = 0
        elif not self._complete:
            most = limits.header_bytes + 2 * limits.reply_bytes + _FRAMING
            self._truncated = self._truncated or self._read > most

    def eof_received(self) -> None:
        """The receiver sends no more: that ends an answer that has no length of its own."""
        if self.flight is None:
            return
        if self._head_done and ends_with_connection(self._head, self._interims):
            self._keep = False  # whatever the answer before this one said
            self._end(_ANSWERED, "", self._now())
        else:
            self._cut(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by either side."""
        self.transport = None
        self._cut(exc)
        self._parser = None  # it holds this connection, and would until the garbage collector came
        self._rest = None
        self._owner.lost(self)

    def _cut(self, exc: Exception | None) -> None:
        if self.flight is None:
            return
        if isinstance(exc, ssl.SSLError):
            self.drop(reasons.tls_failed(exc))
        elif self._read:
            self.drop(reasons.CLOSED_INSIDE)
        elif self.uses > 1:
            self.drop(reasons.REUSED_CLOSED, Kind.CLOSED)
        else:
            self.drop(reasons.CLOSED_BEFORE)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._paused = False
        if self._rest is not None:
            self._push()

    # httptools

    def on_headers_complete(self) -> None:
        """The head is read: bound it, and look at version and status."""
        parser = self._parser
        if self._complete or parser is None:
            return
        status = parser.get_status_code()
        if status >= 200:
            self._status = status
            self._head_done = True
        elif status < 100 or status == 101:
            self._fault = reasons.malformed(f"status {status:03}")
        if self.uses == 1 and parser.get_http_version() not in _VERSIONS:
            self._fault = reasons.malformed(f"HTTP/{parser.get_http_version()}")

    def on_message_complete(self) -> None:
        """The answer is whole, unless it is an interim one."""
        parser = self._parser
        if self._complete or parser is None:
            return
        if self._head_done:
            self._complete = True
            self._whole.append(True)
            self._kept = len(self._chunks)
            self._keep = parser.should_keep_alive()
            return
        self._interims += 1
        if self._interims > _INTERIMS:
            self._fault = self._fault or reasons.malformed("too many interim answers")
