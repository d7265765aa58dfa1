"""A client over real sockets, on both event loops, that must leave no socket behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from marketbell.delivery.dialer import DirectDialer, tls_context
from marketbell.delivery.http1 import Client, Exchange, Limits
from marketbell.delivery.netguard import Networks, check_url
from marketbell.delivery.resolver import Lookup, Resolver, system_lookup
from marketbell.dialects.base import Request
from marketbell.testing import Authority, FakeClock

LOOPBACK = Networks.parse(["127.0.0.0/8", "::1"])


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of the client runs on both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The authority that the client trusts."""
    return Authority()


@pytest.fixture(scope="session")
def authority_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate in a file."""
    return authority.write(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def dialer(authority_file: Path) -> DirectDialer:
    """A dialer that trusts the authority."""
    return DirectDialer(tls_context(authority_file))


@pytest.fixture
def clock() -> FakeClock:
    """The client's clock: real time-outs, and advances for what expires."""
    return FakeClock()


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(entry.readlink()).startswith("socket:")
    return count


@pytest.fixture
async def make_client(
    clock: FakeClock, dialer: DirectDialer
) -> AsyncIterator[Callable[..., Client]]:
    """Makes clients that may call loopback; afterwards all their sockets must be closed."""
    before = sockets()
    made: list[Client] = []

    def make(
        lookup: Lookup = system_lookup, allowed: Networks = LOOPBACK, **options: float
    ) -> Client:
        client = Client(
            clock=clock,
            resolver=Resolver(clock=clock, allowed=allowed, lookup=lookup),
            dialer=dialer,
            sweep_s=0.01,
            **options,  # type: ignore[arg-type]  # a count among the times
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()
        assert client.connections == 0
        assert client.idle == 0
    for _ in range(1_000):
        if sockets() <= before:
            break
        await asyncio.sleep(0)
    assert sockets() <= before


@pytest.fixture
async def client(make_client: Callable[..., Client]) -> Client:
    """A client as it is by default."""
    return make_client()


@pytest.fixture
def post(client: Client) -> Callable[..., Coroutine[None, None, Exchange]]:
    """Send one request and wait for what comes of it; limits are keyword arguments."""
    default = client

    async def post(
        url: str,
        body: bytes = b"{}",
        headers: tuple[tuple[str, str], ...] = (),
        *,
        fresh: bool = False,
        client: Client | None = None,
        **limits: float,
    ) -> Exchange:
        result: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        (client or default).send(
            check_url(url, https_only=False, allowed=LOOPBACK),
            Request(headers, body),
            Limits(**limits),  # type: ignore[arg-type]  # sizes are ints among the floats
            result.set_result,
            fresh=fresh,
        )
        assert not result.done()  # never within the call
        async with asyncio.timeout(60):
            return await result

    return post
