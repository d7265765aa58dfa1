"""Names to checked addresses, with lookups that answer, lie, hang and fail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest

from marketbell.delivery import reasons
from marketbell.delivery.addresses import NO_NETWORKS, Networks
from marketbell.delivery.resolver import Lookup, Resolved, Resolver, system_lookup
from marketbell.testing import FakeClock


@asynccontextmanager
async def resolving(
    lookup: Lookup,
    *,
    clock: FakeClock | None = None,
    allowed: Networks = NO_NETWORKS,
    limit_s: float = 5.0,
    threads: int = 8,
    hosts: int = 100,
    waiting: int = 100,
) -> AsyncIterator[Resolver]:
    """A resolver over this lookup."""
    resolver = Resolver(
        clock=clock or FakeClock(still=True),
        allowed=allowed,
        lookup=lookup,
        ttl_s=30,
        failure_ttl_s=1,
        limit_s=limit_s,
        threads=threads,
        hosts=hosts,
        waiting=waiting,
    )
    try:
        yield resolver
    finally:
        resolver.close()


async def ask(resolver: Resolver, host: str) -> Resolved:
    """The answer for one name."""
    answer: asyncio.Future[Resolved] = asyncio.get_running_loop().create_future()
    resolver.resolve(host, answer.set_result)
    assert not answer.done()  # never within the call
    async with asyncio.timeout(60):
        return await answer


class Names:
    """A name server: answers from a table that a test may change, and counts the questions."""

    def __init__(self, table: dict[str, Sequence[str]]) -> None:
        self.table = table
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.table[host]


class Stuck:
    """A name server that does not answer for some names until it is released."""

    def __init__(self, stuck: Callable[[str], bool]) -> None:
        self.stuck = stuck
        self.asked: list[str] = []
        self.released = threading.Event()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if self.stuck(host):
            self.released.wait(60)
        return ["8.8.8.8"]


@contextmanager
def stuck(which: Callable[[str], bool]) -> Iterator[Stuck]:
    """A Stuck name server that is released in the end."""
    server = Stuck(which)
    try:
        yield server
    finally:
        server.released.set()


async def test_a_name_comes_to_its_addresses_in_their_order() -> None:
    addresses = ["2606:4700::1111", "8.8.8.8", "8.8.8.8", "1.1.1.1"]
    async with resolving(Names({"shop.example": addresses})) as resolver:
        answer = await ask(resolver, "shop.example")
    assert answer.addresses == ("2606:4700::1111", "8.8.8.8", "1.1.1.1")
    assert answer.reason == ""


async def test_an_answer_is_kept_for_its_time_and_then_asked_for_again() -> None:
    names, clock = Names({"a.example": ["8.8.8.8"]}), FakeClock(still=True)
    async with resolving(names, clock=clock) as resolver:
        assert resolver.known("a.example", clock.monotonic()) is None
        first = await ask(resolver, "a.example")
        clock.advance(29_999)
        assert resolver.known("a.example", clock.monotonic()) is first
        assert await ask(resolver, "a.example") is first
        clock.advance(1)
        assert resolver.known("a.example", clock.monotonic()) is None
        await ask(resolver, "a.example")
    assert names.asked == ["a.example", "a.example"]


async def test_a_name_rebound_to_a_private_address_is_refused_at_the_next_lookup() -> None:
    names, clock = Names({"evil.example": ["8.8.8.8"]}), FakeClock(still=True)
    async with resolving(names, clock=clock) as resolver:
        assert (await ask(resolver, "evil.example")).addresses == ("8.8.8.8",)
        names.table["evil.example"] = ["127.0.0.1"]
        assert (await ask(resolver, "evil.example")).addresses == ("8.8.8.8",)
        clock.advance(30_000)
        answer = await ask(resolver, "evil.example")
    assert answer.addresses == ()
    assert answer.reason == "refused address: loopback 127.0.0.1"


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["8.8.8.8", "10.0.0.1"], "refused address: private 10.0.0.1"),
        (["8.8.8.8", "fd00::1"], "refused address: unique local fd00::1"),
        (["8.8.8.8", "fe80::1%eth0"], "refused address: link-local fe80::1"),
        (["::ffff:192.168.1.1"], "refused address: private 192.168.1.1"),
        (
            [f"8.8.{n // 250}.{n % 250}" for n in range(1_000)],
            "refused address: more than 64 addresses",
        ),
        ([], reasons.RESOLVE_NO_ADDRESS),
        (["not an address"], reasons.RESOLVE_FAILED),
    ],
)
async def test_an_answer_that_may_not_be_called_is_a_reason(
    addresses: list[str], reason: str
) -> None:
    async with resolving(Names({"x.example": addresses})) as resolver:
        answer = await ask(resolver, "x.example")
    assert (answer.addresses, answer.reason) == ((), reason)


async def test_an_allowed_network_opens_its_addresses() -> None:
    names = Names({"x.example": ["10.1.0.1"], "y.example": ["10.1.0.1", "10.2.0.1"]})
    async with resolving(names, allowed=Networks.parse(["10.1.0.0/16"])) as resolver:
        assert (await ask(resolver, "x.example")).addresses == ("10.1.0.1",)
        assert (await ask(resolver, "y.example")).reason == "refused address: private 10.2.0.1"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), reasons.RESOLVE_NO_HOST),
        (socket.gaierror(socket.EAI_AGAIN, ""), reasons.RESOLVE_TEMPORARY),
        (socket.gaierror(socket.EAI_FAIL, ""), reasons.RESOLVE_FAILED),
        (OSError(5, "I/O"), reasons.RESOLVE_FAILED),
        (UnicodeError("label too long"), reasons.RESOLVE_FAILED),
    ],
)
async def test_a_failed_lookup_is_a_reason_and_is_kept_for_a_second(
    error: Exception, reason: str
) -> None:
    asked = []

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        raise error

    clock = FakeClock(still=True)
    async with resolving(lookup, clock=clock) as resolver:
        assert (await ask(resolver, "x.example")).reason == reason
        assert (await ask(resolver, "x.example")).reason == reason
        assert len(asked) == 1
        clock.advance(1_000)
        await ask(resolver, "x.example")
    assert len(asked) == 2


async def test_literal_addresses_need_no_lookup_and_are_judged() -> None:
    names = Names({})
    async with resolving(names) as resolver:
        good, bad = resolver.known("8.8.8.8", 0.0), resolver.known("::1", 0.0)
        assert good is not None
        assert good.addresses == ("8.8.8.8",)
        assert good.until == float("inf")
        assert bad is not None
        assert bad.reason == "refused address: loopback ::1"
        assert (await ask(resolver, "2606:4700::1111")).addresses == ("2606:4700::1111",)
    assert names.asked == []


async def test_many_who_ask_for_one_name_share_one_lookup() -> None:
    with stuck(lambda _: True) as server:
        async with resolving(server) as resolver:
            asks = [asyncio.create_task(ask(resolver, "a.example")) for _ in range(50)]
            await asyncio.sleep(0)
            server.released.set()
            answers = await asyncio.gather(*asks)
    assert {answer.addresses for answer in answers} == {("8.8.8.8",)}
    assert server.asked == ["a.example"]


async def test_a_lookup_that_hangs_is_given_up_and_its_name_fails_fast_until_it_returns() -> None:
    with stuck(lambda host: host == "slow.example") as server:
        async with resolving(server, limit_s=1.5) as resolver:
            late = await ask(resolver, "slow.example")
            assert late.reason == reasons.RESOLVE_TIMED_OUT
            resolver_clock_free = await ask(resolver, "fast.example")
            assert resolver_clock_free.addresses == ("8.8.8.8",)
            assert server.asked.count("slow.example") == 1


async def test_hanging_names_take_at_most_half_of_the_threads_and_known_names_go_on() -> None:
    clock = FakeClock(still=True)
    with stuck(lambda host: host.startswith("slow")) as server:
        async with resolving(server, clock=clock, limit_s=1.5, threads=8) as resolver:
            await ask(resolver, "known.example")
            clock.advance(30_000)
            slow = [asyncio.create_task(ask(resolver, f"slow{n}.example")) for n in range(20)]
            await asyncio.sleep(0)
            assert (await ask(resolver, "known.example")).addresses == ("8.8.8.8",)
            answers = [answer.reason for answer in await asyncio.gather(*slow)]
    assert answers.count(reasons.RESOLVE_TIMED_OUT) == 4
    assert answers.count(reasons.RESOLVE_BUSY) == 16
    assert len([host for host in server.asked if host.startswith("slow")]) == 4


async def test_names_that_hung_last_time_leave_threads_to_new_ones() -> None:
    hang, asked = threading.Event(), list[str]()

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        if not host.startswith("slow"):
            return ["8.8.8.8"]
        hang.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered")

    clock = FakeClock(still=True)
    slow = [f"slow{n}.example" for n in range(4)]
    try:
        async with resolving(lookup, clock=clock, limit_s=1.5, threads=8) as resolver:
            first = await asyncio.gather(*[ask(resolver, host) for host in slow])
            hang.set()
            async with asyncio.timeout(60):
                while resolver._pending:  # noqa: ASYNC110 - a thread tells nobody
                    await asyncio.sleep(0)
            hang.clear()
            asked.clear()
            clock.advance(1_000)
            again = [asyncio.create_task(ask(resolver, host)) for host in slow]
            await asyncio.sleep(0)
            assert (await ask(resolver, "new.example")).addresses == ("8.8.8.8",)
            second = await asyncio.gather(*again)
    finally:
        hang.set()
    assert [answer.reason for answer in first] == [reasons.RESOLVE_TIMED_OUT] * 4
    assert sorted(asked) == ["new.example", "slow0.example", "slow1.example"]
    assert [answer.reason for answer in second] == [
        *[reasons.RESOLVE_TIMED_OUT] * 2,
        *[reasons.RESOLVE_BUSY] * 2,
    ]


async def test_more_names_than_may_wait_are_busy_at_once() -> None:
    with stuck(lambda _: True) as server:
        async with resolving(server, threads=4, waiting=3) as resolver:
            asks = [asyncio.create_task(ask(resolver, f"{n}.example")) for n in range(6)]
            reason = (await asks[5]).reason
            assert reason == reasons.RESOLVE_BUSY
            server.released.set()
            answers = await asyncio.gather(*asks[:5])
    assert {answer.addresses for answer in answers} == {("8.8.8.8",)}


async def test_only_so_many_answers_are_kept() -> None:
    names = Names({f"{n}.example": ["8.8.8.8"] for n in range(5)})
    async with resolving(names, hosts=3) as resolver:
        for n in range(5):
            await ask(resolver, f"{n}.example")
        known = [n for n in range(5) if resolver.known(f"{n}.example", 0.0)]
    assert known == [2, 3, 4]


async def test_close_tells_those_who_wait_and_takes_no_more() -> None:
    with stuck(lambda _: True) as server:
        async with resolving(server) as resolver:
            waiting = asyncio.create_task(ask(resolver, "a.example"))
            await asyncio.sleep(0)
            resolver.close()
            assert (await waiting).reason == reasons.RESOLVE_TIMED_OUT
            assert (await ask(resolver, "b.example")).reason == reasons.RESOLVE_BUSY


async def test_the_system_knows_localhost_and_the_guard_refuses_it() -> None:
    assert "127.0.0.1" in system_lookup("localhost")
    async with resolving(system_lookup) as resolver:
        assert (await ask(resolver, "localhost")).reason.startswith("refused address: loopback")


async def test_a_name_that_cannot_exist_has_no_address() -> None:
    async with resolving(system_lookup) as resolver:
        reason = (await ask(resolver, "nothing.invalid")).reason
    assert reason in {reasons.RESOLVE_NO_HOST, reasons.RESOLVE_TEMPORARY}
