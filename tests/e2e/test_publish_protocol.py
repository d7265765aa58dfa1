"""The short way for publishing reads exactly what uvicorn's way reads, and leaves all else to it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.api.plain import plain_request

HEAD = b"POST /api/v1/app/app_1/msg HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n"


def test_a_whole_request_is_plain() -> None:
    request = plain_request(HEAD + b"X-Own:  two words \r\n\r\n{}")
    assert request is not None
    assert request.application == "app_1"
    assert request.body == b"{}"
    assert request.query == b""
    assert request.headers == {b"host": b"here", b"content-length": b"2", b"x-own": b"two words"}


def test_the_connection_header_of_common_clients_is_plain() -> None:
    assert plain_request(HEAD + b"Connection: Keep-Alive\r\n\r\n{}") is not None


def test_its_query_is_kept() -> None:
    data = HEAD.replace(b"/msg ", b"/msg?with_content=false ") + b"\r\n{}"
    request = plain_request(data)
    assert request is not None
    assert request.query == b"with_content=false"


@pytest.mark.parametrize(
    "data",
    [
        HEAD,
        HEAD + b"\r\n{",
        HEAD + b"\r\n{}POST",
        HEAD + b"Content-Length: 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"Expect: 100-continue\r\n\r\n{}",
        HEAD + b"Connection: close\r\n\r\n{}",
        HEAD + b"Upgrade: h2c\r\n\r\n{}",
        HEAD + b"TE: trailers\r\n\r\n{}",
        HEAD + b"Trailer: x-sum\r\n\r\n{}",
        HEAD + b"Keep-Alive: timeout=5\r\n\r\n{}",
        HEAD + b"Proxy-Connection: close\r\n\r\n{}",
        HEAD + b"X-Long: " + b"x" * 65_536 + b"\r\n\r\n{}",
        HEAD.replace(b"/msg ", b"/msg?with_content=false#x ") + b"\r\n{}",
        HEAD.replace(b"/msg ", b"/msg?a\tb ") + b"\r\n{}",
        HEAD.replace(b"/msg ", b"/msg?a\x7fb ") + b"\r\n{}",
        HEAD.replace(b"/msg ", b"/msg?a\xffb ") + b"\r\n{}",
        HEAD + b"X Y: 1\r\n\r\n{}",
        HEAD + b"X-Own : 1\r\n\r\n{}",
        HEAD + b" folded\r\n\r\n{}",
        HEAD + b"X-Own: a\x00b\r\n\r\n{}",
        HEAD + b"X-Own: a\nb: c\r\n\r\n{}",
        HEAD.replace(b"Content-Length: 2", b"Content-Length: +2") + b"\r\n{}",
        HEAD.replace(b"Content-Length: 2", b"Content-Length: " + b"0" * 5_000 + b"2") + b"\r\n{}",
        HEAD.replace(b"Host: here\r\n", b"") + b"\r\n{}",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n{}",
        HEAD.replace(b"/msg ", b"/msg/ ") + b"\r\n{}",
        HEAD.replace(b"/app_1/", b"/a%20b/") + b"\r\n{}",
        HEAD.replace(b"/app_1/", b"/a/b/") + b"\r\n{}",
        HEAD.replace(b"/app_1/", b"//") + b"\r\n{}",
        HEAD.replace(b"POST", b"PUT") + b"\r\n{}",
    ],
)
def test_anything_else_is_left_to_uvicorn(data: bytes) -> None:
    assert plain_request(data) is None


@given(st.binary(max_size=200))
def test_garbage_is_never_plain(data: bytes) -> None:
    assert plain_request(data) is None
    request = plain_request(HEAD + data)
    assert request is None or len(request.body) == 2


class Wire:
    """A connection that is written to byte by byte, and read answer by answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers, body


@pytest.fixture
def token(token_of: Callable[..., str], organization: str) -> str:
    return token_of(organization)


@pytest.fixture
def application(api: httpx.Client) -> str:
    return str(api.post("/app", json={"name": "seller"}).json()["id"])


