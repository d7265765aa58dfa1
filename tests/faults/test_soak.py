"""
Under steady load with failing receivers and short retention, a server stays as it is.

A real process: memory, database, connections and descriptors at the end are those of the middle.
On PostgreSQL days pass in seconds, so that history goes as it does there: a day's tables at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec
import psycopg
import pytest

from marketbell.testing import HANG, OK, Answer, Received, TestReceiver, Then
from support import forgetful
from support.footprint import Footprint, footprint
from support.ledger import Show, shower, table
from support.nodes import NewServer
from support.ports import free_ports
from support.server import Server, running

pytestmark = pytest.mark.alone

TESTS: Final = Path(__file__).parents[1]
RATE: Final = 80
"""Messages a second."""
SELDOM: Final = 320
"""Every so many of them is one for the receivers that hang or are not there: not more than they end."""
KEPT_S: Final = 3.0
"""How long payloads are kept on SQLite; attempts and messages somewhat longer."""
LASTS_DAYS: Final = 30
"""How many days pass in all on PostgreSQL, where they are kept for some whole days."""
SAMPLES: Final = 30

ENDPOINTS: Final = {
    "well": "often",
    "closing": "often",
    "flaky": "often",
    "failing": "often",
    "hanging": "seldom",
    "absent": "seldom",
}
"""The receivers, and the event type that each wants."""


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


class Shop:
    """The receivers, all in one, each with its own path."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        """The messages that the one which is well has got."""
        self.count = 0

    def __call__(self, request: Received) -> Answer:
        self.count += 1
        match request.target:
            case "/well":
                self.taken.add(request.header("webhook-id") or "")
                return OK
            case "/closing":
                return Answer(then=Then.CLOSE)
            case "/flaky":
                return Answer(status=500) if self.count % 5 == 0 else OK
            case "/failing":
                # Now and then it takes one: an endpoint that only fails is left to rest in the end.
                return OK if self.count % 501 == 0 else Answer(status=500, body=b"no" * 200)
            case _:
                return HANG


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the server takes at one moment."""

    process: Footprint
    file: int
    """Bytes of the database and of all that stands beside it."""
    connections: int
    """To receivers, in use or kept."""
    to_database: int
    """Connections to a PostgreSQL."""


class Load:
    """Publishes at a steady rate, and reads and changes things as people do."""

    def __init__(self, server: Server, http: httpx.AsyncClient, application: str) -> None:
        self.often: set[str] = set()
        """The messages of that type which were accepted."""
        self.accepted = 0
        self._server = server
        self._http = http
        self._path = f"/app/{application}"

    async def publish(self, seconds: float) -> None:
        """For so long."""
        begun = time.monotonic()
        number = 0
        while (past := time.monotonic() - begun) < seconds:
            if number > past * RATE:
                await asyncio.sleep(number / RATE - past)
            event_type = "seldom" if number % SELDOM == 0 else "often"
            body = {"eventType": event_type, "payload": {"n": number, "fill": "x" * 500}}
            made = await self._server.call(self._http, "POST", f"{self._path}/msg", body)
            if event_type == "often":
                self.often.add(made["id"])
            self.accepted += 1
            number += 1

    async def look(self) -> None:
        """Once: lists, one message, an application made, changed and deleted."""
        server, http = self._server, self._http
        page = await server.call(http, "GET", f"{self._path}/msg", limit=50)
        await server.call(http, "GET", f"{self._path}/endpoint")
        for message in page["data"][:1]:
            await server.call(http, "GET", f"{self._path}/attempt/msg/{message['id']}")
        made = await server.call(http, "POST", "/app", {"name": "Passing by"})
        body = {"url": f"{server.url}/never"}
        await server.call(http, "POST", f"/app/{made['id']}/endpoint", body)
        await server.call(http, "PATCH", f"/app/{made['id']}", {"name": "Gone soon"})
        await server.call(http, "DELETE", f"/app/{made['id']}")


