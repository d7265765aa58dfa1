"""A real server is killed at random instants: nothing accepted is lost, nothing is unaccounted for."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from pathlib import Path
from typing import Final

import apsw
import httpx
import msgspec
import pytest

from marketbell.testing import TestReceiver
from support.door import Door
from support.eventually import PATIENCE_S
from support.kills import Kill, Told, held_in_file, told
from support.ledger import Ledger, Show, attempts_on_record, make_endpoints, shower
from support.server import Server, running
from support.verdict import Evidence, evidence, judge

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


class Lives(msgspec.Struct):
    """How often it was started and killed, and how."""

    kills: list[Kill]
    seconds: list[float]
    """Of each start-up."""
    broken_off: int
    """How often it was killed within one."""

    def rows(self) -> list[tuple[str, object]]:
        """What the ledger shows of it."""
        return [
            ("kills", len(self.kills)),
            ("  of them while starting", self.broken_off),
            ("start-up, median s", f"{statistics.median(self.seconds):.2f}"),
            ("start-up, longest s", f"{max(self.seconds):.2f}"),
        ]


async def play(folder: Path, kills: int, ledger: Ledger) -> tuple[Evidence, Lives]:
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
        lives = await kill(kills, ledger, server, http, up)
        for worker in workers:
            worker.cancel()
        for end in await asyncio.gather(*workers, return_exceptions=True):
            assert isinstance(end, asyncio.CancelledError), end
        # Keys whose answers were lost are sent once more; then no more is published.
        for key, one in ledger.published.items():
            if not one.ids:
                async with asyncio.timeout(PATIENCE_S):
                    while not await ledger.post(http, server, application, key):
                        continue
        ledger.well = True
        drained = await ledger.complete(limit_s=2 * PATIENCE_S)
        took = time.monotonic() - begun
        # A clean stop records the rest; what is on record after it is all that there will be.
        assert await server.stop() == 0
        await server.start()
        found = await evidence(server, http, application, endpoints, took_s=took, drained_s=drained)
        return found, lives


async def kill(
    times: int, ledger: Ledger, server: Server, http: httpx.AsyncClient, up: asyncio.Event
) -> Lives:
    """Kill and start again so many times."""
    chance = random.Random(ledger.seed)
    lives = Lives([], [], 0)
    for _ in range(times):
        # Now and then it lives long enough for a request to time out.
        await asyncio.sleep(chance.uniform(0.02, 2.5 if chance.random() < 0.1 else 0.5))
        said = await told(server, http)
        await asyncio.sleep(chance.uniform(0, 0.02))
        up.clear()
        lives.kills.append(await killed(server, said))
        while chance.random() < 0.1:
            said = Told(time.monotonic())
            await server.spawn()
            await asyncio.sleep(chance.uniform(0, 0.8))
            lives.kills.append(await killed(server, said))
            lives.broken_off += 1
        lives.seconds.append(await server.start())
        up.set()
    return lives


async def killed(server: Server, said: Told) -> Kill:
    """Kill it, and see what it held."""
    await server.kill()
    held = await asyncio.to_thread(held_in_file, server.path)
    return Kill(said, time.monotonic(), held)


def settle(ledger: Ledger, found: Evidence, lives: Lives, show: Show) -> None:
    """The verdict, and that every claim that was lost is on record, once."""
    judge(ledger, lives.kills, found, show, lives.rows())
    held = {claim for kill in lives.kills for claim in kill.held}
    outcomes = [outcome for one in found.on_record.values() for outcome in one]
    assert outcomes.count("unknown") == len(held)


async def test_the_gauges_tell_what_a_kill_leaves_unknown(tmp_path: Path) -> None:
    """An attempt whose answer is not on disk is as much at risk as one that has no answer yet."""
    door, server = Door(), Server(tmp_path)
    async with TestReceiver(door) as receiver, running(server) as http:
        application, endpoints = await make_endpoints(server, http, receiver.url)
        body = {"eventType": "order.created", "payload": {}}
        message = (await server.call(http, "POST", f"/app/{application}/msg", body))["id"]
        await door.wait_for(len(endpoints))
        said = await told(server, http)
        assert (said.in_flight, said.unrecorded) == (len(endpoints), 0)
        other = apsw.Connection(str(server.path))
        other.set_busy_timeout(int(PATIENCE_S * 1000))
        await asyncio.to_thread(other.execute, "begin immediate")
        door.open()
        async with asyncio.timeout(PATIENCE_S):
            while said.in_flight:
                said = await told(server, http)
        assert said.unrecorded == len(endpoints)
        kill = await killed(server, said)
        assert kill.held == {((route, message), 1) for route in endpoints}
        other.close()

        await server.start()
        await receiver.wait_for(2 * len(endpoints), limit_s=PATIENCE_S)
        assert await server.stop() == 0
        await server.start()
        found = await attempts_on_record(server, http, application, endpoints)
        assert {pair: sorted(one) for pair, one in found.items()} == {
            (route, message): ["accepted", "unknown"] for route in endpoints
        }


@pytest.mark.proof
@pytest.mark.timeout(1_200)
async def test_50_kills_lose_nothing(tmp_path: Path, show: Show) -> None:
    ledger = Ledger(1)
    found, lives = await play(tmp_path, 50, ledger)
    settle(ledger, found, lives, show)


@pytest.mark.kill
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_1000_kills_lose_nothing(tmp_path: Path, seed: int, show: Show) -> None:
    ledger = Ledger(seed)
    found, lives = await play(tmp_path, 100, ledger)
    settle(ledger, found, lives, show)
