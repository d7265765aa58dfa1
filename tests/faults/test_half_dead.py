"""A node that lives and cannot work: others have its endpoints until it can, and it has its share again."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Final

import httpx

from marketbell.testing import OK, Answer, Received, TestReceiver
from support.cluster import SLOTS, Cluster, cluster
from support.eventually import eventually
from support.proxy import Line, TcpProxy
from support.server import Server

ENDPOINTS: Final = 16
LIMIT_S: Final = 60.0
SETTINGS: Final = {
    "MARKETBELL_NODE_LEASE": "2s",
    "MARKETBELL_NODE_HEARTBEAT": "200ms",
    "MARKETBELL_DB_STATEMENT_TIMEOUT": "1s",
    "MARKETBELL_DB_CONNECT_TIMEOUT": "1s",
}


class Shop:
    """A receiver's script that knows which messages came by which path."""

    def __init__(self) -> None:
        self.came: Counter[tuple[str, str]] = Counter()

    async def __call__(self, request: Received) -> Answer:
        self.came[request.target, request.header("webhook-id") or ""] += 1
        return OK

    def whole(self, message: str) -> bool:
        """Whether every endpoint has had it."""
        return sum(1 for _path, of in self.came if of == message) == ENDPOINTS


async def make(server: Server, http: httpx.AsyncClient, url: str) -> str:
    """An application with ENDPOINTS endpoints, each a path of the receiver; its id."""
    await server.call(http, "POST", "/event-type", {"name": "a.b", "description": "a"})
    made = await server.call(http, "POST", "/app", {"name": "Shop"})
    for number in range(ENDPOINTS):
        path = f"/app/{made['id']}/endpoint"
        await server.call(http, "POST", path, {"url": f"{url}{number}"})
    return str(made["id"])


async def publish(server: Server, http: httpx.AsyncClient, application: str) -> str:
    """A message for all of them; its id."""
    body = {"eventType": "a.b", "payload": {"n": 1}}
    return str((await server.call(http, "POST", f"/app/{application}/msg", body))["id"])


async def slots(nodes: Cluster, http: httpx.AsyncClient, wanted: list[float]) -> None:
    """Return once the nodes have so many slots each."""
    await nodes.until(http, "marketbell_slots_owned", lambda owned: owned == wanted, limit_s=LIMIT_S)


async def test_another_node_has_its_endpoints_until_it_can_work_again(
    migrated_url: str, tmp_path: Path
) -> None:
    shop = Shop()
    with TcpProxy.before(migrated_url) as proxy:
        async with (
            TestReceiver(shop) as receiver,
            cluster(migrated_url, tmp_path, 1, **SETTINGS) as (nodes, http),
        ):
            # Signs of life, and what others tell, have a way of their own past the proxy.
            (half,) = await nodes.start(
                1, MARKETBELL_DB=proxy.url(migrated_url), MARKETBELL_DB_DIRECT=migrated_url
            )
            await nodes.settled(http, limit_s=LIMIT_S)
            whole = nodes.nodes[0]
            application = await make(whole, http, receiver.url)
            first = await publish(whole, http, application)
            await eventually(lambda: shop.whole(first))
            proxy.put(Line(stalled=True))
            # Half of these wait for a node that counts as alive all the time.
            second = await publish(whole, http, application)
            await eventually(lambda: shop.whole(second))
            await slots(nodes, http, [SLOTS, 0])
            assert await nodes.gauge(http, "marketbell_nodes") == [2, 2]
            assert await nodes.gauge(http, "marketbell_node_unfit") == [0, 1]
            proxy.put(Line())
            await slots(nodes, http, [SLOTS / 2, SLOTS / 2])
            assert await nodes.gauge(http, "marketbell_node_unfit") == [0, 0]
            third = await publish(half, http, application)
            await eventually(lambda: shop.whole(third))
            log = half.log()
            assert log.count("slots go to nodes whose work gets through") == 1
            assert await asyncio.gather(*(nodes.stop(number) for number in range(2))) == [0, 0]


async def test_where_no_node_can_work_no_slot_moves(migrated_url: str, tmp_path: Path) -> None:
    shop = Shop()
    with TcpProxy.before(migrated_url) as proxy:
        async with (
            TestReceiver(shop) as receiver,
            cluster(
                proxy.url(migrated_url),
                tmp_path,
                2,
                MARKETBELL_DB_DIRECT=migrated_url,
                **SETTINGS,
            ) as (nodes, http),
        ):
            first, second = nodes.nodes
            application = await make(first, http, receiver.url)
            await eventually(lambda: shop.whole(message)) if (
                message := await publish(first, http, application)
            ) else None
            before = [node.log() for node in nodes.nodes]
