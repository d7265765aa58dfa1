"""`marketbell serve --workers` and `--role`: several processes as one server, and nodes that do a part."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from marketbell.testing import TestReceiver
from support.children import children_of, gone
from support.cluster import QUICK, Cluster
from support.eventually import PATIENCE_S
from support.server import Server

SLOTS = "marketbell_slots_owned"
ATTEMPTS = 'marketbell_attempts_total{dialect="standard",outcome="accepted"}'


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_keepalive_connections=0)  # so that any worker may get a request
    async with httpx.AsyncClient(timeout=30.0, trust_env=False, limits=limits) as client:
        yield client


@pytest.fixture
async def nodes(migrated_url: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(migrated_url, tmp_path, **QUICK)
    yield made
    await made.clear()


async def until_whole(nodes: Cluster, http: httpx.AsyncClient) -> None:
    """All slots are served, as the page of metrics tells of all workers together."""
    await nodes.until(http, SLOTS, lambda values: values == [1024.0])


async def shop(server: Server, http: httpx.AsyncClient, *urls: str) -> str:
    app = f"/app/{(await server.call(http, 'POST', '/app', {'name': 'Shop'}))['id']}"
    for url in urls:
        await server.call(http, "POST", f"{app}/endpoint", {"url": url})
    return app


async def test_workers_are_one_server_and_a_dead_one_is_started_again(
    nodes: Cluster, http: httpx.AsyncClient
) -> None:
    (server,) = await nodes.start(1, MARKETBELL_WORKERS="3", MARKETBELL_LOG_LEVEL="info")
    workers = set(children_of(server.pid))
    assert len(workers) == 3
    async with TestReceiver() as receiver:
        app = await shop(server, http, *(f"{receiver.url}{n}" for n in range(6)))
        body = {"eventType": "a.b", "payload": {}}
        for _ in range(10):
            await server.call(http, "POST", f"{app}/msg", body)
        await receiver.wait_for(60)
        await nodes.until(http, 'marketbell_messages_total{result="accepted"}', [10.0].__eq__)
        # All of it is on record: nothing is lost with who dies.
        await nodes.until(http, ATTEMPTS, [60.0].__eq__)
        await nodes.until(http, "marketbell_unrecorded_attempts", [0.0].__eq__)
        await until_whole(nodes, http)
        assert (await server.metrics(http))["marketbell_nodes"] == 3.0
        os.kill(min(workers), signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while len(now := set(children_of(server.pid))) < 3 or now == workers:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        await until_whole(nodes, http)
        # What the dead one had counted still counts, but for the last second.
        text = (await http.get(f"{server.url}/metrics")).text
        assert text.count("# TYPE marketbell_attempts_total counter") == 1
        await server.call(http, "POST", f"{app}/msg", body)
        await receiver.wait_for(66)
    begun = time.monotonic()
    assert await server.stop() == 0
    assert time.monotonic() - begun < 20  # and not for its leases
    log = server.log.read_text().splitlines()
    assert all(line.startswith("{") and line.endswith("}") for line in log)
    assert sum("a worker has ended; it is started again" in line for line in log) == 1
    assert not any("claims_lost" in line for line in log)


async def test_workers_that_cannot_begin_end_with_the_reason(
    postgres_url: str, tmp_path: Path
) -> None:
    server = Cluster(postgres_url, tmp_path)._node(0, {"MARKETBELL_WORKERS": "2"})
    await server.spawn()
    assert await server.wait(60) == 3
    assert "run `marketbell migrate`" in server.log.read_text()


async def test_workers_end_with_a_parent_that_was_killed(
    nodes: Cluster, http: httpx.AsyncClient
) -> None:
    (server,) = await nodes.start(1, MARKETBELL_WORKERS="2")
    workers = children_of(server.pid)
    await server.kill()
    end = time.monotonic() + PATIENCE_S
    while not all(map(gone, workers)):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_an_api_node_accepts_and_a_worker_delivers(
    nodes: Cluster, http: httpx.AsyncClient
) -> None:
    (api,) = await nodes.start(1, MARKETBELL_ROLE="api")
    async with TestReceiver() as receiver:
        app = await shop(api, http, receiver.url)
        made = await api.call(http, "POST", f"{app}/msg", {"eventType": "a.b", "payload": {}})
        assert await nodes.gauge(http, SLOTS) == [0.0]
        (worker,) = await nodes.start(1, MARKETBELL_ROLE="worker")
        await receiver.wait_for(1)
        assert await nodes.gauge(http, SLOTS) == [0.0, 1024.0]
        # It is told: it looks by itself a second after it has looked, which was just before.
        quickest = 60.0
        for count in range(2, 8):
            begun = time.monotonic()
            await api.call(http, "POST", f"{app}/msg", {"eventType": "a.b", "payload": {}})
            await receiver.wait_for(count)
            quickest = min(quickest, time.monotonic() - begun)
        assert quickest < 0.7
        assert (await http.get(f"{worker.url}/api/v1/health")).status_code == 200
        for path in (f"/api/v1{app}", "/docs", "/portal/login", "/"):
            answer = await http.get(f"{worker.url}{path}", headers=worker.headers)
            assert answer.status_code == 404, path
        path = f"{app}/attempt/msg/{made['id']}"
        async with asyncio.timeout(PATIENCE_S):
            attempts: list[dict[str, str]] = []
            while not attempts:
                attempts = (await api.call(http, "GET", path))["data"]
        assert [one["outcome"] for one in attempts] == ["accepted"]
    assert await api.stop() == 0
    assert await worker.stop() == 0
