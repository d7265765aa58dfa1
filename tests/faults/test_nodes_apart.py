"""A node that cannot reach the database, while the others can: they take over, and it does no harm when it is back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from marketbell.testing import OK, Answer, Received, TestReceiver
from support.cluster import cluster
from support.eventually import eventually
from support.proxy import Line, TcpProxy
from support.server import Server

ENDPOINTS: Final = 16
LIMIT_S: Final = 60.0
SETTINGS: Final = {
    "MARKETBELL_NODE_LEASE": "4s",
    "MARKETBELL_NODE_HEARTBEAT": "200ms",
    # The shop keeps its callers waiting for a lease and a statement's time-out at least.
    "MARKETBELL_ATTEMPT_TIMEOUT": "90s",
    "MARKETBELL_FIRST_BYTE_TIMEOUT": "90s",
    "MARKETBELL_LEASE": "5m",
}


class Shop:
    """A receiver's script that keeps its callers waiting until it is opened; who came, by path."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self._open = asyncio.Event()

    async def __call__(self, request: Received) -> Answer:
        self.came[request.target] += 1
        await self._open.wait()
        return OK

    def open(self) -> None:
        """Answer all."""
        self._open.set()


async def make(server: Server, http: httpx.AsyncClient, url: str) -> tuple[str, list[str]]:
    """An application with ENDPOINTS endpoints, each a path of the receiver; their ids."""
    await server.call(http, "POST", "/event-type", {"name": "a.b", "description": "a"})
    application = (await server.call(http, "POST", "/app", {"name": "Shop"}))["id"]
    path = f"/app/{application}/endpoint"
    made = [
        await server.call(http, "POST", path, {"url": f"{url}{number}"})
        for number in range(ENDPOINTS)
    ]
    return application, [one["id"] for one in made]


async def publish(
    server: Server, http: httpx.AsyncClient, application: str, *, patient: bool = False
) -> str:
    """A message for all of them; its id. Who is patient asks again after a 503."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            answer = await http.post(
                f"{server.url}/api/v1/app/{application}/msg",
                headers=server.headers,
                json={"eventType": "a.b", "payload": {"n": 1}},
            )
            if not patient or answer.status_code != 503:
                assert answer.status_code == 202, answer.text
                return str(answer.json()["id"])
            assert answer.json()["code"] == "unavailable", answer.text  # surely not kept
            await asyncio.sleep(0.1)


async def refuses(server: Server, http: httpx.AsyncClient, application: str) -> None:
    """It does not accept a message, and says when to come again."""
    answer = await http.post(
        f"{server.url}/api/v1/app/{application}/msg",
        headers=server.headers,
        json={"eventType": "a.b", "payload": {"n": 1}},
    )
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] in {"unavailable", "outcome_unknown"}


async def outcomes(
    server: Server, http: httpx.AsyncClient, application: str, message: str
) -> Counter[str]:
    """What the attempts on record of a message came to."""
    path = f"/app/{application}/attempt/msg/{message}"
    return Counter([one["outcome"] async for one in server.listed(http, path)])


@contextlib.contextmanager
def cut_off(proxy: TcpProxy, how: str) -> Iterator[None]:
    """What goes through the proxy to the database gets nowhere for a while."""
    if how == "refused":
        proxy.refuse()
        yield
        proxy.admit()
    else:
        proxy.put(Line(stalled=True))
        yield
        proxy.put(Line())


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("stalled", marks=pytest.mark.proof),
        pytest.param("refused", marks=pytest.mark.slow),
    ],
)
async def test_others_take_over_and_what_it_knows_is_kept(
    migrated_url: str, tmp_path: Path, how: str
) -> None:
    shop = Shop()
    async with (
        TestReceiver(shop) as receiver,
        cluster(migrated_url, tmp_path, 2, **SETTINGS) as (nodes, http),
    ):
        with TcpProxy.before(migrated_url) as proxy:
            (apart,) = await nodes.start(1, MARKETBELL_DB=proxy.url(migrated_url))
            await nodes.settled(http, limit_s=LIMIT_S)
            first = nodes.nodes[0]
            application, _ = await make(first, http, receiver.url)
            message = await publish(first, http, application)
            await eventually(lambda: shop.came.total() == ENDPOINTS)
            its = int((await apart.metrics(http))["marketbell_in_flight"])
            assert 0 < its < ENDPOINTS
            with cut_off(proxy, how):
                # What it had under way is sent once more by those that have its slots now.
                await eventually(lambda: shop.came.total() == ENDPOINTS + its)
                await refuses(apart, http, application)
                shop.open()
                # The others serve its endpoints, and it sends nothing.
                second = await publish(first, http, application)
                await eventually(lambda: shop.came.total() == 2 * ENDPOINTS + its)
            # Nothing is stale of it when it is back: what it knows is kept as an attempt.
            async with asyncio.timeout(LIMIT_S):
                while True:
                    found = await outcomes(first, http, application, message)
                    if found["accepted"] == ENDPOINTS + its:
                        break
                    await asyncio.sleep(0.05)
            assert found["unknown"] in {0, its}
            await nodes.settled(http, limit_s=LIMIT_S)
            # A connection that was refused is tried again within a second.
            third = await publish(apart, http, application, patient=True)
            await eventually(lambda: shop.came.total() == 3 * ENDPOINTS + its)
            for later in (second, third):
                assert (await outcomes(first, http, application, later)).keys() <= {"accepted"}
            assert max(shop.came.values()) <= 4
            assert await asyncio.gather(*(nodes.stop(number) for number in range(3))) == [0, 0, 0]
            assert shop.came.total() == 3 * ENDPOINTS + its