@pytest.fixture
async def wire(live_url: str) -> AsyncIterator[Wire]:
    host, port = live_url.removeprefix("http://").removesuffix("/api/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Wire(reader, writer)
    writer.close()
    await writer.wait_closed()


def request(token: str, application: str, serial: int, *extra: str) -> bytes:
    body = json.dumps({"eventType": "order.paid", "payload": {"n": serial}}).encode()
    lines = (
        f"POST /api/v1/app/{application}/msg HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        *extra,
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_both_ways_give_the_same_answer(wire: Wire, token: str, application: str) -> None:
    whole = request(token, application, 1)
    wire.writer.write(whole)
    short = await wire.answer()
    wire.writer.write(whole[:30])
    await wire.writer.drain()
    await asyncio.sleep(0)
    wire.writer.write(request(token, application, 1, "Connection: keep-alive")[30:])
    long = await wire.answer()
    assert short[0] == long[0] == 202
    assert short[1].keys() == long[1].keys()
    shape = re.compile(rb"msg_\w{27}|\d{4}-\d\d-\d\dT[\d:.]+Z")
    assert shape.sub(b"", short[2]) == shape.sub(b"", long[2])


async def test_pipelined_requests_are_answered_in_order(
    wire: Wire, token: str, application: str
) -> None:
    wire.writer.write(b"".join(request(token, application, serial) for serial in range(5)))
    for serial in range(5):
        status, _headers, body = await wire.answer()
        assert status == 202
        assert json.loads(body)["payload"] == {"n": serial}


async def test_what_comes_while_one_is_answered_waits(
    wire: Wire, token: str, application: str
) -> None:
    for serial in range(20):
        wire.writer.write(request(token, application, serial))
        await asyncio.sleep(0)
    for serial in range(20):
        _status, _headers, body = await wire.answer()
        assert json.loads(body)["payload"] == {"n": serial}


async def test_a_refusal_names_the_field_on_the_short_way(
    wire: Wire, token: str, application: str
) -> None:
    wire.writer.write(request("nonsense", application, 1))
    status, _headers, body = await wire.answer()
    assert (status, json.loads(body)["code"]) == (401, "authentication_failed")
    wire.writer.write(request(token, "app_nowhere", 1))
    status, _headers, body = await wire.answer()
    assert (status, json.loads(body)["code"]) == (404, "not_found")


async def test_requests_of_one_turn_have_each_its_own_verdict(
    api: httpx.Client, live_url: str, token: str, application: str
) -> None:
    """One run of many connections: good ones, a refused one, a key that comes twice, another's application."""
    host, port = live_url.removeprefix("http://").removesuffix("/api/v1").split(":")
    wires = [Wire(*await asyncio.open_connection(host, int(port))) for _ in range(12)]
    for round_ in range(3):
        for number, wire in enumerate(wires):
            serial = 100 * round_ + number
            key = f"Idempotency-Key: {round_}-{min(number, 10)}"
            data = request(token, application, serial, key)
            if number == 3:
                data = request(token, "app_nowhere", serial, key)
            elif number == 5:
                data = data.replace(b"order.paid", b"order paid")
            elif number == 7:
                data = request("nonsense", application, serial, key)
            wire.writer.write(data)
        answers = [await wire.answer() for wire in wires]
        statuses = [status for status, _headers, _body in answers]
        assert statuses[:10] == [202, 202, 202, 404, 202, 422, 202, 401, 202, 202]
        assert sorted(statuses[10:]) == [202, 409]  # one key with two bodies
        for number, (status, _headers, body) in enumerate(answers):
            if status == 202:
                assert json.loads(body)["payload"] == {"n": 100 * round_ + number}
    for wire in wires:
        wire.writer.close()
        await wire.writer.wait_closed()
    found = await asyncio.to_thread(api.get, f"/app/{application}/msg", params={"limit": 100})
    kept = found.json()["data"]
    assert len(kept) == 3 * 8


async def test_a_run_meets_an_application_that_has_changed(
    api: httpx.Client, live_url: str, token: str, application: str
) -> None:
    """What is in memory may be out of date by the time that it is kept: then it is matched anew."""
    host, port = live_url.removeprefix("http://").removesuffix("/api/v1").split(":")
    wires = [Wire(*await asyncio.open_connection(host, int(port))) for _ in range(6)]
    for round_ in range(10):
        changed = asyncio.create_task(
            asyncio.to_thread(
                api.post,
                f"/app/{application}/endpoint",
                json={"url": f"https://example.com/{round_}", "disabled": True},
            )
        )
        for number, wire in enumerate(wires):
            wire.writer.write(request(token, application, number))
        assert [(await wire.answer())[0] for wire in wires] == [202] * 6
        assert (await changed).status_code == 201
    for wire in wires:
        wire.writer.close()
        await wire.writer.wait_closed()
