"""Three real servers on one PostgreSQL; nodes and database are killed and frozen at random instants: nothing is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from marketbell.testing import TestReceiver
from support.cluster import Cluster, cluster
from support.kills import Kill, Taken, Told, held_by_nodes, taken, told, watch
from support.ledger import Ledger, Show, make_endpoints, shower
from support.outages import template
from support.postgres import PostgresServer
from support.server import Server
from support.verdict import Evidence, evidence, judge

pytestmark = pytest.mark.alone

NODES: Final = 3
WORKERS: Final = 8
SCHEDULE: Final = "100ms 200ms 500ms " + "1s " * 60
LEASE_S: Final = 2.5
SETTINGS: Final = {
    "MARKETBELL_BREAKER_FAILURES": "10000",
    "MARKETBELL_NODE_LEASE": f"{LEASE_S * 1000:.0f}ms",
    "MARKETBELL_NODE_HEARTBEAT": "250ms",
    # Leases that are short, for claims of which nobody knows whether they were committed.
    "MARKETBELL_ATTEMPT_TIMEOUT": "1s",
    "MARKETBELL_RESOLVE_TIMEOUT": "500ms",
    "MARKETBELL_CONNECT_TIMEOUT": "1s",
    "MARKETBELL_FIRST_BYTE_TIMEOUT": "1s",
    "MARKETBELL_LEASE": "9s",
}
FAULTS: Final = {"a node": 60, "all nodes": 8, "database": 12, "database at once": 12, "freeze": 8}
"""What is killed or frozen, and how often of a hundred."""


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One to be killed."""
    with PostgresServer() as own:
        yield own


