"""The same on PostgreSQL: with one, two and three nodes, and what claims cost when millions wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from benchmarks import machine
from benchmarks.bench import BATCH, CONCURRENCY, Bench, Pass
from benchmarks.cluster import Cluster
from benchmarks.filling import DUE_LANES, fill_due, fill_waiting
from benchmarks.load import percentile
from benchmarks.postgres import KINDS, Database, server
from benchmarks.processes import receiver
from benchmarks.sink import Sink
from marketbell.clock import SystemClock
from marketbell.store.data_plane import ClaimRequest
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sealing import Box
from marketbell.store.written_store import WriterLimits

if TYPE_CHECKING:
    from support.postgres import PostgresServer

_FLEET: Final = 48
"""Applications with one endpoint each; three nodes have a fair share of so many."""
_PORTS: Final = 16
_NODES: Final = (1, 2, 3)
_FEW: Final = 10_000
_CLAIM: Final = 100
_WARM_CLAIMS: Final = 20
_CLAIMS: Final = 150
_DUE: Final = _CLAIM * (_WARM_CLAIMS + _CLAIMS + 30)


async def on_postgresql(bench: Bench) -> None:
    """All of it on one server; what the scenarios of SQLite found stands beside."""
    with server(bench.options.folder, machine.SERVER_CORE) as it:
        for nodes in _NODES:
            await _ingest(bench, it, nodes)
        await _batch(bench, it)
        await _drain(bench, it)
        await _latency(bench, it)


async def claims(bench: Bench) -> None:
    """What a claim costs PostgreSQL with 10,000 deliveries waiting, and with many."""
    with server(bench.options.folder, machine.SERVER_CORE) as it:
        await _claims(bench, it)


async def _ingest(bench: Bench, it: PostgresServer, nodes: int) -> None:
    scenario = _named("one by one", nodes)
    async with _cluster(bench, scenario, it, nodes) as (target, sink, applications):
        size, kept = target.kept.size(), target.attempts()
        batches, before = await target.batches(), target.database_used()
        result = await bench.measure(
            scenario, target, sink, bench.requests(target, applications),
            concurrency=CONCURRENCY * nodes,
        )  # fmt: skip
        batches, used = await target.batches() - batches, target.database_used()
        used.subtract(before)
        _rate(bench, scenario, "messages in, delivered, recorded", result, ("ingest", result.rate))
        bench.figure(scenario, "time to 202, p50", result.accept_p50_ms, "ms")
        bench.figure(scenario, "time to 202, p99", result.accept_p99_ms, "ms")
        _costs(bench, scenario, result.database, result.messages)
        _queries(bench, scenario, used, batches, nodes)
        if nodes == 1:
            target.kept.execute("checkpoint")
            grown = (target.kept.size() - size) / (target.attempts() - kept)
            bench.figure(scenario, "disk, a message with one delivery", grown, "B")
        bench.values[scenario, "rate"] = result.rate


async def _batch(bench: Bench, it: PostgresServer) -> None:
    scenario = "postgresql, batches"
    async with _cluster(bench, scenario, it, 1) as (target, sink, applications):
        result = await bench.measure(
            scenario, target, sink, bench.batches(target, applications), each=BATCH, concurrency=8
        )
        bench.figure(scenario, "messages accepted", result.accepted_rate, "messages/s",
             ratios=_beside(bench, "batch", "messages accepted"))  # fmt: skip
        _rate(bench, scenario, "accepted, delivered, recorded", result, ("batch", result.rate))
        _costs(bench, scenario, result.database, result.messages)


async def _drain(bench: Bench, it: PostgresServer) -> None:
    scenario, count = "postgresql, drain", bench.options.drained // 4
    async with _cluster(bench, scenario, it, 1) as (target, sink, applications):
        await target.stop()
        bench.say(f"{scenario}: filling the database with {count:,} deliveries")
        await asyncio.to_thread(fill_due, target.kept, applications, count)
        sink.expect(count)
        bench.say(f"{scenario}: measuring")
        await target.start()
        await sink.until(1, within_s=30)
        database, before, begun_with = target.database_used(), target.usage(), sink.count
        target.begin_profile()
        came = await sink.until(count, within_s=120)
        after, used = target.usage(), target.database_used()
        if target.profile is not None:
            await target.end_profile()
            bench.report.add_profile(scenario, target.profile, count)
        if not came or sink.doubled or sink.unique != count:
            bench.fault(f"{scenario}: {sink.unique} of {count} came, {sink.doubled} more than once")
        await _until_recorded(bench, scenario, target, count)
        used.subtract(database)
        bench.figure(
            scenario, "deliveries sent and recorded",
            (sink.count - 1) / (sink.last_at - sink.began_at), "deliveries/s",
            ratios=_beside(bench, "drain", "deliveries sent and recorded"),
        )  # fmt: skip
        sent = sink.count - begun_with
        bench.figure(
            scenario, "the node's CPU per delivery", (after.cpu_s - before.cpu_s) / sent * 1e6, "us",
            ratios=_beside(bench, "drain", "the server's CPU per delivery"),
        )  # fmt: skip
        _costs(bench, scenario, used, sent)


async def _until_recorded(bench: Bench, scenario: str, target: Cluster, count: int) -> None:
    limit = time.monotonic() + 10.0
    recorded = 0
    while recorded < count and time.monotonic() < limit:
        await asyncio.sleep(0.1)
        recorded = await asyncio.to_thread(target.attempts)
    if recorded != count or target.kept.waiting():
        bench.fault(
            f"{scenario}: {recorded} of {count} attempts are on record, {target.kept.waiting()}"
            " deliveries are not finished"
        )


async def _latency(bench: Bench, it: PostgresServer) -> None:
    for nodes in (1, 3):
        scenario = _named("latency", nodes)
        async with _cluster(bench, scenario, it, nodes) as (target, sink, applications):
            request, rate = (
                bench.requests(target, applications),
                bench.values[_named("one by one", nodes), "rate"] / 2,
            )
            delays = await bench.delays(scenario, target, sink, request, rate)
        bench.figure(scenario, "at a rate of", rate, "messages/s")
        for share in (0.5, 0.99):
            name = f"202 to first byte, p{share * 100:.0f}"
            bench.figure(
                scenario, name, percentile(delays.after_202, share), "ms",
                50 if share == 0.99 else None, at_least=False,
            )  # fmt: skip
            name = f"request due to first byte, p{share * 100:.0f}"
            bench.figure(scenario, name, percentile(delays.whole, share), "ms")


async def _claims(bench: Bench, it: PostgresServer) -> None:
    """By the database's own clock and CPU time, with few and with many that wait for tomorrow."""
    found = {}
    for waiting in (_FEW, bench.options.waiting):
        scenario = f"postgresql, {waiting:,} waiting"
        bench.say(f"{scenario}: filling a database")
        database = Database(it)
        try:
            lanes = await asyncio.to_thread(fill_waiting, database, waiting, _DUE)
            bench.say(f"{scenario}: claiming")
            used = await _claimed(bench, scenario, database, lanes)
        finally:
            database.drop()
        took_ms = used["ms claim"] / _CLAIMS
        bench.figure(scenario, f"a claim of {_CLAIM}, the database's own time", took_ms, "ms")
        cpu_ms = used["cpu_s"] * 1e3 / _CLAIMS
        bench.figure(scenario, f"a claim of {_CLAIM}, the database's CPU", cpu_ms, "ms")
        found[waiting] = (took_ms, cpu_ms)
    few, many = found[_FEW], found[bench.options.waiting]
    for name, first, second in zip(("time", "CPU"), few, many, strict=True):
        bench.figure(scenario, f"to {_FEW:,} waiting, {name}", second / first, "times", 2,
             at_least=False)  # fmt: skip


