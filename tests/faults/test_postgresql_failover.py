"""A replica takes the place of its primary under load: all that was accepted is there, and goes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.errors import StoreError, UnavailableError
from marketbell.model import Application, DeliveryState, Message, Policy
from marketbell.store.base import Page
from marketbell.testing import TestReceiver
from support.outages import STATEMENT_S, Site, site, template
from support.plane import ORGANIZATION, Knobs, Plane
from support.postgres import PostgresServer
from support.postgres_plane import PostgresPlane
from support.postgres_replica import Replica

LIMIT_S: Final = 60.0
KNOBS: Final = Knobs(wait_s=3.0, lease=6_000, timeout=3_000, breaker_failures=1_000, look=500)
SOON: Final = Policy(retry_schedule=(100,) * 20)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A primary."""
    with PostgresServer() as own:
        yield own


@pytest.fixture
def at(server: PostgresServer) -> Iterator[Site]:
    with site(server, template(server)) as found:
        yield found


class Load:
    """Publishers who come again and again; what they were told was kept."""

    def __init__(self, plane: Plane, application: Application) -> None:
        self.accepted: list[Message] = []
        self._plane = plane
        self._application = application
        self._workers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._moved = asyncio.Event()

    def start(self) -> None:
        """Four at a time."""
        self._workers = [asyncio.create_task(self._work(number)) for number in range(4)]

    async def more(self, count: int) -> None:
        """Return once so many more have been accepted than now."""
        wanted = len(self.accepted) + count
        async with asyncio.timeout(LIMIT_S):
            while len(self.accepted) < wanted:
                self._moved.clear()
                await self._moved.wait()

    async def stop(self) -> None:
        """No more."""
        self._stopping = True
        await asyncio.gather(*self._workers)

    async def _work(self, worker: int) -> None:
        number = 0
        while not self._stopping:
            number += 1
            payload = b'{"worker":%d,"n":%d}' % (worker, number)
            try:
                self.accepted.append(await self._plane.publish(self._application, payload))
            except StoreError:
                await asyncio.sleep(0.02)
            self._moved.set()
            await asyncio.sleep(0.002)


async def all_delivered(plane: Plane, load: Load) -> None:
    """Return once every accepted message is delivered to the one endpoint."""
    async with asyncio.timeout(LIMIT_S):
        for message in load.accepted:
            while True:
                try:
                    states = await plane.store.delivery_states(message.id)
                except StoreError:
                    states = {}
                if set(states.values()) == {DeliveryState.DELIVERED}:
                    break
                await asyncio.sleep(0.02)


@pytest.mark.proof
@pytest.mark.parametrize("by_name", [False, True], ids=["one address", "two addresses"])
async def test_a_failover_loses_nothing(at: Site, server: PostgresServer, by_name: bool) -> None:
    """Over one address that leads to another server, and over a URL that names both."""
    with Replica(server, synchronous=True) as replica:
        url = at.url
        if by_name:
            hosts = f"127.0.0.1:{server.port},127.0.0.1:{replica.port}"
            url = f"postgresql://marketbell@{hosts}/{at.database}?target_session_attrs=read-write"
        plane = PostgresPlane(
            url, SystemClock(), KNOBS, statement_s=STATEMENT_S, connect_s=STATEMENT_S
        )
        async with TestReceiver() as shop, plane:
            application = await plane.application(SOON)
            await plane.endpoint(application, shop.url)
            load = Load(plane, application)
            load.start()
            await load.more(50)
            await asyncio.to_thread(server.kill)
            server.settings["synchronous_standby_names"] = ""
            begun = time.monotonic()
            if not by_name:
                # The address leads to one that can only be read, for a while.
                at.proxy.target = ("127.0.0.1", replica.port)
                at.proxy.cut()
                with pytest.raises(UnavailableError):
                    await plane.store.ping()
            await asyncio.to_thread(replica.promote)
            await load.more(50)
            assert time.monotonic() - begun < LIMIT_S
            await load.stop()
            await all_delivered(plane, load)


async def test_a_replica_says_that_it_can_only_be_read(at: Site, server: PostgresServer) -> None:
    with Replica(server) as replica:
        async with at.plane(KNOBS) as plane:
            application = await plane.application(SOON)
            await plane.publish(application)
            await asyncio.to_thread(replica.catch_up)
            at.proxy.target = ("127.0.0.1", replica.port)
            at.proxy.cut()
            with pytest.raises(StoreError):  # the one that was cut, perhaps in its middle
                await plane.publish(application)
            with pytest.raises(UnavailableError, match="read-only"):
                await plane.publish(application)
            with pytest.raises(UnavailableError, match="read-only"):
                await plane.store.ping()
            assert (await plane.store.applications(ORGANIZATION, Page())).data
            at.proxy.target = ("127.0.0.1", server.port)
            # Nobody cuts anything: whoever is refused looks for another server by itself.
            async with asyncio.timeout(LIMIT_S):
                while True:
                    try:
                        await plane.publish(application)
                        break
                    except UnavailableError:
                        await asyncio.sleep(0.02)
