"""A real server is killed at random instants: nothing accepted is lost, nothing is unaccounted for."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Final

import httpx
import pytest

from marketbell.testing import TestReceiver
from support.ledger import Ledger, Show, attempts_on_record, make_endpoints, shower, table
from support.server import Server, running

SCHEDULE: Final = "100ms 200ms 500ms " + "1s " * 60
WORKERS: Final = 4


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


async def publish(
    ledger: Ledger, http: httpx.AsyncClient, server: Server, application: str, up: asyncio.Event
) -> None:
    """Publish message after message, each again and again until it is accepted; some once more later."""
    before: list[str] = []
    while True:
        key = ledger.draft()
        while not await ledger.post(http, server, application, key):
            await up.wait()
            await asyncio.sleep(0.01)
        before.append(key)
        if ledger.chance.random() < 0.05:
            await ledger.post(http, server, application, ledger.chance.choice(before))
        await asyncio.sleep(ledger.chance.random() * 0.004)


async def play(folder: Path, kills: int, seed: int) -> list[str]:
    """Kill so many times under load, let it drain, and hold the ledger against the server."""
    chance = random.Random(seed)
    ledger = Ledger(seed)
    server = Server(folder, MARKETBELL_BREAKER_FAILURES="10000")
    up = asyncio.Event()
    starts: list[float] = []
    in_start = 0
    begun = time.monotonic()
    async with TestReceiver(ledger) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(
            server, http, receiver.url, retry_schedule=SCHEDULE.strip(), timeout="1s"
        )
        up.set()
        workers = [
            asyncio.create_task(publish(ledger, http, server, application, up))
            for _ in range(WORKERS)
        ]
        for _ in range(kills):
            # Now and then it lives long enough for a request to time out.
            await asyncio.sleep(chance.uniform(0.02, 2.5 if chance.random() < 0.1 else 0.5))
            up.clear()
            await server.kill()
            ledger.killed()
            while chance.random() < 0.1:
                await server.spawn()
                await asyncio.sleep(chance.uniform(0, 0.8))
                await server.kill()
                ledger.killed()
                in_start += 1
            starts.append(await server.start())
            up.set()
        # Keys whose answers were lost are sent until they are answered; then no more is published.
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for key, one in ledger.published.items():
            if not one.ids:
                assert await ledger.post(http, server, application, key)
        ledger.well = True
        drained = await ledger.complete(limit_s=60)
        published = time.monotonic() - begun
        # A clean stop records the rest; what is on record after it is all that there will be.
        assert await server.stop() == 0
        await server.start()
        on_record = await attempts_on_record(server, http, application, endpoints)
        kept = [one["id"] async for one in server.listed(http, f"/app/{application}/msg")]
        metrics = await server.metrics(http)

    check(ledger, on_record, kept)
    assert metrics["marketbell_parked_deliveries"] == 0
    outcomes = Counter(outcome for found in on_record.values() for outcome in found)
    requests = sum(len(one) for one in ledger.seen.values())
    return table(
        f"kill ledger (seed {seed})",
        [
            ("kills", kills + in_start),
            ("  of them while starting", in_start),
            ("seconds", f"{published:.1f}"),
            ("start-up, median s", f"{statistics.median(starts):.2f}"),
            ("start-up, longest s", f"{max(starts):.2f}"),
            ("drained after the last start, s", f"{drained:.1f}"),
            ("POSTs sent", sum(one.requests for one in ledger.published.values())),
            ("messages accepted", len(kept)),
            ("  accepted twice under one key", 0),
            ("deliveries wanted", len(ledger.wanted())),
            ("  missing", len(ledger.missing())),
            ("requests seen by the receiver", requests),
            ("attempts on record", sum(outcomes.values())),
            *((f"  {outcome}", count) for outcome, count in outcomes.most_common()),
            ("requests without an attempt on record", 0),
            ("sent again after a 200", len(ledger.doubles())),
            ("  under way or just answered at all kills", sum(ledger.under_way())),
        ],
    )


def check(ledger: Ledger, on_record: dict[tuple[str, str], list[str]], kept: list[str]) -> None:
    """Hold what publishers and receivers saw against what the server tells."""
    # One key is one message, however often it was sent and whatever was killed in between.
    assert all(len(one.ids) == 1 for one in ledger.published.values())
    assert set(kept) == {message_id for one in ledger.published.values() for message_id in one.ids}
    assert len(kept) == len(set(kept))
    # Every endpoint got what it wants and nothing else.
    assert not ledger.missing()
    assert set(ledger.seen) == ledger.wanted()
    # For every request there is an attempt, or a claim that was lost.
    unrecorded = {
        pair: (len(requests), on_record[pair])
        for pair, requests in ledger.seen.items()
        if len(requests) > len(on_record[pair])
    }
    assert not unrecorded
    for pair, requests in ledger.seen.items():
        outcomes = Counter(on_record[pair])
        answered = sum(one.answered is not None for one in requests)
        assert outcomes["accepted"] + outcomes["rejected"] <= answered
        assert outcomes["accepted"] >= 1
    # Sent twice is only what was under way at a kill, or what the server gave up waiting for.
    doubles = ledger.doubles()
    unexcused = [
        pair
        for pair, before, after in doubles
        if not ledger.excused(before, after) and "no_answer" not in on_record[pair]
    ]
    assert not unexcused
    assert len(doubles) <= sum(ledger.under_way())
    outcomes = Counter(outcome for found in on_record.values() for outcome in found)
    assert len(doubles) <= outcomes["unknown"] + outcomes["no_answer"] + outcomes["closed"]


@pytest.mark.timeout(240)
async def test_50_kills_lose_nothing(tmp_path: Path, show: Show) -> None:
    show(await play(tmp_path, 50, seed=1))


@pytest.mark.kill
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_1000_kills_lose_nothing(tmp_path: Path, seed: int, show: Show) -> None:
    show(await play(tmp_path, 100, seed=seed))