async def _claimed(
    bench: Bench, scenario: str, database: Database, lanes: Sequence[int]
) -> Counter[str]:
    """What so many claims used, after some that make the plans."""
    clock = SystemClock()
    store = PostgresStore(
        PostgresOptions(url=database.url), Box([bytes(32)]), clock, WriterLimits()
    )
    known = dict.fromkeys(lanes, 1)
    seen: set[tuple[int, int]] = set()
    before, lanes_left, wrong = Counter[str](), list(lanes[:DUE_LANES]), 0
    try:
        for number in range(_WARM_CLAIMS + _CLAIMS):
            if number == _WARM_CLAIMS:
                before = database.used()
            now = clock.now()
            claimed = await store.claim(
                ClaimRequest(
                    now=now, lease_until=now + 600_000, limit=_CLAIM, rooms={}, new_room=2,
                    lanes=lanes_left, known=known,
                )
            )  # fmt: skip
            pairs = {(one.message.id, one.endpoint_id) for one in claimed.claims}
            wrong += len(pairs) != _CLAIM or bool(pairs & seen)
            seen |= pairs
            # As a node does: first those that have waited longest for their turn.
            visited = {one.endpoint_id for one in claimed.claims}
            lanes_left = [one for one in lanes_left if one not in visited]
            lanes_left += claimed.backlog.difference(lanes_left)
        if wrong:
            bench.fault(f"{scenario}: {wrong} claims brought too little, or something again")
        used = database.used()
    finally:
        await store.aclose()
    used.subtract(before)
    return used