class Play:
    """Publishers that come to any node that serves, and somebody who kills."""

    def __init__(
        self,
        ledger: Ledger,
        nodes: Cluster,
        http: httpx.AsyncClient,
        database: PostgresServer,
        name: str,
    ) -> None:
        self.ledger = ledger
        self.faults: Counter[str] = Counter()
        self.takes: list[Taken] = []
        self.kills: list[Kill] = []
        """Of nodes; one that is frozen for longer than its lease is as good as dead to the others."""
        self._nodes = nodes
        self._http = http
        self._database = database
        self._name = name
        self._chance = random.Random(ledger.seed)
        self._serving = set(range(NODES))
        self._away: set[asyncio.Task[None]] = set()

    def rows(self) -> list[tuple[str, object]]:
        """What the ledger shows of what was killed."""
        faults = dict(self.faults)
        frozen = faults.pop("freeze", 0)
        return [
            ("kills", self.killed),
            *((f"  of {name}", count) for name, count in faults.items()),
            ("nodes frozen beyond their leases", frozen),
        ]

    @property
    def killed(self) -> int:
        """How often something was killed so far; a freeze is no kill."""
        return self.faults.total() - self.faults["freeze"]

    # -- publishers ---------------------------------------------------------------------

    async def publish(self, http: httpx.AsyncClient, application: str) -> None:
        """Message after message, each at any node again and again until it is accepted."""
        ledger, before = self.ledger, list[str]()
        while True:
            key = ledger.draft()
            while True:
                if await ledger.post(http, self._any(), application, key):
                    break
                await asyncio.sleep(0.02)
            before.append(key)
            if ledger.chance.random() < 0.05:
                await ledger.post(http, self._any(), application, ledger.chance.choice(before))
            await asyncio.sleep(ledger.chance.random() * 0.02)

    def _any(self) -> Server:
        """Mostly one that is thought to serve, as before a load balancer."""
        chance = self.ledger.chance
        if not self._serving or chance.random() < 0.05:
            return self._nodes.nodes[chance.randrange(NODES)]
        return self._nodes.nodes[chance.choice(sorted(self._serving))]

    # -- faults -------------------------------------------------------------------------

    async def kill(self, times: int) -> None:
        """So many times, one after the other, with freezes between; everything serves when it returns."""
        never = list(FAULTS)
        while self.killed < times:
            await asyncio.sleep(self._chance.uniform(0.02, 0.5))
            (what,) = self._chance.choices(list(FAULTS), list(FAULTS.values()))
            if never:
                what = never.pop(0)  # each at least once
            self.faults[what] += 1
            await self._do(what)
        await asyncio.gather(*self._away)

    async def _do(self, what: str) -> None:
        if what == "a node":
            (number,) = await self._some(1)
            await self._end([number], self._nodes.kill)
            # Now and then it stays away until the others have taken over.
            late_s = LEASE_S + 1 if self._chance.random() < 0.15 else 0.0
            self._later(self._start(number, late_s))
        elif what == "all nodes":
            numbers = await self._some(NODES)
            await self._end(numbers, self._nodes.kill)
            await asyncio.gather(*(self._start(number, 0.0) for number in numbers))
        elif what == "freeze":
            (number,) = await self._some(1)
            await self._end([number], self._freeze)
            self._later(self._thaw(number))
        else:
            # What it has committed, it has: that it was away explains nothing that is sent again.
            if what == "database":
                await asyncio.to_thread(self._database.stop, "immediate")
            else:
                await asyncio.to_thread(self._database.kill)
            await asyncio.sleep(self._chance.uniform(0, 0.5))
            await asyncio.to_thread(self._database.start)

    async def _end(self, numbers: list[int], end: Callable[[int], Awaitable[None]]) -> None:
        """End these nodes at once, each soon after it was asked; and see what each held."""
        nodes = self._nodes.nodes
        said: list[Told] = await asyncio.gather(
            *(told(nodes[number], self._http) for number in numbers)
        )
        await asyncio.sleep(self._chance.uniform(0, 0.02))
        await asyncio.gather(*(end(number) for number in numbers))
        held = await asyncio.to_thread(held_by_nodes, self._database, self._name)
        now = time.monotonic()
        self.kills += [
            Kill(one, now, held.get(nodes[number].path.parent.name, frozenset()))
            for number, one in zip(numbers, said, strict=True)
        ]

    async def _freeze(self, number: int) -> None:
        self._nodes.freeze(number)

    async def _some(self, count: int) -> list[int]:
        """Nodes that serve, taken out; waits until there are so many."""
        while len(self._serving) < count:
            await asyncio.wait(self._away, return_when=asyncio.FIRST_COMPLETED)
        chosen = self._chance.sample(sorted(self._serving), count)
        self._serving.difference_update(chosen)
        return chosen

    def _later(self, end: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(end)
        self._away.add(task)
        task.add_done_callback(self._away.discard)

    async def _start(self, number: int, late_s: float) -> None:
        await asyncio.sleep(late_s)
        async with asyncio.timeout(60):
            while True:
                try:
                    await self._nodes.start_again(number)
                    break
                except AssertionError:  # the database was away just then: it says so and ends
                    await self._nodes.nodes[number].wait(60)
        self._serving.add(number)

    async def _thaw(self, number: int) -> None:
        await asyncio.sleep(LEASE_S + self._chance.uniform(0.2, 1.0))
        self._nodes.thaw(number)
        self._serving.add(number)


async def play(
    folder: Path, database: PostgresServer, kills: int, ledger: Ledger
) -> tuple[Evidence, Play]:
    """Kill so many times under load, and let it drain."""
    begun = time.monotonic()
    name = await asyncio.to_thread(template, database)
    await asyncio.to_thread(watch, database, name, lease=int(LEASE_S * 1000))
    async with (
        TestReceiver(ledger) as receiver,
        cluster(database.url(name), folder, NODES, **SETTINGS) as (nodes, http),
        httpx.AsyncClient(timeout=3.0, trust_env=False) as publishers,
    ):
        application, endpoints = await make_endpoints(
            nodes.nodes[0], http, receiver.url, retry_schedule=SCHEDULE.strip(), timeout="1s"
        )
        acts = Play(ledger, nodes, http, database, name)
        workers = [
            asyncio.create_task(acts.publish(publishers, application)) for _ in range(WORKERS)
        ]
        await acts.kill(kills)
        for worker in workers:
            worker.cancel()
        for end in await asyncio.gather(*workers, return_exceptions=True):
            assert isinstance(end, asyncio.CancelledError), end
        # Keys whose answers were lost are sent once more; then no more is published.
        async with asyncio.timeout(60):
            for key, one in ledger.published.items():
                while not one.ids:
                    await ledger.post(http, nodes.nodes[1], application, key)
        ledger.well = True
        drained = await ledger.complete(limit_s=120)
        took = time.monotonic() - begun
        # A clean stop records the rest; what is on record after it is all that there will be.
        assert await asyncio.gather(*(nodes.stop(number) for number in range(NODES))) == [0] * NODES
        await nodes.start_again(0)
        found = await evidence(
            nodes.nodes[0], http, application, endpoints, took_s=took, drained_s=drained
        )
        acts.takes = await asyncio.to_thread(taken, database, name)
        return found, acts


def settle(ledger: Ledger, found: Evidence, acts: Play, show: Show) -> None:
    """The verdict."""
    judge(ledger, acts.kills, found, show, acts.rows(), takes=acts.takes, name="nodes' kill ledger")


@pytest.mark.proof
@pytest.mark.timeout(1_200)
async def test_kills_of_nodes_and_database_lose_nothing(
    tmp_path: Path, server: PostgresServer, show: Show
) -> None:
    ledger = Ledger(1)
    found, acts = await play(tmp_path, server, 30, ledger)
    settle(ledger, found, acts, show)


@pytest.mark.kill
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_1000_kills_of_nodes_and_database_lose_nothing(
    tmp_path: Path, server: PostgresServer, seed: int, show: Show
) -> None:
    ledger = Ledger(seed)
    found, acts = await play(tmp_path, server, 100, ledger)
    settle(ledger, found, acts, show)
