"""TLS: whom the client believes, and what it says when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeAlias

import pytest

from marketbell.delivery import reasons
from marketbell.delivery.dialer import tls_context
from marketbell.delivery.http1 import Client, Exchange, Kind
from marketbell.testing import CLOSE, HANG, OK, RESET, Answer, Authority, TestReceiver, Then

Post: TypeAlias = Callable[..., Coroutine[None, None, Exchange]]


@pytest.fixture(autouse=True)
def _quiet_servers(caplog: pytest.LogCaptureFixture) -> None:
    """A server whose handshake fails logs it; that is not what is tested."""
    caplog.set_level("CRITICAL", logger="asyncio")


async def test_a_trusted_receiver_is_sent_to_and_its_connection_kept(
    post: Post, authority: Authority
) -> None:
    context = authority.server_context("localhost")
    asked: list[tuple[str | None, str | None]] = []

    def sni(stream: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        asked.append((name, stream.selected_alpn_protocol()))

    context.sni_callback = sni
    async with TestReceiver([Answer(body=b"hello")], tls=context, host="localhost") as receiver:
        first, second = await post(receiver.url), await post(receiver.url)
        assert receiver.requests[0].header("host") == f"localhost:{receiver.port}"
    assert (first.status, first.body, first.reused) == (200, b"hello", False)
    assert second.reused
    assert [name for name, _ in asked] == ["localhost"]


async def test_a_certificate_for_an_address_is_good_for_that_address(
    post: Post, authority: Authority
) -> None:
    async with TestReceiver(tls=authority.server_context("127.0.0.1")) as receiver:
        assert (await post(receiver.url)).status == 200


async def test_tls_1_2_is_good_enough(post: Post, authority: Authority) -> None:
    context = authority.server_context("127.0.0.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with TestReceiver(tls=context) as receiver:
        assert (await post(receiver.url)).status == 200


@pytest.mark.parametrize("name", ["other.example", "localhost", "*.127.0.0.1"])
async def test_a_certificate_for_another_name_is_refused(
    post: Post, authority: Authority, name: str
) -> None:
    async with TestReceiver(tls=authority.server_context(name)) as receiver:
        exchange = await post(receiver.url)
        assert receiver.requests == []
    assert (exchange.kind, exchange.sent) == (Kind.FAILED, False)
    assert exchange.reason.startswith("tls: certificate: IP address mismatch")


async def test_an_expired_certificate_is_refused(post: Post, authority: Authority) -> None:
    context = authority.server_context("127.0.0.1", expired=True)
    async with TestReceiver(tls=context) as receiver:
        exchange = await post(receiver.url)
    assert exchange.reason == "tls: certificate: certificate has expired"


async def test_an_unknown_authority_is_refused(post: Post) -> None:
    async with TestReceiver(tls=Authority("Nobody's").server_context("127.0.0.1")) as receiver:
        exchange = await post(receiver.url)
        assert receiver.requests == []
    assert exchange.reason.startswith("tls: certificate: ")
    assert "unable to get local issuer" in exchange.reason


async def test_a_server_that_speaks_no_tls_is_refused(post: Post) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        exchange = await post(f"https://127.0.0.1:{port}/")
    assert exchange.reason == "tls: wrong version number"


async def test_a_handshake_that_does_not_end_is_given_up(post: Post, client: Client) -> None:
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()
        silent.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        exchange = await post(f"https://127.0.0.1:{port}/", connect_s=0.1)
        async with asyncio.timeout(60):
            await silent.wait()  # the connection is closed, not left in its handshake
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.TLS_TIMED_OUT)
    assert 100 <= exchange.duration < 10_000
    assert client.connections == 0


async def test_a_connection_closed_in_the_handshake_is_told_so(post: Post) -> None:
    async with await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0
    ) as server:
        port = server.sockets[0].getsockname()[1]
        exchange = await post(f"https://127.0.0.1:{port}/")
    assert exchange.reason in {reasons.TLS_CLOSED, reasons.CONNECT_RESET}


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (CLOSE, Kind.FAILED, reasons.CLOSED_BEFORE),
        (RESET, Kind.FAILED, reasons.CLOSED_BEFORE),
        (HANG, Kind.FAILED, reasons.ANSWER_TIMED_OUT),
        (Answer(raw=b"HTTP/1.1 2", then=Then.CLOSE), Kind.FAILED, reasons.CLOSED_INSIDE),
        (Answer(raw=b"HTTP/1.0 200 OK\r\n\r\nhi", then=Then.CLOSE), Kind.ANSWERED, ""),
        (Answer(raw=b"HTTP/1.1 200 OK\r\n", endless=b"X: y\r\n"), Kind.FAILED, "headers"),
        (Answer(body=b"x" * 100_000), Kind.ANSWERED, ""),
    ],
)
async def test_a_receiver_misbehaves_over_tls_as_without(
    post: Post, authority: Authority, answer: Answer, kind: Kind, reason: str
) -> None:
    async with TestReceiver([answer], tls=authority.server_context("127.0.0.1")) as receiver:
        exchange = await post(receiver.url, first_byte_s=0.1)
    assert exchange.kind is kind
    assert reason in exchange.reason


async def test_a_kept_connection_closed_over_tls_is_seen_or_told_apart(
    post: Post, authority: Authority
) -> None:
    script = [Answer(then=Then.CLOSE), OK, CLOSE]
    async with TestReceiver(script, tls=authority.server_context("127.0.0.1")) as receiver:
        await post(receiver.url)
        await receiver.wait_until(lambda: receiver.open == 0)
        second = await post(receiver.url)
        assert second.kind in {Kind.ANSWERED, Kind.CLOSED}
        assert (await post(receiver.url)).kind is not Kind.ANSWERED


async def test_a_large_body_goes_over_tls_whole(post: Post, authority: Authority) -> None:
    body = bytes(range(256)) * 12_000
    async with TestReceiver(tls=authority.server_context("127.0.0.1")) as receiver:
        assert (await post(receiver.url, body)).status == 200
        assert receiver.requests[0].body == body


def test_the_context_trusts_the_systems_roots_and_checks_all(authority_file: Path) -> None:
    plain, extra = tls_context(), tls_context(authority_file)
    assert extra.cert_store_stats()["x509_ca"] == plain.cert_store_stats()["x509_ca"] + 1
    for context in (plain, extra):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_extra_ca_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tls_context(tmp_path / "missing.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        tls_context(empty)


async def test_an_answer_whose_sender_closes_with_it_counts(
    post: Post, authority: Authority
) -> None:
    """The close of TLS arrives in the same read as the answer: still a whole answer, sent once."""
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readuntil(b"\r\n\r\n")
        seen += 1
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    context = authority.server_context("127.0.0.1")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        for _ in range(20):
            exchange = await post(f"https://127.0.0.1:{port}/")
            assert (exchange.kind, exchange.reason) == (Kind.ANSWERED, "")
            assert exchange.body == b"ok"
    finally:
        server.close()
        await server.wait_closed()
    assert seen == 20
