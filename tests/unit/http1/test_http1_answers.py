"""What the client makes of answers, good and bad."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Coroutine
from typing import TypeAlias

import msgspec
import pytest

from marketbell.delivery import reasons
from marketbell.delivery.http1 import Client, Exchange, Kind
from marketbell.testing import CLOSE, RESET, Answer, TestReceiver, Then

Post: TypeAlias = Callable[..., Coroutine[None, None, Exchange]]


@pytest.mark.parametrize(
    "status", [200, 201, 202, 204, 301, 304, 400, 404, 410, 418, 500, 503, 599]
)
async def test_a_whole_answer_counts_by_its_status(post: Post, status: int) -> None:
    async with TestReceiver([Answer(status=status, body=b"")]) as receiver:
        exchange = await post(receiver.url)
    assert (exchange.kind, exchange.reason, exchange.status) == (Kind.ANSWERED, "", status)
    assert exchange.address == f"127.0.0.1:{receiver.port}"
    assert exchange.sent
    assert not exchange.reused
    assert exchange.duration >= exchange.first_byte >= exchange.connect


async def test_the_request_is_what_was_given_to_the_byte(post: Post) -> None:
    headers = (("X-Token", "s3cret é"), ("content-type", "application/json"), ("Empty", ""))
    async with TestReceiver() as receiver:
        await post(f"{receiver.url}hook%2F..//?b=%20&a", b'{"a": 1}', headers)
        (request,) = receiver.requests
    assert request.head == (
        b"POST /hook%2F..//?b=%20&a HTTP/1.1\r\n"
        b"Host: 127.0.0.1:" + str(receiver.port).encode() + b"\r\n"
        b"X-Token: s3cret \xe9\r\n"
        b"content-type: application/json\r\n"
        b"Empty: \r\n"
        b"Content-Length: 8\r\n"
        b"\r\n"
    )
    assert request.body == b'{"a": 1}'


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
async def test_a_body_of_any_size_arrives_whole(post: Post, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with TestReceiver() as receiver:
        assert (await post(receiver.url, body)).status == 200
        assert (await post(receiver.url, body)).reused
        assert [request.body == body for request in receiver.requests] == [True, True]


async def test_a_redirect_is_not_followed(post: Post) -> None:
    async with TestReceiver() as other:
        moved = Answer(status=307, headers=(("Location", other.url),))
        async with TestReceiver([moved]) as receiver:
            exchange = await post(receiver.url)
        assert other.requests == []
    assert (exchange.status, exchange.location) == (307, other.url)


async def test_retry_after_is_given_as_sent_in_any_case_of_letters(post: Post) -> None:
    answer = Answer(status=503, headers=(("rEtry-AFTER", "  120 "), ("Retry-After", "7")))
    async with TestReceiver([answer]) as receiver:
        assert (await post(receiver.url)).retry_after == "120"


async def test_a_content_coding_is_not_undone(post: Post) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    answer = Answer(headers=(("Content-Encoding", "gzip"),), body=bomb)
    async with TestReceiver([answer]) as receiver:
        assert (await post(receiver.url)).body == bomb


async def test_a_chunked_answer_is_put_together(post: Post) -> None:
    raw = (
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;name=value\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nRetry-After: 9\r\n\r\n"
    )
    async with TestReceiver([Answer(raw=raw)]) as receiver:
        exchange = await post(receiver.url)
        again = await post(receiver.url)
    assert (exchange.status, exchange.body) == (503, b"hello world")
    assert exchange.retry_after is None  # a trailer is no header
    assert again.reused


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_an_answer_without_a_length_ends_with_the_connection(post: Post, head: bytes) -> None:
    async with TestReceiver([Answer(raw=head + b"done", then=Then.CLOSE)]) as receiver:
        exchange = await post(receiver.url)
        again = await post(receiver.url)
    assert (exchange.kind, exchange.status, exchange.body) == (Kind.ANSWERED, 200, b"done")
    assert not again.reused


async def test_http_1_0_with_keep_alive_is_kept(post: Post) -> None:
    raw = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
    async with TestReceiver([Answer(raw=raw)]) as receiver:
        assert (await post(receiver.url)).body == b"ok"
        assert (await post(receiver.url)).reused


async def test_interim_answers_are_passed_over(post: Post) -> None:
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nRetry-After: 5\r\n\r\n"
        b"HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 2\r\n\r\nok"
    )
    async with TestReceiver([Answer(raw=raw)]) as receiver:
        exchange = await post(receiver.url)
        assert (await post(receiver.url)).reused
    assert (exchange.status, exchange.retry_after, exchange.body) == (429, "30", b"ok")


MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "binary": bytes(range(128, 256)),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/3.0": b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "two framings": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "bad chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "upgrade": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nframes",
    "101 without upgrade": b"HTTP/1.1 101 Go\r\n\r\n",
    "endless interim answers": b"HTTP/1.1 102 Wait\r\n\r\n" * 9,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_answer_is_malformed_and_ends_the_connection(
    post: Post, client: Client, raw: bytes
) -> None:
    async with TestReceiver([Answer(raw=raw, then=Then.HANG)]) as receiver:
        exchange = await post(receiver.url)
        await receiver.wait_until(lambda: receiver.open == 0)
    assert exchange.kind is Kind.FAILED
    assert exchange.reason.startswith("malformed answer: ")
    assert client.idle == 0


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1", b"xx"]
)
async def test_bytes_after_the_answer_spoil_the_connection_not_the_answer(
    post: Post, surplus: bytes
) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + surplus
    async with TestReceiver([Answer(raw=raw)]) as receiver:
        exchange = await post(receiver.url)
        again = await post(receiver.url)
    assert (exchange.status, exchange.body) == (200, b"ok")
    assert not again.reused


async def test_an_answer_before_the_body_is_sent_counts(post: Post) -> None:
    refused = Answer(status=413, body=b"too much", early=True, then=Then.STALL)
    async with TestReceiver([refused, Answer()]) as receiver:
        exchange = await post(receiver.url, b"x" * 50_000_000)
        again = await post(receiver.url)
    assert (exchange.status, exchange.body) == (413, b"too much")
    assert not again.reused


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CLOSE, reasons.CLOSED_BEFORE),
        (RESET, reasons.CLOSED_BEFORE),
        (Answer(raw=b"HTTP/1.1 2", then=Then.CLOSE), reasons.CLOSED_INSIDE),
        (Answer(body=b"hello", cut=40, then=Then.CLOSE), reasons.CLOSED_INSIDE),
        (Answer(body=b"hello", cut=-2, then=Then.CLOSE), reasons.CLOSED_INSIDE),
        (
            Answer(
                raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
                then=Then.CLOSE,
            ),
            reasons.CLOSED_INSIDE,
        ),
        (Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\n", then=Then.CLOSE), reasons.CLOSED_INSIDE),
    ],
)
async def test_a_connection_that_ends_too_early_is_a_failure(
    post: Post, answer: Answer, reason: str
) -> None:
    async with TestReceiver([answer]) as receiver:
        exchange = await post(receiver.url)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reason)
    assert exchange.sent


async def test_an_answer_without_a_length_that_is_reset_is_cut(post: Post) -> None:
    raw = b"HTTP/1.1 200 OK\r\n\r\nhalf"
    async with TestReceiver([Answer(raw=raw, drip_s=0.001, then=Then.RESET)]) as receiver:
        exchange = await post(receiver.url)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.CLOSED_INSIDE)
    assert (exchange.status, exchange.body) == (200, b"half")


def _said(status: int, body: bytes, *headers: bytes, after: bytes = b"") -> Answer:
    lines = (b"HTTP/1.1 %d Said" % status, b"Content-Length: %d" % len(body), *headers)
    return Answer(raw=b"\r\n".join(lines) + b"\r\n\r\n" + body + after)


SAID: tuple[tuple[Answer, int, bytes, bool], ...] = (
    (_said(200, b"ok"), 200, b"ok", True),
    (_said(200, b""), 200, b"", True),
    (_said(202, b"ok"), 202, b"ok", True),
    (_said(503, b"no", b"Retry-After: 7"), 503, b"no", True),
    (_said(200, b"ok", after=b"HTTP/1.1 200 OK"), 200, b"ok", False),
    (_said(200, b"last", b"Connection: close"), 200, b"last", False),
    (_said(200, b"x" * 2_000), 200, b"x" * 2_000, True),
    (
        Answer(
            raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n"
        ),
        200,
        b"ok!",
        True,
    ),
    (
        Answer(raw=b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\n."),
        201,
        b".",
        True,
    ),
)
"""Answers with what they say, and whether the connection is kept after them."""


@pytest.mark.parametrize("seed", range(6))
async def test_an_answer_that_was_given_before_says_what_it_said(post: Post, seed: int) -> None:
    """Short answers that repeat themselves to the byte are not read again; nobody can tell."""
    random_ = random.Random(seed)
    said = [one for one in random_.choices(SAID, k=12) for _ in range(random_.randint(1, 4))]
    async with TestReceiver([answer for answer, *_ in said]) as receiver:
        kept = False
        for answer, status, body, keeps in said:
            exchange = await post(receiver.url)
            assert (exchange.kind, exchange.status, exchange.body) == (Kind.ANSWERED, status, body)
            assert exchange.reused == kept
            assert exchange.retry_after == ("7" if status == 503 else None)
            assert not exchange.truncated
            kept = keeps
            del answer


async def test_the_same_answer_in_pieces_is_put_together(post: Post) -> None:
    whole = _said(200, b"ok")
    slowly = msgspec.structs.replace(whole, drip_s=0.001)
    async with TestReceiver([whole, whole, slowly, whole]) as receiver:
        for _ in range(4):
            exchange = await post(receiver.url)
            assert (exchange.status, exchange.body) == (200, b"ok")
        assert receiver.connections == 1


async def test_the_same_answer_that_nobody_asked_for_ends_the_connection(
    post: Post, client: Client
) -> None:
    whole = _said(200, b"ok")
    assert whole.raw is not None
    twice = Answer(raw=whole.raw + whole.raw)
    async with TestReceiver([whole, whole, twice, whole]) as receiver:
        for _ in range(4):
            assert (await post(receiver.url)).body == b"ok"
        assert receiver.connections == 2
