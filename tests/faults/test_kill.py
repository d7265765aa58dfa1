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
import msgspec
import pytest

from marketbell.testing import TestReceiver
from support.ledger import Ledger, Show, attempts_on_record, make_endpoints, shower, table
from support.server import Server, running

pytestmark = pytest.mark.alone

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


class Evidence(msgspec.Struct, kw_only=True):
    """What a run leaves behind."""

    starts: list[float]
    """Seconds of each start-up."""
    killed_in_start: int
    took_s: float
    drained_s: float
    """From the last start until nothing was missing."""
    on_record: dict[tuple[str, str], list[str]]
    """Outcomes of the attempts that the server tells of, by route and message."""
    kept: list[str]
    """Ids of the messages that it tells of."""


async def play(folder: Path, kills: int, ledger: Ledger) -> Evidence:
    """Kill so many times under load, and let it drain."""
    server = Server(folder, MARKETBELL_BREAKER_FAILURES="10000")
    up = asyncio.Event()
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
        starts, in_start = await kill(kills, ledger, server, up)
        for worker in workers:
            worker.cancel()
        for end in await asyncio.gather(*workers, return_exceptions=True):
            assert isinstance(end, asyncio.CancelledError), end
        # Keys whose answers were lost are sent once more; then no more is published.
        for key, one in ledger.published.items():
            if not one.ids:
                assert await ledger.post(http, server, application, key)
        ledger.well = True
        drained = await ledger.complete(limit_s=60)
        took = time.monotonic() - begun
        # A clean stop records the rest; what is on record after it is all that there will be.
        assert await server.stop() == 0
        await server.start()
        return Evidence(
            starts=starts,
            killed_in_start=in_start,
            took_s=took,
            drained_s=drained,
            on_record=await attempts_on_record(server, http, application, endpoints),
            kept=[one["id"] async for one in server.listed(http, f"/app/{application}/msg")],
        )


async def kill(
    times: int, ledger: Ledger, server: Server, up: asyncio.Event
) -> tuple[list[float], int]:
    """Kill and start again so many times; seconds of each start, and further kills within starts."""
    chance = random.Random(ledger.seed)
    starts: list[float] = []
    in_start = 0
    for _ in range(times):
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
    return starts, in_start


def judge(ledger: Ledger, evidence: Evidence, show: Show) -> None:
    """Hold what publishers and receivers saw against what the server tells."""
    on_record, kept = evidence.on_record, evidence.kept
    outcomes = Counter(outcome for found in on_record.values() for outcome in found)
    twice = sum(len(one.ids) > 1 for one in ledger.published.values())
    unrecorded = [
        pair for pair, requests in ledger.seen.items() if len(requests) > len(on_record[pair])
    ]
    doubles = ledger.doubles()
    unexcused = [
        pair
        for pair, before, after in doubles
        if not ledger.excused(before, after) and "no_answer" not in on_record[pair]
    ]
    under_way = sum(ledger.under_way())
    rows: list[tuple[str, object]] = [
        ("kills", len(ledger.kills)),
        ("  of them while starting", evidence.killed_in_start),
        ("seconds", f"{evidence.took_s:.1f}"),
        ("start-up, median s", f"{statistics.median(evidence.starts):.2f}"),
        ("start-up, longest s", f"{max(evidence.starts):.2f}"),
        ("drained after the last start, s", f"{evidence.drained_s:.1f}"),
        ("POSTs sent", sum(one.requests for one in ledger.published.values())),
        ("messages accepted", len(kept)),
        ("  accepted twice under one key", twice),
        ("deliveries wanted", len(ledger.wanted())),
        ("  missing", len(ledger.missing())),
        ("requests seen by the receiver", sum(map(len, ledger.seen.values()))),
        ("attempts on record", sum(outcomes.values())),
        *((f"  {outcome}", count) for outcome, count in outcomes.most_common()),
        ("requests without an attempt on record", len(unrecorded)),
        ("sent again after a 200", len(doubles)),
        ("  without a kill to excuse it", len(unexcused)),
        ("under way, or just answered, at all kills", under_way),
    ]
    show(table(f"kill ledger (seed {ledger.seed})", rows))
    # One key is one message, however often it was sent and whatever was killed in between.
    assert not twice
    assert sorted(kept) == sorted({i for one in ledger.published.values() for i in one.ids})
    # Every endpoint got what it wants and nothing else.
    assert not ledger.missing()
    assert set(ledger.seen) == ledger.wanted()
    # For every request there is an attempt, or a claim that was lost.
    assert not unrecorded
    for pair, requests in ledger.seen.items():
        recorded = Counter(on_record[pair])
        answered = sum(one.answered is not None for one in requests)
        assert recorded["accepted"] >= 1
        assert recorded["accepted"] + recorded["rejected"] <= answered
    # Sent twice is only what was under way at a kill, or what the server gave up waiting for.
    assert not unexcused
    assert len(doubles) <= under_way
    assert len(doubles) <= outcomes["unknown"] + outcomes["no_answer"] + outcomes["closed"]


@pytest.mark.timeout(240)
async def test_50_kills_lose_nothing(tmp_path: Path, show: Show) -> None:
    ledger = Ledger(1)
    judge(ledger, await play(tmp_path, 50, ledger), show)


@pytest.mark.kill
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_1000_kills_lose_nothing(tmp_path: Path, seed: int, show: Show) -> None:
    ledger = Ledger(seed)
    judge(ledger, await play(tmp_path, 100, ledger), show)
