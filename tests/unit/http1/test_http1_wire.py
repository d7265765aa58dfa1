"""The bytes of a request, and answers cut into pieces in any way."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketbell.delivery import reasons
from marketbell.delivery.connection import Connection
from marketbell.delivery.exchange import Exchange, Limits
from marketbell.delivery.flight import Flight, Way
from marketbell.delivery.http1 import Client
from marketbell.delivery.netguard import Target
from marketbell.delivery.wire import bad_header, may_send, request_head
from marketbell.dialects.base import Request
from marketbell.testing import TestReceiver

TARGET = Target(True, "shop.example", 443, "shop.example", "/hook?a=%20b")


def test_a_head_has_the_targets_bytes_and_the_headers_in_their_order() -> None:
    assert request_head(TARGET, (("B", "1"), ("a", "é")), 12) == (
        b"POST /hook?a=%20b HTTP/1.1\r\nHost: shop.example\r\n"
        b"B: 1\r\na: \xe9\r\nContent-Length: 12\r\n\r\n"
    )


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nEvil: 1"),
        ("X", "a\nEvil: 1"),
        ("X", "a\rEvil: 1"),
        ("X", "a\0"),
        ("X", "\u20ac"),
        ("X\r\nEvil", "1"),
        ("X:", "1"),
        ("X Y", "1"),
        ("", "1"),
        ("\u00e9", "1"),
        ("Host", "evil.example"),
        ("CONTENT-LENGTH", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Expect", "100-continue"),
        ("Upgrade", "h2c"),
    ],
)
def test_a_header_that_would_change_the_request_is_refused(header: tuple[str, str]) -> None:
    headers = (("Good", "1"), header)
    assert not may_send(*header)
    assert bad_header(headers) == header[0]
    assert request_head(TARGET, headers, 0) is None


async def test_a_request_with_such_a_header_is_not_sent(client: Client) -> None:
    told: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    async with TestReceiver() as receiver:
        client.send(TARGET, Request((("X-Evil", "a\r\nB: c"),), b""), Limits(), told.set_result)
        exchange = await told
        assert receiver.connections == 0
    assert exchange.reason == "request header 'X-Evil' cannot be sent"
    assert not exchange.sent


class Parsed:
    """What a server makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.count = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.count += 1


TEXT = st.text(st.sampled_from("aZ0-_:; ,\r\n\0\t\x7fé€\x85\u2028"), max_size=8)
HEADERS = st.lists(
    st.tuples(st.one_of(TEXT, st.sampled_from(["X-A", "te", "a"])), TEXT), max_size=4
)


@given(HEADERS.map(tuple), st.binary(max_size=50))
@example((("a", "x\r\n\r\nPOST / HTTP/1.1"),), b"")
def test_any_headers_are_refused_or_arrive_as_they_were_and_as_one_request(
    headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    head = request_head(TARGET, headers, len(body))
    assert (head is None) is bool([header for header in headers if not may_send(*header)])
    if head is None or any("\x7f" in value for _, value in headers):
        return  # a server may refuse DEL; it begins nothing new
    parsed = Parsed(head + body)
    assert parsed.count == 1
    assert parsed.body == body
    arrived = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in parsed.headers]
    sent = [("Host", "shop.example"), *headers, ("Content-Length", str(len(body)))]
    # A parser may take off the whitespace around a value or leave it (RFC 9112 section 5).
    assert [(name, value.strip(" \t")) for name, value in arrived] == [
        (name, value.strip(" \t")) for name, value in sent
    ]


# Answers in pieces


class Pipe(asyncio.Transport):
    """A transport into nothing, so that a test can say which bytes come together."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.buffered = 0
        self.written = 0
        self.pauses: Connection | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += len(data)
        if self.pauses is not None:
            self.pauses.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def fileno(self) -> int:
        return -1


class Told:
    """An owner of one connection that keeps what it is told."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.kept = 0

    def now(self) -> float:
        return 5.0

    def finish(self, flight: Flight, exchange: Exchange) -> None:
        del flight
        self.exchanges.append(exchange)

    def keep(self, connection: Connection, now: float) -> None:
        del connection, now
        self.kept += 1

    def opened(self, connection: Connection) -> None:
        del connection

    def lost(self, connection: Connection) -> None:
        del connection


