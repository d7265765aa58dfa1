"""Three real nodes on one PostgreSQL: what holds for an endpoint holds for all of them together."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from marketbell.testing import OK, Answer, Received, TestReceiver
from support.cluster import QUICK, Cluster, cluster
from support.eventually import PATIENCE_S
from support.postgres import PostgresServer, fresh_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

ERROR: Final = Answer(status=500)
AHEAD_S: Final = 30
AHEAD: Final = f"""
import sys, time
real_ns, real = time.time_ns, time.time
time.time_ns = lambda: real_ns() + {AHEAD_S}_000_000_000
time.time = lambda: real() + {AHEAD_S}
sys.argv = ["marketbell", "serve", "--json"]
from marketbell.cli import main
main()
"""
"""A server on a machine whose clock is ahead."""


class Trio:
    """The nodes, and short ways to their API."""

    def __init__(self, nodes: Cluster, http: httpx.AsyncClient) -> None:
        self.nodes = nodes
        self.http = http
        self._turn = itertools.count()

    async def call(self, method: str, path: str, body: object = None, node: int = 0) -> Any:
        return await self.nodes.nodes[node].call(self.http, method, path, body)

    async def publish(self, app: str, payload: object, **fields: object) -> str:
        """Publish through the next node in turn; the message's id."""
        node = next(self._turn) % len(self.nodes.nodes)
        body = {"eventType": "a.b", "payload": payload, **fields}
        return str((await self.call("POST", f"{app}/msg", body, node))["id"])

    async def attempted(self, app: str, endpoint: str, count: int) -> list[datetime]:
        """When the attempts of an endpoint were begun, once so many are kept."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = await self.call("GET", f"{app}/attempt/endpoint/{endpoint}")
                if len(found["data"]) >= count:
                    return [datetime.fromisoformat(one["timestamp"]) for one in found["data"]]
                await asyncio.sleep(0.02)

    async def application(self) -> str:
        return f"/app/{(await self.call('POST', '/app', {'name': 'Shop'}))['id']}"

    async def endpoint(self, app: str, url: str, **fields: object) -> str:
        metadata = {
            f"marketbell.{name.replace('_', '-')}": fields.pop(name)
            for name in ("max_in_flight", "order_by", "retry_schedule", "timeout")
            if name in fields
        }
        body = {"url": url, "metadata": metadata, **fields}
        return str((await self.call("POST", f"{app}/endpoint", body))["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Trio]:
    folder = tmp_path_factory.mktemp("trio")
    settings = {**QUICK, "MARKETBELL_BREAKER_FAILURES": "5"}
    with fresh_database(postgres, migrated_template) as name:
        async with cluster(postgres.url(name), folder, 3, **settings) as (nodes, http):
            yield Trio(nodes, http)


class Gauge:
    """A receiver's script that knows how many requests are open at a time."""

    def __init__(self, delay_s: float = 0.02) -> None:
        self.delay_s = delay_s
        self.open = 0
        self.most = 0

    async def __call__(self, _request: Received) -> Answer:
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(self.delay_s)
        self.open -= 1
        return OK


async def test_a_cap_holds_over_all_nodes(trio: Trio) -> None:
    gauge = Gauge()
    async with TestReceiver(gauge) as receiver:
        app = await trio.application()
        await trio.endpoint(app, receiver.url, max_in_flight="3")
        await asyncio.gather(*(trio.publish(app, {"n": n}) for n in range(60)))
        await receiver.wait_for(60)
    assert 2 <= gauge.most <= 3
    assert len({request.header("webhook-id") for request in receiver.requests}) == 60


async def test_a_rate_limit_holds_over_all_nodes(trio: Trio) -> None:
    async with TestReceiver() as receiver:
        app = await trio.application()
        endpoint = await trio.endpoint(app, receiver.url, throttleRate=8)
        await asyncio.gather(*(trio.publish(app, {"n": n}) for n in range(20)))
        await receiver.wait_for(20)
        starts = sorted(await trio.attempted(app, endpoint, 20))
    gaps = [late - early for early, late in zip(starts, starts[8:], strict=False)]
    assert min(gaps) >= timedelta(milliseconds=990), gaps
    # Two seconds; some seven, if each node kept to its share of the rate.
    assert starts[-1] - starts[0] < timedelta(seconds=6)


async def test_a_breaker_is_one_for_all_nodes(trio: Trio) -> None:
    async with TestReceiver([ERROR]) as receiver:
        app = await trio.application()
        await trio.endpoint(app, receiver.url)
        await asyncio.gather(*(trio.publish(app, {"n": n}) for n in range(30)))
        await receiver.wait_for(5)
        await asyncio.sleep(0.5)  # nothing comes: there is no condition to wait for
        assert len(receiver.requests) == 5


async def test_an_order_holds_over_all_nodes(trio: Trio) -> None:
    chance = random.Random(7)
    open_keys: Counter[int] = Counter()
    accepted: dict[int, list[int]] = defaultdict(list)

    async def script(request: Received) -> Answer:
        body = json.loads(request.body)
        open_keys[body["key"]] += 1
        assert open_keys[body["key"]] == 1
        await asyncio.sleep(chance.random() * 0.01)
        open_keys[body["key"]] -= 1
        if chance.random() < 0.2:
            return ERROR
        accepted[body["key"]].append(body["n"])
        return OK

    async with TestReceiver(script) as receiver:
        app = await trio.application()
        await trio.endpoint(app, receiver.url, order_by="/key", retry_schedule="10ms " * 30)
        for n in range(10):
            await asyncio.gather(*(trio.publish(app, {"key": key, "n": n}) for key in range(4)))
        async with asyncio.timeout(PATIENCE_S):
            while sum(map(len, accepted.values())) < 40:
                await receiver.wait_for(len(receiver.requests) + 1)
    assert accepted == {key: list(range(10)) for key in range(4)}


