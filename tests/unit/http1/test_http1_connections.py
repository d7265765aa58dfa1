"""Which connections are opened, kept, used again and closed; and whom they go to."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeAlias

import pytest

from marketbell.delivery import reasons
from marketbell.delivery.connection import Connection
from marketbell.delivery.http1 import Client, Exchange, Flight, Kind, Limits
from marketbell.delivery.netguard import Networks, check_url
from marketbell.dialects.base import Request
from marketbell.testing import CLOSE, HANG, OK, RESET, Answer, FakeClock, TestReceiver, Then

Post: TypeAlias = Callable[..., Coroutine[None, None, Exchange]]

LOOPBACK = Networks.parse(["127.0.0.0/8", "::1"])


def begin(client: Client, url: str, done: Callable[[Exchange], None], **limits: float) -> Flight:
    """Send one request without waiting for it."""
    target = check_url(url, https_only=False, allowed=LOOPBACK)
    return client.send(target, Request((), b"{}"), Limits(**limits), done)  # type: ignore[arg-type]


STILL = pytest.mark.parametrize("clock", [FakeClock(still=True)], ids=["still"])
"""Nothing is as old as the machine makes it."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# Keeping


async def test_a_connection_is_kept_and_used_again(post: Post, client: Client) -> None:
    async with TestReceiver() as receiver:
        first, second = await post(receiver.url), await post(receiver.url)
        assert [request.connection for request in receiver.requests] == [1, 1]
    assert (first.reused, second.reused) == (False, True)
    assert second.connect == 0


async def test_the_one_that_was_used_last_is_used_first(post: Post, client: Client) -> None:
    gate = asyncio.Event()

    async def script(_: object) -> Answer:
        await gate.wait()
        return OK

    async with TestReceiver(script) as receiver:
        sent = [asyncio.create_task(post(receiver.url)) for _ in range(3)]
        await receiver.wait_until(lambda: receiver.connections == 3)
        gate.set()
        await asyncio.gather(*sent)
        assert client.idle == 3
        last = receiver.requests[-1].connection
        for _ in range(5):
            await post(receiver.url)
        used = {request.connection for request in receiver.requests[3:]}
    assert len(used) == 1
    assert last in {1, 2, 3}