@asynccontextmanager
async def _cluster(
    bench: Bench, scenario: str, it: PostgresServer, nodes: int
) -> AsyncIterator[tuple[Cluster, Sink, list[str]]]:
    """Nodes that have started on a database of their own, with a fleet of endpoints."""
    database = await asyncio.to_thread(Database, it)
    try:
        async with (
            bench.target(
                scenario, lambda folder, profile: Cluster(folder, database, nodes, profile=profile)
            ) as target,
            receiver(ports=_PORTS) as sink,
        ):
            assert isinstance(target, Cluster)
            await target.start()
            urls = [f"http://127.0.0.1:{sink.ports[n % _PORTS]}/{n}" for n in range(_FLEET)]
            yield target, sink, [application for application, _ in await target.create(urls)]
    finally:
        database.drop()


def _named(what: str, nodes: int) -> str:
    return f"postgresql, {what}, {nodes} node{'s' if nodes > 1 else ''}"


def _beside(bench: Bench, scenario: str, name: str) -> tuple[str, ...]:
    """The figure of SQLite in this run, as a limit that a figure is held against."""
    limit = f"SQLite's {name}"
    bench.limits[limit] = bench.values.get((scenario, name), 0.0)
    return (limit,)


def _rate(bench: Bench, scenario: str, name: str, result: Pass, beside: tuple[str, float]) -> None:
    other, rate = beside
    bench.figure(scenario, name, rate, "messages/s", ratios=_beside(bench, other, name))
    bench.figure(scenario, "the nodes' CPU per message", result.cpu_us, "us",
         ratios=_beside(bench, other, "the server's CPU per message"))  # fmt: skip


def _costs(bench: Bench, scenario: str, used: Counter[str], messages: int) -> None:
    bench.figure(scenario, "the database's CPU per message", used["cpu_s"] / messages * 1e6, "us")
    bench.figure(scenario, "log (WAL) per message", used["wal"] / messages, "B")
    kept = used["query publish"] + used["query both"]
    if kept:
        bench.figure(scenario, "messages in one statement", messages / kept, "")


def _queries(bench: Bench, scenario: str, used: Counter[str], batches: float, nodes: int) -> None:
    """Statements of the hot path: for each group commit, and for a batch from beginning to end."""
    hot = sum(used[f"query {kind}"] for kind in KINDS)
    bench.figure(scenario, "statements per group commit", hot / batches, "", 2, at_least=False)
    whole = 2.0
    if nodes > 1 and used["query claim"]:
        asked = sum(used[f"query {kind}"] for kind in ("claim", "lost", "endpoints"))
        whole += asked / used["query claim"]
    bench.figure(scenario, "statements from acceptance to record, through another node"
                 if nodes > 1 else "statements from acceptance to record", whole, "",
                 3 if nodes > 1 else 2, at_least=False)  # fmt: skip
