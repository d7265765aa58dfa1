"""SIGTERM to a real server: no new work, what is in flight ends, the rest is given back unspent."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from marketbell.testing import HANG, OK, Answer, Received, TestReceiver
from support.ledger import Ledger, attempts_on_record, make_endpoints
from support.server import Server, running

pytestmark = pytest.mark.alone


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


async def test_a_stop_ends_what_is_in_flight_and_gives_back_what_was_not_sent(
    tmp_path: Path,
) -> None:
    slow = Slow(0.4)
    server = Server(tmp_path, MARKETBELL_ENDPOINT_IN_FLIGHT="4")
    async with TestReceiver(slow) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(server, http, receiver.url)
        messages = await publish(server, http, application, 40)
        # Its window has opened and claims wait behind it.
        await receiver.wait_until(lambda: len(slow.came) >= 5)
        begun = time.monotonic()
        assert await server.stop() == 0
        took = time.monotonic() - begun
        at_stop = len(slow.came)
        assert took < 5
        assert max(slow.came) < begun + 0.5
        assert at_stop < 40

        slow.seconds = 0.0
        await server.start()
        await receiver.wait_until(lambda: len(slow.came) >= 40)
        assert await server.stop() == 0
        await server.start()
        found = await attempts_on_record(server, http, application, endpoints)
        assert found == {("all", message): ["accepted"] for message in messages}
        assert len(slow.came) == 40


async def test_what_does_not_end_within_the_bound_is_broken_off_and_comes_again(
    tmp_path: Path,
) -> None:
    slow = Slow(0.0)
    server = Server(tmp_path, MARKETBELL_DRAIN_TIMEOUT="1s", MARKETBELL_ENDPOINT_IN_FLIGHT="4")
    async with TestReceiver(slow) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(server, http, receiver.url)
        first = await publish(server, http, application, 6)
        await receiver.wait_for(6)
        slow.hanging.add("/all")
        messages = await publish(server, http, application, 30)
        await receiver.wait_until(lambda: len(slow.came) == 10)
        begun = time.monotonic()
        assert await server.stop() == 0
        assert 0.9 < time.monotonic() - begun < 6
        assert len(slow.came) == 10

        slow.hanging.clear()
        await server.start()
        await receiver.wait_until(lambda: len(slow.came) == 10 + 30)
        assert await server.stop() == 0
        await server.start()
        found = await attempts_on_record(server, http, application, endpoints)
        outcomes = Counter(tuple(sorted(one)) for one in found.values())
        assert outcomes == {("accepted",): 6 + 26, ("accepted", "unknown"): 4}
        assert {message for _, message in found} == first | messages


@pytest.mark.proof
async def test_a_stop_under_load_leaves_nothing_unknown_and_answers_what_it_accepted(
    tmp_path: Path,
) -> None:
    ledger = Ledger(7, errors=0.05, hangs=0.0)
    server = Server(tmp_path, MARKETBELL_BREAKER_FAILURES="10000")
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
            async with asyncio.timeout(20):
                for _ in range(150):
                    await posted.acquire()
            assert await server.stop() == 0
            stopping = True
            await asyncio.gather(*workers)
            await server.start()
        ledger.well = True
        for key, one in ledger.published.items():
            if not one.ids:
                assert await ledger.post(http, server, application, key)
        await ledger.complete(limit_s=30)
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
