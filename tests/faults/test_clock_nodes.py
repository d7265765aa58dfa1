"""
A node's own wall clock is set forth and back under it: on PostgreSQL it goes by the database's.

So nothing changes: nothing comes early or late or twice, a rate limit holds, no slot is lost, no
token ends, and every instant on record is a real one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from e2e.conftest import LiveNode, live_node
from marketbell.clock import SystemClock
from marketbell.model import Millis
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.cluster import SLOTS
from support.eventually import eventually
from support.hands import SetClock

HOUR: Final[Millis] = 3_600_000
ENDPOINTS: Final = 5
MESSAGES: Final = 9
TRIES: Final = 3
WAIT_S: Final = 0.3
"""Between two tries of a delivery."""
RATE: Final = 4
"""Of one endpoint more, a second."""
AHEAD_S: Final = 0.8
"""By how much every third message is put off."""
EARLY_S: Final = 0.2
"""What the clocks of a database and of its nodes may differ; what is set here are hours."""
SECRET: Final = b"a secret of the tests, of 32 bytes or more"


class Shop:
    """A receiver's script that takes a message at its last try, and notes when each try came."""

    def __init__(self) -> None:
        self.came: dict[tuple[str, str], list[float]] = defaultdict(list)
        """By path and message, in seconds since 1970."""
        self.apart: list[float] = []
        """By how much each request says that it was sent before it came."""

    def __call__(self, request: Received) -> Answer:
        now = time.time()
        tries = self.came[request.target, request.header("webhook-id") or ""]
        tries.append(now)
        self.apart.append(now - int(request.header("webhook-timestamp") or 0))
        return OK if len(tries) == TRIES else Answer(status=500)


class Pair:
    """Two nodes that share the slots of one database; the first one's machine has its clock set."""

    def __init__(self, url: str, hands: SetClock, nodes: tuple[LiveNode, LiveNode]) -> None:
        self.hands = hands
        self._url = url
        self._apis = [node.client() for node in nodes]

    async def call(self, method: str, path: str, body: object = None, node: int = 0) -> Any:
        """The JSON of an answer of one of them; the token is one of the beginning."""
        api = self._apis[node]
        answer = await asyncio.to_thread(api.request, method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def attempts(self, application: str, endpoint: str) -> list[dict[str, Any]]:
        """Those on record, as the second node tells of them."""
        path = f"{application}/attempt/endpoint/{endpoint}?limit=250"
        found = await self.call("GET", path, node=1)
        assert found["done"]
        return list(found["data"])

    def slots(self) -> list[tuple[int, int | None, int]]:
        """Every slot with its node and its fence."""
        with psycopg.connect(self._url, options="-c search_path=marketbell") as connection:
            return connection.execute("select slot, node_id, fence from slot order by 1").fetchall()

    def shared(self) -> bool:
        """Whether each has half of the slots."""
        owners = Counter(node for _slot, node, _fence in self.slots())
        return sorted(owners.values()) == [SLOTS // 2, SLOTS // 2]

    def skews(self) -> list[int]:
        """By how much the nodes say that their own clocks are ahead; the first one's first."""
        with psycopg.connect(self._url, options="-c search_path=marketbell") as connection:
            rows = connection.execute("select skew from node order by id").fetchall()
        return [skew for (skew,) in rows]


@pytest.fixture
def pair(migrated_url: str, tmp_path: Path) -> Iterator[Pair]:
    hands = SetClock()
    settings: dict[str, Any] = {
        "db": migrated_url,
        "jwt_secret": SECRET,
        "secrets_key": bytes(32),
        "breaker_failures": 10_000,
        "node_heartbeat": 100,
    }
    with (
        live_node(tmp_path, hands, **settings) as one,
        live_node(tmp_path, SystemClock(), **settings) as two,
    ):
        yield Pair(migrated_url, hands, (one, two))


def instant(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


async def test_a_nodes_own_clock_changes_nothing(pair: Pair) -> None:
    chance, shop = random.Random(5), Shop()
    await eventually(pair.shared)
    slots, begun = pair.slots(), time.time()
    async with TestReceiver(shop) as receiver, TestReceiver() as steady:
        app = f"/app/{(await pair.call('POST', '/app', {'name': 'Shop'}))['id']}"
        wait = f"{WAIT_S * 1000:.0f}ms "
        metadata = {"marketbell.retry-schedule": wait * (TRIES - 1) + "1h"}
        endpoints = [
            await pair.call(
                "POST",
                f"{app}/endpoint",
                {"url": f"{receiver.url}{number}", "metadata": metadata},
                node=number % 2,
            )
            for number in range(ENDPOINTS)
        ]
        body = {"url": steady.url, "throttleRate": RATE}
        limited = await pair.call("POST", f"{app}/endpoint", body)
        due: dict[str, float] = {}
        for number in range(MESSAGES):
            pair.hands.offset = chance.choice([-1, 1]) * chance.randrange(2 * HOUR, 60 * HOUR)
            message: dict[str, object] = {"eventType": "a.b", "payload": {"n": number}}
            at = time.time()
            if number % 3 == 2:
                at += AHEAD_S
                message["deliverAt"] = datetime.fromtimestamp(at, UTC).isoformat()
            made = await pair.call("POST", f"{app}/msg", message, node=number % 2)
            due[made["id"]] = at
        wanted = MESSAGES * ENDPOINTS * TRIES

        def jump() -> bool:
            pair.hands.offset = -pair.hands.offset
            return len(receiver.requests) >= wanted and len(steady.requests) >= MESSAGES

        await eventually(jump)
        pair.hands.offset = 30 * HOUR
        await eventually(lambda: [round(skew / HOUR) for skew in pair.skews()] == [30, 0])
        found = {one["id"]: await recorded(pair, app, one["id"]) for one in (*endpoints, limited)}
    ended = time.time()
    # Each try came after its wait, and nothing came twice.
    assert len(shop.came) == MESSAGES * ENDPOINTS
    for (_path, message_id), tries in shop.came.items():
        assert len(tries) == TRIES
        assert tries[0] >= due[message_id] - EARLY_S
    assert all(-EARLY_S - 1 < apart < ended - begun + 1 for apart in shop.apart)
    # What is on record is what was.
    attempts = [one for each in found.values() for one in each]
    assert len(attempts) == wanted + MESSAGES
    assert {one["outcome"] for one in attempts} == {"accepted", "rejected"}
    for one in attempts:
        assert begun - EARLY_S < instant(one["timestamp"]) < ended + EARLY_S
    by_delivery: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in attempts:
        by_delivery[one["endpointId"], one["msgId"]].append(instant(one["timestamp"]))
    for starts in by_delivery.values():
        for early, late in pairwise(sorted(starts)):
            assert late - early > WAIT_S - EARLY_S
    starts = sorted(instant(one["timestamp"]) for one in found[limited["id"]])
    assert all(
        late - early > 1 - EARLY_S for early, late in zip(starts, starts[RATE:], strict=False)
    )
    # Nobody has lost a slot, if only for a moment.
    assert pair.slots() == slots


async def recorded(pair: Pair, app: str, endpoint: str) -> list[dict[str, Any]]:
    """The attempts of an endpoint, once all of them are on record."""
    while True:
        found = await pair.attempts(app, endpoint)
        if sum(one["outcome"] == "accepted" for one in found) == MESSAGES:
            return found
        await asyncio.sleep(0.02)
