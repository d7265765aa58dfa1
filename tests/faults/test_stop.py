"""
SIGTERM to a real server: no new work, what is in flight ends, the rest is given back unspent.

On PostgreSQL its slots are free at once, too, whatever the lease of a node: the next one, or
another that is there, goes on with what it left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Final

import apsw
import httpx
import psycopg
import pytest

from marketbell.testing import HANG, OK, Answer, Received, TestReceiver
from support.cluster import SLOTS, cluster
from support.eventually import eventually
from support.ledger import Ledger, attempts_on_record, make_endpoints
from support.nodes import NewServer
from support.server import Server, running

LEASED: Final = {"MARKETBELL_NODE_LEASE": "60s"}
"""So long a lease of a node that nothing here becomes free by its end."""
HALF_S: Final = 30.0
"""What takes no longer than that did not wait for it."""
ENDPOINTS: Final = 12
PATIENT: Final = {
    "MARKETBELL_ATTEMPT_TIMEOUT": "120s",
    "MARKETBELL_FIRST_BYTE_TIMEOUT": "120s",
    "MARKETBELL_LEASE": "300s",
    "MARKETBELL_DRAIN_TIMEOUT": "60s",
}
"""So that what is under way stays so until its receiver answers."""
LEFT: Final = {
    "sqlite": ("select count(*) from delivery where state = 'sending'",),
    "postgresql": (
        "select count(*) from delivery where state = 'sending'",
        "select count(*) from slot where node_id is not null",
        "select count(*) from node",
    ),
}
"""What nobody is there to have after a stop: claims, slots, nodes."""


class Slow:
    """A receiver's script that takes its time, and notes when requests come."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.came: list[float] = []
        self.hanging: set[str] = set()
        """Paths that are never answered."""

    async def __call__(self, request: Received) -> Answer:
        self.came.append(time.monotonic())
        if request.target in self.hanging:
            return HANG
        await asyncio.sleep(self.seconds)
        return OK


async def publish(
    server: Server, http: httpx.AsyncClient, application: str, count: int
) -> set[str]:
    """So many messages in one batch for every endpoint but those with filters; their ids."""
    body = {
        "messages": [
            {"eventType": "stock.counted", "payload": {"n": number}} for number in range(count)
        ]
    }
    answer = await server.call(http, "POST", f"/app/{application}/msg/batch", body)
    return {verdict["message"]["id"] for verdict in answer}