async def test_an_answer_that_ends_with_its_connection_leaves_none_to_keep(
    post: Post, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    keep = client.keep

    def counted(connection: Connection, now: float) -> None:
        kept.append(connection.uses)
        keep(connection, now)

    monkeypatch.setattr(client, "keep", counted)
    without_length = b"HTTP/1.1 200 OK\r\n\r\nbody"
    with socket.create_server(("127.0.0.1", 0)) as server:
        sent = asyncio.create_task(post(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        receiving, _ = await asyncio.to_thread(server.accept)
        with receiving:
            await asyncio.to_thread(receiving.recv, 65_536)
            receiving.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert (await sent).body == b"ok"
            sent = asyncio.create_task(post(f"http://127.0.0.1:{server.getsockname()[1]}/"))
            await asyncio.to_thread(receiving.recv, 65_536)
            receiving.sendall(without_length)
        answered = await sent
    assert (answered.body, answered.reused) == (b"body", True)
    assert kept == [1]
    assert client.idle == 0


@STILL
async def test_what_came_unasked_while_the_loop_was_held_up_is_no_answer(
    post: Post, client: Client, clock: FakeClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        sent = asyncio.create_task(post(url))
        first, _ = await asyncio.to_thread(server.accept)
        with first:
            await asyncio.to_thread(first.recv, 65_536)
            first.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert (await sent).status == 200
            clock.advance(20)  # the loop does something else all the while
            first.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            follows = post(url)
            sent = asyncio.ensure_future(follows)
            second, _ = await asyncio.to_thread(server.accept)
            with second:
                await asyncio.to_thread(second.recv, 65_536)
                second.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
                answered = await sent
    assert (answered.status, answered.reused) == (500, False)


@STILL
async def test_a_connection_idle_for_too_long_is_not_used_again(
    post: Post, client: Client, clock: FakeClock
) -> None:
    async with TestReceiver() as receiver:
        await post(receiver.url)
        clock.advance(1_400)
        assert (await post(receiver.url)).reused
        clock.advance(1_500)
        assert not (await post(receiver.url)).reused
        clock.advance(2_000)
        await receiver.wait_until(lambda: receiver.open == 0)  # closed without being asked for
        assert client.idle == 0


@STILL
@pytest.mark.parametrize(
    ("header", "kept_ms", "over_ms"),
    [
        ("timeout=5, max=100", 3_900, 4_001),
        ('max=5, TIMEOUT = "3"', 1_900, 2_001),
        ("timeout=1", 400, 501),
        ("timeout=999999", 59_000, 60_001),
        ("max=7", 1_400, 1_501),
    ],
)
async def test_a_server_says_how_long_its_connections_are_kept(
    post: Post, clock: FakeClock, header: str, kept_ms: int, over_ms: int
) -> None:
    async with TestReceiver([Answer(headers=(("Keep-Alive", header),))]) as receiver:
        await post(receiver.url)
        clock.advance(kept_ms)
        assert (await post(receiver.url)).reused
        clock.advance(over_ms)
        assert not (await post(receiver.url)).reused


@STILL
async def test_what_a_server_said_last_of_its_connections_counts(
    post: Post, clock: FakeClock
) -> None:
    said = [Answer(headers=(("Keep-Alive", f"timeout={s}"),)) for s in (60, 2)]
    async with TestReceiver([*said, OK]) as receiver:
        await post(receiver.url)
        clock.advance(4_000)
        assert (await post(receiver.url)).reused
        clock.advance(4_000)
        assert not (await post(receiver.url)).reused


@pytest.mark.parametrize(
    "answer",
    [
        Answer(headers=(("Connection", "close"),)),
        Answer(headers=(("connection", "Close"),), body=b"hello"),
        Answer(headers=(("Keep-Alive", "timeout=0"),)),
        Answer(raw=b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_a_connection_that_the_server_will_close_is_not_kept(
    post: Post, client: Client, answer: Answer
) -> None:
    async with TestReceiver([answer]) as receiver:
        assert (await post(receiver.url)).kind is Kind.ANSWERED
        assert client.idle == 0
        await receiver.wait_until(lambda: receiver.open == 0)


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
async def test_a_connection_closed_while_it_was_idle_is_seen_before_reuse(
    post: Post, clock: FakeClock, then: Then
) -> None:
    async with TestReceiver([Answer(then=then), OK]) as receiver:
        await post(receiver.url)
        await receiver.wait_until(lambda: receiver.open == 0)
        clock.advance(60)
        exchange = await post(receiver.url)
    assert (exchange.kind, exchange.reused) == (Kind.ANSWERED, False)


async def test_the_end_of_a_connection_is_looked_for_in_the_socket_itself(
    make_client: Callable[..., Client], clock: FakeClock
) -> None:
    """The loop has had no turn since the server closed, so only the socket knows of it."""
    client = make_client()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        first: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        begin(client, url, first.set_result)
        peer, _ = await asyncio.to_thread(server.accept)
        await asyncio.to_thread(peer.recv, 65_536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await first
        assert client.idle == 1
        peer.close()
        clock.advance(60)
        second: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        begin(client, url, second.set_result)
        peer, _ = await asyncio.to_thread(server.accept)
        await asyncio.to_thread(peer.recv, 65_536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert not (await second).reused
        peer.close()


async def test_bytes_that_nobody_asked_for_end_an_idle_connection(
    post: Post, client: Client
) -> None:
    unasked = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", drip_s=0.0)
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    async with TestReceiver([unasked]) as receiver:
        await post(receiver.url)
        assert client.idle == 1
        (connection,) = client._open
        connection.data_received(late)
        assert not connection.open
        assert not (await post(receiver.url)).reused


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_kept_connection_that_dies_before_the_answer_is_told_apart(
    post: Post, end: Answer
) -> None:
    async with TestReceiver([OK, end, OK]) as receiver:
        await post(receiver.url)
        exchange = await post(receiver.url)
        assert (exchange.kind, exchange.reason) == (Kind.CLOSED, reasons.REUSED_CLOSED)
        assert exchange.reused
        again = await post(receiver.url, fresh=True)
        assert (again.kind, again.reused) == (Kind.ANSWERED, False)
        assert len(receiver.requests) == 3  # one request for each exchange, never another


async def test_a_kept_connection_that_dies_inside_the_answer_is_a_failure(post: Post) -> None:
    async with TestReceiver([OK, Answer(raw=b"HTTP/1.1 200", then=Then.CLOSE)]) as receiver:
        await post(receiver.url)
        exchange = await post(receiver.url)
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.CLOSED_INSIDE)


async def test_fresh_leaves_kept_connections_alone(post: Post, client: Client) -> None:
    async with TestReceiver() as receiver:
        await post(receiver.url)
        assert not (await post(receiver.url, fresh=True)).reused
        assert client.idle == 2


async def test_of_too_many_idle_connections_the_oldest_is_closed(
    post: Post, make_client: Callable[..., Client]
) -> None:
    client = make_client(max_idle=2)
    async with TestReceiver() as one, TestReceiver() as two, TestReceiver() as three:
        for receiver in (one, two, three):
            await post(receiver.url, client=client)
        await one.wait_until(lambda: one.open == 0)
        assert client.idle == client.connections == 2
        assert (await post(two.url, client=client)).reused
        assert (await post(three.url, client=client)).reused


async def test_connections_of_different_names_are_not_mixed(
    post: Post, make_client: Callable[..., Client]
) -> None:
    client = make_client(lookup=lambda _: ["127.0.0.1"])
    async with TestReceiver() as receiver:
        for host in ("a.example", "b.example"):
            exchange = await post(f"http://{host}:{receiver.port}/", client=client)
            assert not exchange.reused
        assert [request.header("host") for request in receiver.requests] == [
            f"a.example:{receiver.port}",
            f"b.example:{receiver.port}",
        ]


# Whom they go to


async def test_nobody_listens(post: Post) -> None:
    exchange = await post(f"http://127.0.0.1:{free_port()}/")
    assert (exchange.kind, exchange.reason) == (Kind.FAILED, reasons.CONNECT_REFUSED)
    assert (exchange.sent, exchange.status, exchange.address) == (False, 0, "")


async def test_the_next_address_is_tried_if_the_first_takes_no_connection(
    post: Post, make_client: Callable[..., Client]
) -> None:
    client = make_client(lookup=lambda _: ["::1", "127.0.0.2", "127.0.0.1"])
    async with TestReceiver() as receiver:
        exchange = await post(f"http://shop.example:{receiver.port}/", client=client)
        assert exchange.address == f"127.0.0.1:{receiver.port}"
        assert (await post(f"http://shop.example:{receiver.port}/", client=client)).reused
        assert len(receiver.requests) == 2


async def test_a_name_rebound_between_two_attempts_is_caught(
    post: Post, make_client: Callable[..., Client], clock: FakeClock
) -> None:
    answers = [["127.0.0.1"], ["127.0.0.9"]]
    client = make_client(lookup=lambda _: answers.pop(0), allowed=Networks.parse(["127.0.0.1"]))
    async with TestReceiver([Answer(headers=(("Keep-Alive", "timeout=60"),))]) as receiver:
        url = f"http://evil.example:{receiver.port}/"
        assert (await post(url, client=client)).status == 200
        clock.advance(30_000)
        exchange = await post(url, client=client)
        assert exchange.reason == "refused address: loopback 127.0.0.9"
        assert not exchange.sent
        assert len(receiver.requests) == 1


async def test_a_connection_to_an_address_that_the_name_has_no_more_is_not_used(
    post: Post, make_client: Callable[..., Client], clock: FakeClock
) -> None:
    answers: list[Sequence[str]] = [["127.0.0.1"], ["127.0.0.2"]]
    client = make_client(lookup=lambda _: answers.pop(0))
    async with TestReceiver([Answer(headers=(("Keep-Alive", "timeout=60"),))]) as receiver:
        url = f"http://moved.example:{receiver.port}/"
        await post(url, client=client)
        clock.advance(30_000)
        assert (await post(url, client=client)).reason == reasons.CONNECT_REFUSED


async def test_a_literal_address_is_judged_at_every_request(
    post: Post, make_client: Callable[..., Client]
) -> None:
    client = make_client(allowed=Networks())
    async with TestReceiver() as receiver:
        exchange = await post(receiver.url, client=client)
        assert exchange.reason == "refused address: loopback 127.0.0.1"
        assert receiver.connections == 0


# Ending


@pytest.mark.parametrize("script", [[HANG], [Answer(raw=b"HTTP/1.1 200 OK\r\n", then=Then.HANG)]])
async def test_a_cancelled_exchange_is_told_so_at_once_and_only_once(
    client: Client, script: list[Answer]
) -> None:
    told: list[Exchange] = []
    async with TestReceiver(script) as receiver:
        flight = begin(client, receiver.url, told.append)
        await receiver.wait_for(1)
        assert told == []
        flight.cancel()
        flight.cancel()
        await receiver.wait_until(lambda: receiver.open == 0)
    assert [(exchange.kind, exchange.reason) for exchange in told] == [
        (Kind.FAILED, reasons.CANCELLED)
    ]
    assert told[0].sent


async def test_an_exchange_cancelled_before_it_is_connected_sends_nothing(client: Client) -> None:
    told: list[Exchange] = []
    async with TestReceiver() as receiver:
        begin(client, receiver.url, told.append).cancel()
        assert [exchange.sent for exchange in told] == [False]
        for _ in range(10):
            await asyncio.sleep(0)
        assert receiver.requests == []
    assert len(told) == 1


async def test_closing_the_client_tells_what_is_under_way_and_takes_no_more(
    make_client: Callable[..., Client], post: Post
) -> None:
    client, told = make_client(), list[Exchange]()
    async with TestReceiver([OK, HANG]) as receiver:
        await post(receiver.url, client=client)
        begin(client, receiver.url, told.append)
        begin(client, receiver.url, told.append)
        await receiver.wait_for(2)
        await client.aclose()
        assert [exchange.reason for exchange in told] == [reasons.CANCELLED] * 2
        assert client.connections == 0
        assert (await post(receiver.url, client=client)).reason == reasons.CANCELLED


ANYTHING = (
    OK,
    Answer(status=500, body=b"x" * 30_000),
    Answer(headers=(("Connection", "close"),)),
    Answer(then=Then.CLOSE),
    Answer(body=b"slow", drip_s=0.001),
    Answer(body=b"late", delay_s=0.02),
    Answer(body=b"cut", cut=30, then=Then.CLOSE),
    Answer(raw=b"garbage\r\n"),
    Answer(raw=b"HTTP/1.1 200 OK\r\n", endless=b"X: y\r\n"),
    CLOSE,
    RESET,
    HANG,
)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_every_exchange_ends_exactly_once(
    client: Client, clock: FakeClock, seed: int
) -> None:
    """Every answer there is, in random order over shared connections, some of them cancelled."""
    chance = random.Random(seed)
    counts = [0] * 300
    requests_sent = 0
    answered = asyncio.Event()

    async with TestReceiver(lambda _: chance.choice(ANYTHING)) as receiver:
        left = iter(range(len(counts)))

        def go() -> None:
            number = next(left, None)
            if number is None:
                return

            def done(exchange: Exchange) -> None:
                nonlocal requests_sent
                counts[number] += 1
                requests_sent += exchange.sent
                assert bool(exchange.reason) is (exchange.kind is not Kind.ANSWERED)
                if all(counts):
                    answered.set()
                go()

            flight = begin(client, receiver.url, done, first_byte_s=0.05, total_s=0.1)
            if chance.random() < 0.1:
                asyncio.get_running_loop().call_later(chance.random() / 50, flight.cancel)

        for _ in range(24):
            go()
        async with asyncio.timeout(60):
            await answered.wait()
        assert len(receiver.requests) <= requests_sent
    assert set(counts) == {1}