def database_now(database: str) -> tuple[int, int]:
    """Its bytes, and how many are connected to it."""
    if database.startswith("sqlite"):
        file = Path(database.removeprefix("sqlite:///"))
        return sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*")), 0
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(
            "select pg_database_size(current_database()), (select count(*) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and backend_type = 'client backend')"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


async def sample(server: Server, http: httpx.AsyncClient, database: str) -> Sample:
    metrics = await server.metrics(http)
    file, to_database = await asyncio.to_thread(database_now, database)
    return Sample(
        process=footprint(server.pid),
        file=file,
        connections=int(
            sum(metrics[f'marketbell_sockets{{state="{state}"}}'] for state in ("busy", "idle"))
        ),
        to_database=to_database,
    )


async def prepare(server: Server, http: httpx.AsyncClient, shop: TestReceiver, speed: float) -> str:
    """An application with all the endpoints; its id."""
    for name in sorted(set(ENDPOINTS.values())):
        await server.call(http, "POST", "/event-type", {"name": name, "description": name})
    schedule = " ".join(f"{wait * speed:.0f}ms" for wait in (200, 500))
    policy = {"marketbell.retry-schedule": schedule, "marketbell.timeout": "500ms"}
    body = {"name": "Shop", "metadata": policy}
    application: str = (await server.call(http, "POST", "/app", body))["id"]
    nobody = f"http://127.0.0.1:{next(free_ports())}/"
    for name, event_type in ENDPOINTS.items():
        url = (nobody if name == "absent" else shop.url) + name
        body = {"url": url, "filterTypes": [event_type]}
        await server.call(http, "POST", f"/app/{application}/endpoint", body)
    return application


async def soak(
    new_server: NewServer, database: str, seconds: float
) -> tuple[list[Sample], dict[str, float]]:
    """A steady load for so long: a sample for every thirtieth of it, and the counters at the end."""
    server = new_server(
        PYTHONPATH=str(TESTS),
        MARKETBELL_BREAKER_FAILURES="10000",
        MARKETBELL_IDLE_CONNECTION_TIMEOUT="500ms",
        MARKETBELL_AUTO_DISABLE_AFTER="365d",
    )
    kept_s = KEPT_S if server.alone else seconds * forgetful.DAYS / LASTS_DAYS
    server.program = ("-m", "support.forgetful", str(kept_s))
    speed = 1.0 if server.alone else forgetful.speed(kept_s)
    shop = Shop()
    samples: list[Sample] = []
    async with TestReceiver(shop) as receiver, running(server) as http:
        load = Load(server, http, await prepare(server, http, receiver, speed))
        publishing = asyncio.create_task(load.publish(seconds))
        begun = time.monotonic()
        for place in range(1, SAMPLES + 1):
            wait = begun + place * seconds / SAMPLES - time.monotonic()
            await asyncio.wait([publishing], timeout=max(0.0, wait))
            await load.look()
            samples.append(await sample(server, http, database))
            receiver.requests.clear()
        await publishing
        # Everything that was accepted has come, however much was failing beside it.
        await receiver.wait_until(lambda: shop.taken >= load.often, limit_s=60)
        counters = await server.metrics(http)
        assert counters['marketbell_messages_total{result="accepted"}'] == load.accepted
        assert await server.stop() == 0
    assert shop.taken == load.often
    said = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line for line in said if line["level"] in {"error", "critical"}] == []
    return samples, counters


def judge(
    samples: Sequence[Sample], counters: dict[str, float], seconds: float, show: Show
) -> None:
    """Hold the end against the middle, once retention has caught up with the load."""
    middle, end = samples[len(samples) * 2 // 5 : len(samples) * 3 // 5], samples[-9:]
    memory = [max(one.process.memory for one in part) for part in (middle, end)]
    file = [max(one.file for one in part) for part in (middle, end)]
    # What comes and goes with requests is left out: the least of it is what stays.
    descriptors = [min(one.process.descriptors for one in part) for part in (middle, end)]
    connections = [min(one.connections for one in part) for part in (middle, end)]
    to_database = [max(one.to_database for one in part) for part in (middle, end)]
    threads = [max(one.process.threads for one in part) for part in (middle, end)]
    attempts = {
        outcome: int(
            counters.get(f'marketbell_attempts_total{{dialect="standard",outcome="{outcome}"}}', 0)
        )
        for outcome in ("accepted", "rejected", "no_answer", "closed")
    }
    pruned = {
        kind: int(counters[f'marketbell_pruned_total{{kind="{kind}"}}'])
        for kind in ("payload", "attempt", "message")
    }
    pairs: dict[str, Sequence[object]] = {
        "memory, MB": [f"{one / 1e6:.1f}" for one in memory],
        "files, MB": [f"{one / 1e6:.1f}" for one in file],
        "descriptors": descriptors,
        "connections to receivers": connections,
        "connections to the database": to_database,
        "threads": threads,
    }
    show(
        table(
            f"{seconds:.0f} s of steady load, in the middle and at the end",
            [
                *((name, " ".join(map(str, both))) for name, both in pairs.items()),
                *((f"attempts: {outcome}", count) for outcome, count in attempts.items()),
                *((f"removed: {kind}s", count) for kind, count in pruned.items()),
            ],
        )
    )
    # Everything that is meant to be at work was.
    assert all(attempts[outcome] for outcome in ("accepted", "rejected", "no_answer"))
    assert all(pruned.values())
    assert memory[1] <= memory[0] + 8_000_000
    assert file[1] <= 1.15 * file[0] + 1_000_000
    assert descriptors[1] <= descriptors[0] + 4
    assert connections[1] <= connections[0] + 4
    assert to_database[1] <= to_database[0]
    assert threads[1] <= threads[0] + 1
    assert counters["marketbell_parked_deliveries"] == 0


@pytest.mark.proof
async def test_thirty_seconds_leave_no_trace(
    new_server: NewServer, database: str, show: Show
) -> None:
    judge(*await soak(new_server, database, 30.0), 30.0, show)


@pytest.mark.slow
@pytest.mark.timeout(2_400)
async def test_half_an_hour_leaves_no_trace(
    new_server: NewServer, database: str, show: Show
) -> None:
    judge(*await soak(new_server, database, 1_800.0), 1_800.0, show)
