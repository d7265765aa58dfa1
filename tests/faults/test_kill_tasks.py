"""
A real server is killed while it replays, and while it tells its operator: nothing is lost or done twice.

On PostgreSQL there are two nodes, and either may be killed: the other goes on with what it was at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from marketbell.testing import Answer, Received, TestReceiver
from support.ledger import Show, attempts_on_record, shower, table
from support.nodes import NewServer
from support.server import Server

pytestmark = pytest.mark.alone

ROUTE: Final = "/seller"
BATCH: Final = 500
NODES: Final = {"MARKETBELL_NODE_LEASE": "2s", "MARKETBELL_NODE_HEARTBEAT": "100ms"}
"""So a node is lost soon; one that only stood still for so long loses nothing by it."""


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


class Seller:
    """A receiver that fails everything until it is well, and counts what came since then."""

    def __init__(self) -> None:
        self.well = False
        self.seen: Counter[str] = Counter()
        self.came = 0

    def __call__(self, request: Received) -> Answer:
        self.came += 1
        if not self.well:
            return Answer(status=500)
        self.seen[str(request.header("webhook-id"))] += 1
        return Answer()


class Operator:
    """A receiver of operational messages: which messages have ended, by the ids of what told so."""

    def __init__(self) -> None:
        self.told: dict[str, set[str]] = defaultdict(set)

    def __call__(self, request: Received) -> Answer:
        body = json.loads(request.body)
        assert body["type"] == "message.attempt.exhausted"
        self.told[body["data"]["msgId"]].add(str(request.header("webhook-id")))
        return Answer()


class Play:
    """The servers of one database, their seller, and what was published to them."""

    def __init__(self, servers: list[Server], seed: int) -> None:
        self._servers = servers
        self.chance = random.Random(seed)
        self.seller = Seller()
        self.operator = Operator()
        self.kills = 0
        self.http = httpx.AsyncClient(timeout=30.0, trust_env=False)
        self.receiver: TestReceiver
        self.office: TestReceiver
        self.application = self.endpoint = ""
        self.messages: list[str] = []

    @property
    def server(self) -> Server:
        """One that answers; all do, but for the moment in which one of them begins anew."""
        return self._servers[0]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them run; killed on leaving."""
        async with self.http:
            try:
                for server in self._servers:
                    await server.start()
                yield
            finally:
                for server in self._servers:
                    await server.clear()

    async def kill(self, turn: int = 0) -> None:
        """Kill the one whose turn it is, and start it again; the one that is called is the first."""
        victim = self._servers[turn % len(self._servers)]
        await victim.kill()
        await victim.start()

    async def rest(self) -> None:
        """Let all of them end what they are at, record it, and begin anew."""
        assert await asyncio.gather(*(server.stop() for server in self._servers)) == [0] * len(
            self._servers
        )
        for server in self._servers:
            await server.start()

    async def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        return await self.server.call(self.http, method, path, body, **query)

    async def publish(self, count: int) -> None:
        """So many messages whose deliveries have all failed for good, of which the operator was told."""
        operational = {"url": self.office.url, "eventTypes": ["message.attempt.exhausted"]}
        await self.call("POST", "/operational-webhook/endpoint", operational)
        self.application = (await self.call("POST", "/app", {"name": "Shop"}))["id"]
        metadata = {"marketbell.retry-schedule": "1ms", "marketbell.max-in-flight": "64"}
        body = {"url": self.receiver.url + ROUTE, "metadata": metadata}
        path = f"/app/{self.application}"
        self.endpoint = (await self.call("POST", f"{path}/endpoint", body))["id"]
        for _ in range(count // BATCH):
            batch = [{"eventType": "part.updated", "payload": {}}] * BATCH
            answer = await self.call("POST", f"{path}/msg/batch", {"messages": batch})
            self.messages += [verdict["message"]["id"] for verdict in answer]
        await asyncio.sleep(self.chance.uniform(0.0, 0.3))
        await self.kill()
        told = self.operator.told
        await self.office.wait_until(lambda: len(told) == count, limit_s=60)
        # What is under way when it is well would be delivered without a replay.
        await self.rest()
        self.seller.well = True

    async def replay(self, what: str, kills_max: int) -> dict[str, Any]:
        """Begin a task, and kill a server after steps of it, again and again until it has ended."""
        path = f"/app/{self.application}/endpoint/{self.endpoint}/{what}"
        task = await self.call("POST", path, {"since": "2020-01-01T00:00:00Z"})
        kills = looked = 0
        while True:
            await asyncio.sleep(self.chance.uniform(0.005, 0.12))
            shown: dict[str, Any] = await self.call("GET", f"/background-task/{task['id']}")
            if shown["status"] != "running":
                self.kills += kills
                return shown
            if kills == kills_max or shown["data"]["looked"] == looked:
                continue
            looked = shown["data"]["looked"]
            await self.kill(kills)
            kills += 1

    async def drained(self, rounds: int) -> None:
        """Return once every message has come so many times."""
        seen, messages = self.seller.seen, self.messages
        await self.receiver.wait_until(
            lambda: all(seen[message] >= rounds for message in messages), limit_s=60
        )
        await self.rest()


async def play(
    new_server: NewServer, seed: int, count: int, *, rounds: int, kills: int, show: Show
) -> None:
    settings = {"MARKETBELL_BREAKER_FAILURES": "10000", **NODES}
    servers = [new_server(**settings)]
    if not servers[0].alone:
        servers.append(new_server(**settings))
    played = Play(servers, seed)
    async with (
        TestReceiver(played.seller) as played.receiver,
        TestReceiver(played.operator) as played.office,
        played.running(),
    ):
        await played.publish(count)
        for number in range(1, 1 + rounds):
            task = await played.replay("recover" if number == 1 else "bulk-replay", kills)
            assert task["status"] == "finished"
            # The step's effects and its counts are one transaction: each message once.
            assert (task["data"]["looked"], task["data"]["made"]) == (count, count), task
            await played.drained(number)
        found = await attempts_on_record(
            played.server, played.http, played.application, {ROUTE: played.endpoint}
        )
    # Each end was told of by one message, however often that was sent.
    told = played.operator.told
    assert set(told) == set(played.messages)
    assert {len(ids) for ids in told.values()} == {1}
    again = 0
    for message in played.messages:
        outcomes = Counter(found[ROUTE, message])
        assert outcomes["accepted"] >= rounds
        # What came more often than it was asked for was under way when the server was killed.
        over = played.seller.seen[message] - rounds
        assert 0 <= over <= outcomes["unknown"] + outcomes["closed"]
        again += over
    show(
        table(
            f"kill ledger of replays (seed {seed})",
            [
                ("messages", count),
                ("replays of all of them", rounds),
                ("kills while one ran", played.kills),
                ("requests that came again after a kill", again),
            ],
        )
    )
    assert played.kills >= rounds


@pytest.mark.proof
async def test_replays_survive_kills(new_server: NewServer, show: Show) -> None:
    await play(new_server, 1, 1_000, rounds=2, kills=2, show=show)


@pytest.mark.kill
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(2, 6))
async def test_many_replays_survive_many_kills(
    new_server: NewServer, seed: int, show: Show
) -> None:
    await play(new_server, seed, 3_000, rounds=30, kills=100, show=show)
