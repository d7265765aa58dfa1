"""Receivers that take too long or send too much: every exchange ends within its limits."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import pytest

from marketbell.delivery import reasons
from marketbell.delivery.http1 import Client, Exchange, Kind
from marketbell.testing import HANG, Answer, TestReceiver, Then

Post: TypeAlias = Callable[..., Coroutine[None, None, Exchange]]

OK_HEAD = b"HTTP/1.1 200 OK\r\n"


def within(exchange: Exchange, limit_s: float) -> bool:
    """Not before the limit, and not long after it (the machine may stand still meanwhile)."""
    return limit_s * 1000 <= exchange.duration < limit_s * 1000 + 10_000


async def test_a_receiver_that_never_answers_is_given_up_at_the_first_byte_limit(
    post: Post,
) -> None:
    async with TestReceiver([HANG]) as receiver:
        exchange = await post(receiver.url, first_byte_s=0.1, total_s=30.0)
        await receiver.wait_until(lambda: receiver.open == 0)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.ANSWER_TIMED_OUT)
    assert within(exchange, 0.1)
    assert (exchange.status, exchange.first_byte, exchange.sent) == (0, 0, True)


async def test_a_kept_connection_that_never_answers_is_a_time_out_too(post: Post) -> None:
    async with TestReceiver([Answer(), HANG]) as receiver:
        await post(receiver.url)
        exchange = await post(receiver.url, first_byte_s=0.05)
    assert exchange.reused
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.ANSWER_TIMED_OUT)


async def test_the_limit_in_all_stands_above_the_others(post: Post) -> None:
    async with TestReceiver([HANG]) as receiver:
        exchange = await post(receiver.url, first_byte_s=30.0, total_s=0.1)
    assert within(exchange, 0.1)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"x" * 1_000, drip_s=0.005),
        Answer(raw=OK_HEAD, then=Then.HANG),
        Answer(raw=OK_HEAD + b"Content-Length: 5\r\n\r\nhalf", then=Then.HANG),
        Answer(raw=OK_HEAD + b"\r\nno end", then=Then.HANG),
        Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\n", then=Then.HANG),
    ],
    ids=["byte by byte", "half a head", "half a body", "no length", "interim only"],
)
async def test_an_answer_that_does_not_end_is_given_up_at_the_limit_in_all(
    post: Post, answer: Answer
) -> None:
    async with TestReceiver([answer]) as receiver:
        exchange = await post(receiver.url, first_byte_s=1.0, total_s=1.1)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.READ_TIMED_OUT)
    assert within(exchange, 1.1)


async def test_a_receiver_that_does_not_read_is_given_up_and_costs_no_copy_of_the_body(
    post: Post, client: Client
) -> None:
    stalled = Answer(raw=b"", early=True, then=Then.STALL)
    async with TestReceiver([stalled]) as receiver:
        sending = asyncio.create_task(post(receiver.url, b"x" * 50_000_000, total_s=1.5))
        await receiver.wait_for(1)
        (connection,) = client._open
        transport = connection.transport
        assert transport is not None
        assert 0 < transport.get_write_buffer_size() < 300_000
        exchange = await sending
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.SEND_TIMED_OUT)
    assert exchange.sent


async def test_a_lookup_that_hangs_is_given_up(
    post: Post, make_client: Callable[..., Client]
) -> None:
    released = threading.Event()

    def lookup(host: str) -> Sequence[str]:
        released.wait(60)
        return ["127.0.0.1"]

    try:
        client = make_client(lookup=lookup)
        exchange = await post("http://shop.example/", client=client, resolve_s=0.1)
    finally:
        released.set()
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.RESOLVE_TIMED_OUT)
    assert within(exchange, 0.1)
    assert not exchange.sent


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port that takes no more connections, as one behind a firewall that drops packets."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        try:
            yield server.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_that_does_not_come_about_is_given_up(post: Post, scheme: str) -> None:
    with full_backlog() as port:
        exchange = await post(f"{scheme}://127.0.0.1:{port}/", connect_s=0.1)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.CONNECT_TIMED_OUT)
    assert within(exchange, 0.1)
    assert not exchange.sent


# How much is read


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=OK_HEAD, endless=b"X-Header: value\r\n"),
        Answer(raw=OK_HEAD + b"X-Header: ", endless=b"x" * 1_000),
        Answer(raw=b"HTTP/1.1 200 ", endless=b"O" * 1_000),
        Answer(raw=OK_HEAD, endless=b"x" * 1_000),
        Answer(raw=OK_HEAD + b"X: " + b"x" * 9_000 + b"\r\nContent-Length: 0\r\n\r\n"),
        Answer(raw=OK_HEAD + b"X: " + b"x" * 9_000 + b"\r\n\r\nbody", endless=b"y" * 1_000),
    ],
    ids=["headers", "one header", "reason phrase", "header name", "whole", "with a body"],
)
async def test_headers_over_the_limit_end_the_exchange(post: Post, answer: Answer) -> None:
    async with TestReceiver([answer]) as receiver:
        exchange = await post(receiver.url, header_bytes=8_192)
        await receiver.wait_until(lambda: receiver.open == 0)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, "answer headers over 8192 bytes")


async def test_headers_up_to_the_limit_are_read_whatever_follows_them(post: Post) -> None:
    head = OK_HEAD + b"X: " + b"x" * 8_000 + b"\r\nContent-Length: 100000\r\n\r\n"
    async with TestReceiver([Answer(raw=head + b"\r\n\r\n" * 25_000)]) as receiver:
        exchange = await post(receiver.url, header_bytes=8_192, reply_bytes=100_000)
        assert (exchange.status, len(exchange.body)) == (200, 100_000)
        assert (await post(receiver.url, header_bytes=8_192, reply_bytes=100_000)).reused


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 100000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5f5e100\r\n",
        b"\r\n",
    ],
    ids=["length", "chunk", "until close"],
)
async def test_an_endless_body_is_cut_and_the_answer_counts_by_its_status(
    post: Post, head: bytes
) -> None:
    answer = Answer(raw=b"HTTP/1.1 201 Made\r\n" + head, endless=b"x" * 10_000)
    async with TestReceiver([answer]) as receiver:
        exchange = await post(receiver.url, reply_bytes=20_000)
        await receiver.wait_until(lambda: receiver.open == 0)
    assert (exchange.kind, exchange.status) == (Kind.ANSWERED, 201)
    assert (exchange.body, exchange.truncated) == (b"x" * 20_000, True)


@pytest.mark.parametrize(
    "piece", [b"1\r\nx\r\n", b"1;" + b"e" * 200 + b"\r\nx\r\n"], ids=["tiny chunks", "extensions"]
)
async def test_framing_without_end_is_cut_as_a_body_is(post: Post, piece: bytes) -> None:
    head = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    async with TestReceiver([Answer(raw=head, endless=piece * 50)]) as receiver:
        exchange = await post(receiver.url, header_bytes=1_000, reply_bytes=20_000)
    assert (exchange.kind, exchange.truncated) == (Kind.ANSWERED, True)
    assert set(exchange.body) == set(b"x")


async def test_trailers_without_end_are_cut(post: Post) -> None:
    raw = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
    async with TestReceiver([Answer(raw=raw, endless=b"X-Trailer: value\r\n")]) as receiver:
        exchange = await post(receiver.url, header_bytes=1_000, reply_bytes=1_000)
    assert (exchange.kind, exchange.body, exchange.truncated) == (Kind.ANSWERED, b"ok", True)


@pytest.mark.parametrize(
    ("size", "truncated"), [(0, False), (999, False), (1_000, False), (1_001, True)]
)
async def test_a_body_is_kept_up_to_the_limit(post: Post, size: int, truncated: bool) -> None:
    async with TestReceiver([Answer(body=b"x" * size)]) as receiver:
        exchange = await post(receiver.url, reply_bytes=1_000)
        again = await post(receiver.url, reply_bytes=1_000)
    assert (len(exchange.body), exchange.truncated) == (min(size, 1_000), truncated)
    assert again.reused is not truncated
