"""
One HTTP/1.1 connection of the client: a request is written, an answer is read within bounds.

Callbacks instead of a coroutine per request: a future and a task for each would cost a fifth of
the rate. The rules are RFC 9112's; httptools (llhttp, strict) reads the answer's syntax.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from typing import Final, Protocol, TypeAlias, cast

import httptools

from marketbell.delivery import reasons
from marketbell.delivery.exchange import Exchange, Kind, Limits
from marketbell.delivery.flight import Flight
from marketbell.delivery.wire import answer_header, ends_with_connection, keep_alive_s

Key: TypeAlias = tuple[str, str, int, bool]
"""What a kept connection may be used for again: host, checked address, port, TLS."""

_PIECE: Final = 65_536
"""Bodies up to this go out with the head in one write; longer ones in pieces of it."""
_INTERIMS: Final = 8
"""How many 1xx answers may come before the answer."""
_FRAMING: Final = 16_384
"""What chunk sizes, extensions and trailers may cost on top of twice the kept body."""
_VERSIONS: Final = frozenset(("1.1", "1.0"))
_GONE: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class Owner(Protocol):
    """Whom a connection tells what became of its exchange and of itself."""

    def now(self) -> float:
        """Real seconds on the clock's monotonic axis."""

    def finish(self, flight: Flight, exchange: Exchange) -> None:
        """The exchange is over."""

    def keep(self, connection: Connection, now: float) -> None:
        """The connection is free again and may be used for another exchange."""

    def opened(self, connection: Connection) -> None:
        """The connection stands, over TLS after the handshake."""

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """One connection, with at most one exchange at a time."""

    __slots__ = (
        "_chunks", "_complete", "_fault", "_head", "_head_done", "_interims", "_keep",
        "_owner", "_parser", "_paused", "_read", "_rest", "_room", "_status", "_surplus",
        "_transport", "_truncated", "address", "fileno", "flight", "idle_since", "idle_until",
        "key", "server_idle_s", "uses",
    )  # fmt: skip

    def __init__(self, owner: Owner, key: Key) -> None:
        host = f"[{key[1]}]" if ":" in key[1] else key[1]
        self.key = key
        self.address = f"{host}:{key[2]}"
        self.flight: Flight | None = None
        self.uses = 0
        self.fileno = -1
        self.idle_since = 0.0
        self.idle_until = 0.0
        self.server_idle_s: float | None = None
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._paused = False
        self._rest: memoryview | None = None
        self._clear()

    def _clear(self) -> None:
        """Forget the last answer."""
        self._read = 0
        self._head_done = False
        self._head = b""
        self._interims = 0
        self._status = 0
        self._complete = False
        self._surplus = False
        self._truncated = False
        self._keep = False
        self._fault = ""
        self._chunks: list[bytes] = []

    @property
    def open(self) -> bool:
        """Whether bytes can still be written."""
        return self._transport is not None and not self._transport.is_closing()

    def stale(self) -> bool:
        """
        Whether the receiver has closed it, or has sent something unasked, while it was idle.

        Looks at the socket itself, since the loop may not have come to it yet.
        """
        poll = select.poll()
        over_tls = self.key[3]
        # Over TLS what can be read may be a session ticket, so only an end of the stream counts.
        poll.register(self.fileno, _GONE if over_tls else _GONE | select.POLLIN)
        return bool(poll.poll(0))

    def begin(self, flight: Flight, now: float) -> None:
        """Send its request; the connection must be open and free."""
        transport = cast(asyncio.Transport, self._transport)
        if self.uses:
            self._clear()
        self.uses += 1
        self.flight = flight
        flight.connection = self
        limits = flight.limits
        self._room = limits.reply_bytes
        if len(flight.body) <= _PIECE:
            deadline = now + limits.first_byte_s
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
        transport, flight = self._transport, self.flight
        while self._rest and transport is not None and not self._paused:
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            transport.write(piece)
        if not self._rest and flight is not None and not self._read:
            deadline = self._owner.now() + flight.limits.first_byte_s
            flight.phase(deadline, reasons.ANSWER_TIMED_OUT)

    def drop(self, reason: str, kind: Kind = Kind.FAILED) -> None:
        """End the exchange without a valid answer, if there is one, and the connection at once."""
        self.abort()
        self._end(kind, reason, self._owner.now())

    def close(self) -> None:
        """Close in order: over TLS the receiver is told."""
        transport = self._transport
        if transport is None:
            return
        if self.key[3]:
            # uvloop cannot begin to end TLS while it hands out what was read.
            asyncio.get_running_loop().call_soon(_close, transport)
        else:
            transport.close()

    def abort(self) -> None:
        """Close at once, whatever is still in buffers."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, kind: Kind, reason: str, now: float) -> None:
        flight = self.flight
        if flight is None:
            return
        self.flight = self._rest = None
        retry_after = location = None
        if self._status >= 300:
            retry_after = self._header(b"retry-after", 100)
            location = self._header(b"location", 2_048)
        chunks, self._chunks = self._chunks, []
        self._head = b""  # it may share its bytes with a long body
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
        if kind is Kind.ANSWERED and self._keep:
            self._owner.keep(self, now)
        self._owner.finish(flight, exchange)

    def _answered(self, now: float) -> None:
        """The answer counts: whole, or as much of its body as is kept."""
        transport = cast(asyncio.Transport, self._transport)
        if self._surplus or self._truncated or self._rest or transport.get_write_buffer_size():
            self._keep = False
            transport.abort()
        elif not self._keep:
            self.close()
        elif self.uses == 1:
            self.server_idle_s = keep_alive_s(self._head, self._interims)
        self._end(Kind.ANSWERED, "", now)

    def _header(self, name: bytes, longest: int) -> str | None:
        values = answer_header(self._head, self._interims, name)
        return values[0][:longest].decode("latin-1") if values else None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready, over TLS after the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self.fileno = transport.get_extra_info("socket").fileno()
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer."""
        flight, parser = self.flight, self._parser
        if flight is None or parser is None:
            self.abort()  # nothing was asked for, so the next answer could not be trusted
            return
        now = self._owner.now()
        if not self._read:
            flight.first_byte = int((now - flight.started) * 1000)
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
        self._read += len(data)
        if self._read > flight.limits.header_bytes:
            self._bound(flight.limits)
        if self._fault:
            self.drop(self._fault)
        elif self._complete or self._truncated:
            self._answered(now)
        else:
            flight.phase(flight.end, reasons.READ_TIMED_OUT)

    def _bound(self, limits: Limits) -> None:
        """Look at the limits, once so much has come that one of them may be passed."""
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
            self._answered(self._owner.now())
        else:
            self._cut(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by either side."""
        self._transport = None
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

    def on_message_begin(self) -> None:
        """An answer begins; after a whole one that is one too many."""
        if self._complete:
            self._surplus = True

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

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, as far as it is kept at all."""
        if self._complete:
            return
        room = self._room - len(body)
        if room < 0:
            self._truncated = True
            body = body[: self._room]
            room = 0
        self._room = room
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it is an interim one."""
        parser = self._parser
        if self._complete or parser is None:
            return
        if self._head_done:
            self._complete = True
            self._keep = parser.should_keep_alive()
            return
        self._interims += 1
        if self._interims > _INTERIMS:
            self._fault = self._fault or reasons.malformed("too many interim answers")


def _close(transport: asyncio.Transport) -> None:
    try:
        transport.close()
    except RuntimeError:  # the receiver was quicker, and the two ends of TLS met half-way
        transport.abort()
