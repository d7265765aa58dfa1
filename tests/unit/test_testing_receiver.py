"""The receiver that tests script, spoken to over raw sockets."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from marketbell.testing import (
    CLOSE,
    HANG,
    OK,
    RESET,
    Answer,
    Authority,
    Received,
    TestReceiver,
    Then,
)

REQUEST = b"POST /hook?x=1 HTTP/1.1\r\nHost: h\r\nX-A:  b \r\nContent-Length: 5\r\n\r\nhello"


async def talk(receiver: TestReceiver, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Everything that comes back until the receiver closes, or stays silent for three moments."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port, ssl=context)
    writer.write(data)
    got = b""
    silent = 0
    while silent < 3:  # one may be the machine's, which stood still
        try:
            async with asyncio.timeout(0.04):
                while piece := await reader.read(65_536):
                    got, silent = got + piece, 0
                break
        except TimeoutError:
            silent += 1
        except ConnectionResetError:
            got += b"!"
            break
    else:
        got += b"|"
    writer.transport.abort()
    return got


async def test_it_keeps_what_came_to_the_byte() -> None:
    async with TestReceiver() as receiver:
        await talk(receiver, REQUEST)
        (request,) = await receiver.wait_for(1)
        await receiver.wait_until(lambda: receiver.open == 0)
    assert request.head + request.body == REQUEST
    assert (request.method, request.target, request.body) == ("POST", "/hook?x=1", b"hello")
    assert request.headers == (("Host", "h"), ("X-A", "b"), ("Content-Length", "5"))
    assert (request.header("x-a"), request.header("none")) == ("b", None)
    assert (request.connection, receiver.connections) == (1, 1)


ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "back"),
    [
        (OK, ANSWERED + b"|"),
        (Answer(then=Then.CLOSE), ANSWERED),
        (HANG, b"|"),
        (CLOSE, b""),
        (RESET, b"!"),
        (Answer(raw=b"", then=Then.STALL), b"|"),
        (Answer(raw=b"garbage", then=Then.CLOSE), b"garbage"),
        (Answer(cut=12, then=Then.CLOSE), b"HTTP/1.1 200"),
        (Answer(status=204), b"HTTP/1.1 204 No Content\r\n\r\n|"),
        (Answer(status=299), b"HTTP/1.1 299 Unknown\r\nContent-Length: 0\r\n\r\n|"),
        (
            Answer(headers=(("Transfer-Encoding", "chunked"),), body=b"0\r\n\r\n"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n|",
        ),
        (Answer(raw=b"drip", drip_s=0.001, delay_s=0.001, then=Then.CLOSE), b"drip"),
    ],
)
async def test_it_answers_as_the_script_says(answer: Answer, back: bytes) -> None:
    async with TestReceiver([answer]) as receiver:
        assert await talk(receiver, REQUEST) == back


async def test_a_list_is_gone_through_and_its_last_answer_repeated() -> None:
    async with TestReceiver([Answer(status=500), Answer(status=503), OK]) as receiver:
        back = await talk(receiver, REQUEST * 4)
        assert len(receiver.requests) == 4
    assert [line[9:12] for line in back.split(b"\r\n") if line.startswith(b"HTTP/")] == [
        b"500",
        b"503",
        b"200",
        b"200",
    ]


async def test_a_function_answers_by_the_request_plain_or_async() -> None:
    def plain(request: Received) -> Answer:
        return Answer(status=200 if request.body == b"hello" else 400)

    async def waiting(request: Received) -> Answer:
        await asyncio.sleep(0)
        return plain(request)

    for script in (plain, waiting):
        async with TestReceiver(script) as receiver:
            assert await talk(receiver, REQUEST) == ANSWERED + b"|"


async def test_an_early_answer_comes_before_the_body() -> None:
    async with TestReceiver([Answer(status=413, early=True, then=Then.CLOSE)]) as receiver:
        back = await talk(receiver, REQUEST.removesuffix(b"hello"))
        assert receiver.requests[0].body == b""
    assert back.startswith(b"HTTP/1.1 413")


async def test_it_refuses_connections_until_it_listens_again_on_its_port() -> None:
    async with TestReceiver() as receiver:
        port = receiver.port
        await receiver.refuse()
        with pytest.raises(ConnectionRefusedError):
            await talk(receiver, REQUEST)
        await receiver.listen()
        assert receiver.port == port
        assert await talk(receiver, REQUEST) == ANSWERED + b"|"


async def test_waiting_for_what_does_not_come_ends() -> None:
    async with TestReceiver() as receiver:
        with pytest.raises(TimeoutError):
            await receiver.wait_for(1, limit_s=0.02)


async def test_it_speaks_tls_with_a_certificate_of_the_authority(tmp_path: Path) -> None:
    authority = Authority()
    context = ssl.create_default_context(cafile=str(authority.write(tmp_path)))
    context.check_hostname = True
    async with TestReceiver(tls=authority.server_context("127.0.0.1")) as receiver:
        assert receiver.url.startswith("https://127.0.0.1:")
        assert (await talk(receiver, REQUEST, context)).startswith(ANSWERED)


def test_its_address_names_the_host_that_it_was_given() -> None:
    receiver = TestReceiver(host="localhost")
    assert receiver.url == "http://localhost:0/"