class Gate:
    """A receiver's script that answers only once it is open, and notes who comes."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self._open = asyncio.Event()

    async def __call__(self, request: Received) -> Answer:
        self.came.append(request.target)
        await self._open.wait()
        return OK

    def open(self) -> None:
        """Answer all."""
        self._open.set()


def left(database: str) -> list[int]:
    """How much of each there is while no server runs."""
    if database.startswith("sqlite"):
        file = apsw.Connection(database.removeprefix("sqlite:///"))
        try:
            return [int(file.execute(query).get) for query in LEFT["sqlite"]]
        finally:
            file.close()
    with psycopg.connect(database, options="-c search_path=marketbell") as connection:
        return [
            row[0] for query in LEFT["postgresql"] for row in connection.execute(query.encode())
        ]


@pytest.mark.alone
async def test_a_stop_ends_what_is_in_flight_and_gives_back_what_was_not_sent(
    new_server: NewServer, database: str
) -> None:
    slow = Slow(0.4)
    server = new_server(MARKETBELL_ENDPOINT_IN_FLIGHT="4", **LEASED)
    async with TestReceiver(slow) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(server, http, receiver.url)
        messages = await publish(server, http, application, 40)
        # Its window has opened and claims wait behind it.
        await receiver.wait_until(lambda: len(slow.came) >= 5)
        begun, came = time.monotonic(), len(slow.came)
        assert await server.stop() == 0
        took = time.monotonic() - begun
        at_stop = len(slow.came)
        assert took < 20  # a node that waited for its leases would take minutes
        assert at_stop <= came + 4  # what it began before it was told
        assert not any(left(database))

        slow.seconds = 0.0
        await server.start()
        await receiver.wait_until(lambda: len(slow.came) >= 40)
        assert time.monotonic() - begun < HALF_S
        assert await server.stop() == 0
        await server.start()
        found = await attempts_on_record(server, http, application, endpoints)
        assert found == {("all", message): ["accepted"] for message in messages}
        assert len(slow.came) == 40


async def test_what_does_not_end_within_the_bound_is_broken_off_and_comes_again(
    new_server: NewServer, database: str
) -> None:
    slow = Slow(0.0)
    server = new_server(MARKETBELL_DRAIN_TIMEOUT="1s", MARKETBELL_ENDPOINT_IN_FLIGHT="4", **LEASED)
    async with TestReceiver(slow) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(server, http, receiver.url)
        first = await publish(server, http, application, 6)
        await receiver.wait_for(6)
        slow.hanging.add("/all")
        messages = await publish(server, http, application, 30)
        await receiver.wait_until(lambda: len(slow.came) == 10)
        begun = time.monotonic()
        assert await server.stop() == 0
        assert 0.9 < time.monotonic() - begun < 15  # the requests would take twenty
        assert len(slow.came) == 10
        # Four are lost, and nothing else is anybody's.
        assert left(database) == [4, *[0] * (len(left(database)) - 1)]

        slow.hanging.clear()
        await server.start()
        await receiver.wait_until(lambda: len(slow.came) == 10 + 30)
        assert time.monotonic() - begun < HALF_S
        assert await server.stop() == 0
        await server.start()
        found = await attempts_on_record(server, http, application, endpoints)
        outcomes = Counter(tuple(sorted(one)) for one in found.values())
        assert outcomes == {("accepted",): 6 + 26, ("accepted", "unknown"): 4}
        assert {message for _, message in found} == first | messages


async def gone(port: int) -> None:
    """Return once nobody takes connections there any more."""
    with contextlib.suppress(ConnectionError):
        while True:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()


async def test_what_a_slow_client_hands_over_after_the_signal_is_kept_and_not_begun(
    new_server: NewServer, database: str
) -> None:
    server = new_server(**LEASED)
    async with TestReceiver() as receiver, running(server) as http:
        application, endpoints = await make_endpoints(server, http, receiver.url)
        messages = await publish(server, http, application, 1)
        await receiver.wait_for(1)
        body = b'{"eventType":"stock.counted","payload":{"n":2}}'
        head = (
            f"POST /api/v1/app/{application}/msg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            f"Authorization: {server.headers['authorization']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body[:5])
        await server.call(http, "GET", "/app")  # so it has read what came before
        await http.aclose()
        server.terminate()
        await gone(port)
        writer.write(body[5:])
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert await server.wait(HALF_S) == 0
        assert len(receiver.requests) == 1
        assert not any(left(database))
        messages.add(json.loads(answer.partition(b"\r\n\r\n")[2])["id"])

        await server.start()
        await receiver.wait_for(2)
        assert await server.stop() == 0
        await server.start()
        async with httpx.AsyncClient(timeout=30.0, trust_env=False) as again:
            found = await attempts_on_record(server, again, application, endpoints)
        assert found == {("all", message): ["accepted"] for message in messages}


async def test_another_node_goes_on_at_once_with_what_a_stopped_one_leaves(
    migrated_url: str, tmp_path: Path
) -> None:
    gate = Gate()
    async with (
        TestReceiver(gate) as receiver,
        cluster(migrated_url, tmp_path, 2, **LEASED, **PATIENT) as (nodes, http),
    ):
        leaver, other = nodes.nodes
        application = (await other.call(http, "POST", "/app", {"name": "Shop"}))["id"]
        endpoints = {}
        for number in range(ENDPOINTS):
            body = {
                "url": f"{receiver.url}{number}",
                "metadata": {"marketbell.max-in-flight": "1"},
            }
            path = f"/app/{application}/endpoint"
            endpoints[str(number)] = (await other.call(http, "POST", path, body))["id"]
        # One is under way to each endpoint, and others wait behind it.
        messages = await publish(other, http, application, 4)
        await eventually(lambda: len(gate.came) == ENDPOINTS)
        its = int((await leaver.metrics(http))["marketbell_in_flight"])
        assert 0 < its < ENDPOINTS
        leaver.terminate()
        # What nothing of it is under way for is the other's by now; two endpoints may share a slot.
        await nodes.until(
            http,
            "marketbell_slots_owned",
            lambda owned: SLOTS - its <= owned[-1] < SLOTS,
            limit_s=HALF_S,
        )
        assert len(gate.came) == ENDPOINTS
        begun = time.monotonic()
        gate.open()
        assert await leaver.wait(HALF_S) == 0
        await eventually(lambda: len(gate.came) == 4 * ENDPOINTS)
        assert time.monotonic() - begun < HALF_S
        messages |= await publish(other, http, application, 1)
        await eventually(lambda: len(gate.came) == 5 * ENDPOINTS)
        assert await other.stop() == 0
        assert not any(left(migrated_url))
        await other.start()
        found = await attempts_on_record(other, http, application, endpoints)
    assert len(gate.came) == 5 * ENDPOINTS
    assert found == {
        (number, message): ["accepted"] for number in endpoints for message in messages
    }


@pytest.mark.proof
async def test_a_stop_under_load_leaves_nothing_unknown_and_answers_what_it_accepted(
    new_server: NewServer, database: str
) -> None:
    ledger = Ledger(7, errors=0.05, hangs=0.0)
    server = new_server(MARKETBELL_BREAKER_FAILURES="10000", **LEASED)
    async with TestReceiver(ledger) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(
            server, http, receiver.url, retry_schedule="50ms 100ms " + "300ms " * 40
        )
        stopping = False
        posted = asyncio.Semaphore(0)

        async def load() -> None:
            while not stopping:
                await ledger.post(http, server, application, ledger.draft())
                posted.release()

        for _ in range(5):
            stopping = False
            workers = [asyncio.create_task(load()) for _ in range(4)]
            async with asyncio.timeout(60):
                for _ in range(150):
                    await posted.acquire()
            assert await server.stop() == 0
            assert not any(left(database))
            stopping = True
            await asyncio.gather(*workers)
            await server.start()
        ledger.well = True
        for key, one in ledger.published.items():
            if not one.ids:
                assert await ledger.post(http, server, application, key)
        await ledger.complete(limit_s=60)
        assert await server.stop() == 0
        await server.start()
        found = await attempts_on_record(server, http, application, endpoints)
    assert all(len(one.ids) == 1 for one in ledger.published.values())
    assert set(found) == ledger.wanted()
    assert {outcome for one in found.values() for outcome in one} <= {
        "accepted",
        "rejected",
        "closed",
    }
    for pair, requests in ledger.seen.items():
        assert len(requests) <= len(found[pair])
        assert sum(one.good for one in requests) == 1