class Single(Flight):
    """A flight of which only what its connection tells is looked at."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(Way(TARGET, limits), 5.0)

    def landed(self, exchange: Exchange) -> None:
        """It is told to the connection's owner."""


def read(pieces: list[bytes], limits: Limits) -> tuple[list[Exchange], int]:
    """What a connection makes of an answer that comes in these pieces and then ends."""
    told = Told()
    connection = Connection(told, ("shop.example", "8.8.8.8", 443, False))
    pipe = Pipe()
    connection.connection_made(pipe)
    flight = Single(limits)
    connection.begin(flight, 5.0)
    for piece in pieces:
        connection.data_received(piece)
    if not pipe.closed:
        connection.eof_received()
    connection.connection_lost(None)
    return told.exchanges, told.kept


ANSWERS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\nhello",
        (
            b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nRetry-After: 8\r\n\r\n"
        ),
        b"HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\nuntil the end",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabcdefghijklmnopqrstuvwxyz1234",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nmore",
        b"HTTP/1.1 2x0 Odd\r\n\r\n",
    ]
)


@given(ANSWERS, st.data())
def test_an_answer_means_the_same_in_whatever_pieces_it_comes(
    raw: bytes, data: st.DataObject
) -> None:
    limits = Limits(header_bytes=200, reply_bytes=20)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=12)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    whole, kept = read([raw], limits)
    assert len(whole) == 1
    assert read(pieces, limits) == (whole, kept)


@pytest.mark.parametrize("buffered", [0, 1])
def test_a_connection_is_kept_only_if_the_whole_request_has_left(buffered: int) -> None:
    told, pipe = Told(), Pipe()
    connection = Connection(told, ("shop.example", "8.8.8.8", 443, False))
    connection.connection_made(pipe)
    pipe.buffered = buffered
    flight = Single(Limits())
    connection.begin(flight, 5.0)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert [exchange.status for exchange in told.exchanges] == [200]
    assert (told.kept, pipe.closed) == ((0, True) if buffered else (1, False))


def test_an_answer_that_has_begun_is_waited_for_to_its_end_while_the_body_still_goes_out() -> None:
    told, pipe = Told(), Pipe()
    connection = Connection(told, ("shop.example", "8.8.8.8", 443, False))
    connection.connection_made(pipe)
    pipe.pauses = connection
    flight = Single(Limits())
    flight.body = b"x" * 100_000
    connection.begin(flight, 5.0)
    assert (pipe.written, flight.late) == (0, reasons.SEND_TIMED_OUT)  # the head alone
    connection.data_received(b"HTTP/1.1 2")
    pipe.pauses = None
    connection.resume_writing()
    assert pipe.written == 100_000
    assert flight.late == reasons.READ_TIMED_OUT
    connection.data_received(b"00 OK\r\nContent-Length: 0\r\n\r\n")
    assert told.kept == 1


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8))
def test_any_bytes_end_in_exactly_one_exchange(pieces: list[bytes]) -> None:
    exchanges, _ = read(pieces, Limits(header_bytes=100, reply_bytes=10))
    assert len(exchanges) == 1
    assert len(exchanges[0].body) <= 10


@given(st.lists(st.sampled_from([
    b"HTTP/1.1 ", b"200 OK\r\n", b"100 Continue\r\n\r\n", b"\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"3\r\n", b"abc", b"0\r\n\r\n", b"X: y\r\n", b" ", b"\0",
    b"Connection: close\r\n", b"HTTP/1.1 204 None\r\n\r\n",
]), max_size=14))  # fmt: skip
def test_anything_like_an_answer_ends_in_exactly_one_exchange(pieces: list[bytes]) -> None:
    exchanges, kept = read(pieces, Limits(header_bytes=100, reply_bytes=10))
    assert len(exchanges) == 1
    assert kept <= 1
    if not exchanges[0].reason:
        assert 200 <= exchanges[0].status <= 999