async def test_times_are_exact_where_clocks_are_apart(trio: Trio) -> None:
    """Any node may serve an endpoint, and one of them has a clock that is half a minute ahead."""
    nodes = trio.nodes
    await nodes.stop(2)
    nodes.nodes[2].program = ("-c", AHEAD)
    await nodes.start_again(2)
    await nodes.settled(trio.http)
    # The quickest of its last answers tells a node the time; by now each has had one that was quick.
    await nodes.until(
        trio.http,
        "marketbell_clock_skew_seconds",
        lambda skews: [round(skew, 1) for skew in skews] == [0, 0, AHEAD_S],
    )
    came: dict[str, list[float]] = defaultdict(list)

    async def script(request: Received) -> Answer:
        came[request.target].append(time.time())
        return ERROR if len(came[request.target]) == 1 else OK

    async with TestReceiver(script) as receiver:
        app = await trio.application()
        for n in range(12):
            await trio.endpoint(app, f"{receiver.url}{n}", retry_schedule="700ms")
        due = time.time() + 2.0
        instant = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(due)) + f".{int(due % 1 * 1000):03}Z"
        )
        for _ in range(3):
            await trio.publish(app, {}, deliverAt=instant)
        await receiver.wait_for(12 * 4)
    assert len(came) == 12
    for instants in came.values():
        # Late by what the machine stands still; by the clocks it would be half a minute.
        assert -0.1 < instants[0] - due < AHEAD_S / 2, instants[0] - due
        assert 0.6 < instants[3] - instants[0] < AHEAD_S / 2, instants
    nodes.nodes[2].program = nodes.nodes[1].program


async def test_a_node_that_was_frozen_past_its_lease_sends_nothing_and_its_late_result_is_kept(
    trio: Trio,
) -> None:
    nodes, came, answered = trio.nodes, asyncio.Event(), asyncio.Event()

    first = ""

    async def script(request: Received) -> Answer:
        nonlocal first
        if not came.is_set():
            first = str(request.header("webhook-id"))
            came.set()
            await answered.wait()
        return OK

    async with TestReceiver(script) as receiver:
        app = await trio.application()
        await trio.endpoint(app, receiver.url, max_in_flight="1")
        messages = [await trio.publish(app, {"n": n}) for n in range(4)]
        await came.wait()
        frozen = (await nodes.in_flight(trio.http)).index(1)
        nodes.freeze(frozen)
        others = [n for n in range(3) if n != frozen]
        await receiver.wait_for(4)  # what it had claimed is lost, and sent by another node
        answered.set()
        nodes.thaw(frozen)
        await nodes.settled(trio.http)

        async def outcomes(message: str) -> list[str]:
            path = f"{app}/attempt/msg/{message}"
            found = await trio.call("GET", path, node=others[0])
            return sorted(one["outcome"] for one in found["data"])

        async with asyncio.timeout(PATIENCE_S):
            while len(found := await outcomes(first)) < 3:  # noqa: ASYNC110 - no one tells when
                await asyncio.sleep(0.02)
        assert found == ["accepted", "accepted", "unknown"]
        for message in set(messages) - {first}:
            assert set(await outcomes(message)) <= {"accepted", "unknown"}
            assert (await outcomes(message)).count("accepted") == 1
    assert len(receiver.requests) == 5


async def test_a_killed_nodes_endpoints_are_served_once_its_lease_is_over(trio: Trio) -> None:
    nodes = trio.nodes
    async with TestReceiver() as receiver:
        app = await trio.application()
        for n in range(9):
            await trio.endpoint(app, f"{receiver.url}{n}")
        await nodes.kill(1)
        begun = time.monotonic()
        body = {"eventType": "a.b", "payload": {}}
        await trio.call("POST", f"{app}/msg", body, node=2)
        await receiver.wait_for(9)
        assert (
            time.monotonic() - begun < 30
        )  # four seconds; a minute, if claims had to end by themselves
        await nodes.start_again(1)
        await nodes.settled(trio.http)


async def test_an_endpoint_is_seen_by_the_next_message_on_another_node_without_any_hint(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("deaf")
    settings = {**QUICK, "MARKETBELL_DB_POOLED": "true"}
    async with AsyncExitStack() as stack:
        name = stack.enter_context(fresh_database(postgres, migrated_template))
        nodes, http = await stack.enter_async_context(
            cluster(postgres.url(name), folder, 2, **settings)
        )
        receiver = await stack.enter_async_context(TestReceiver())
        deaf = Trio(nodes, http)
        app = await deaf.application()
        body = {"eventType": "a.b", "payload": {}}
        for n in range(1, 9):
            await deaf.endpoint(app, f"{receiver.url}{n}")  # on the first node
            await deaf.call("POST", f"{app}/msg", body, node=1)
            total = n * (n + 1) // 2
            await receiver.wait_for(total)
            last = receiver.requests[total - n : total]
            assert {one.target for one in last} == {f"/{m}" for m in range(1, n + 1)}
