"""The scenarios: what is measured, against which target, as a share of which limit."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks import machine, wire
from benchmarks.baselines import limits, parts
from benchmarks.bench import BATCH, Bench
from benchmarks.lists import BOUNDED, p99_of_lists
from benchmarks.load import percentile
from benchmarks.postgresql import claims, on_postgresql
from benchmarks.processes import core, measured, receiver
from benchmarks.seed import Share, seed
from benchmarks.sink import Sink
from benchmarks.target import ORGANIZATION, Target
from marketbell.testing.certificates import Authority

Scenario: TypeAlias = Callable[[Bench], Coroutine[None, None, None]]

_FLEET: Final = 16
"""Applications with one endpoint each, on ports of their own, in most scenarios."""
_PORTS: Final = 200
_HOURS_AHEAD: Final = 6 * 3_600_000
_TLS_KEPT: Final = 20
"""Requests on one connection where kept and new ones are mixed: 5 % are new."""


async def ingest(bench: Bench) -> None:
    """Messages one by one over HTTP: kept on disk, delivered, recorded."""
    async with bench.target("ingest") as target, receiver(ports=_FLEET) as sink:
        applications = await _started(target, sink)
        await _ingest(bench, "ingest", target, sink, applications, 10_000)


async def _ingest(
    bench: Bench, scenario: str, target: Target, sink: Sink, applications: list[str],
    least: float | None, warm_s: float = 1.0,
) -> float:  # fmt: skip
    result = await bench.measure(
        scenario, target, sink, bench.requests(target, applications), warm_s=warm_s
    )
    bench.figure(scenario, "messages in, delivered, recorded", result.rate, "messages/s", least,
         ratios=("load client", "bare server", "bare relay"))  # fmt: skip
    bench.figure(scenario, "the server's CPU per message", result.cpu_us, "us")
    bench.figure(scenario, "time to 202, p50", result.accept_p50_ms, "ms")
    bench.figure(scenario, "time to 202, p99", result.accept_p99_ms, "ms")
    if scenario == "ingest":
        bench.ingest_rate = result.rate
    return result.rate


async def batch(bench: Bench) -> None:
    """Messages in batches of a hundred."""
    async with bench.target("batch") as target, receiver(ports=_FLEET) as sink:
        applications = await _started(target, sink)
        result = await bench.measure(
            "batch", target, sink, bench.batches(target, applications), each=BATCH, concurrency=8
        )
        bench.figure("batch", "messages accepted", result.accepted_rate, "messages/s", 20_000,
             ratios=("load client",))  # fmt: skip
        bench.figure("batch", "accepted, delivered, recorded", result.rate, "messages/s",
             ratios=("bare client", "bare relay"))  # fmt: skip
        bench.figure("batch", "the server's CPU per message", result.cpu_us, "us")


async def drain(bench: Bench) -> None:
    """Deliveries that all wait and are due, sent as fast as the server can."""
    async with bench.target("drain") as target, receiver(ports=_FLEET) as sink:
        key = _with_key(target)
        applications = await _started(target, sink)
        await target.stop()
        count = bench.options.drained
        bench.say(f"drain: filling the database with {count:,} deliveries")
        await seed(target.db, key, ORGANIZATION, [Share(count, applications, 0)])
        sink.expect(count)
        bench.say("drain: measuring")
        await target.start()
        await sink.until(1, within_s=30)
        before, begun_with = target.usage(), sink.count
        target.begin_profile()
        came = await sink.until(count, within_s=120)
        after = target.usage()
        if target.profile is not None:
            await target.end_profile()
            bench.report.add_profile("drain", target.profile, count)
        if not came or sink.doubled or sink.unique != count:
            bench.fault(f"drain: {sink.unique} of {count} arrived, {sink.doubled} more than once")
        rate = (sink.count - 1) / (sink.last_at - sink.began_at)
        bench.figure("drain", "deliveries sent and recorded", rate, "deliveries/s", 30_000,
             ratios=("bare client",))  # fmt: skip
        cpu_us = (after.cpu_s - before.cpu_s) / (sink.count - begun_with) * 1e6
        bench.figure("drain", "the server's CPU per delivery", cpu_us, "us")


async def latency(bench: Bench) -> None:
    """From the 202 to the first byte at the receiver, at half of the rate of `ingest`."""
    async with bench.target("latency") as target, receiver(ports=_FLEET) as sink:
        applications = await _started(target, sink)
        await _latency(bench, "latency", target, sink, applications)


async def _latency(
    bench: Bench, scenario: str, target: Target, sink: Sink, applications: list[str]
) -> None:
    request = bench.requests(target, applications)
    rate = await bench.rate_of(target, sink, request) / 2
    delays = await bench.delays(scenario, target, sink, request, rate)
    bench.figure(scenario, "at a rate of", rate, "messages/s")
    for share in (0.5, 0.99):
        bench.figure(
            scenario, f"202 to first byte, p{share * 100:.0f}",
            percentile(delays.after_202, share), "ms", 50 if share == 0.99 else None, at_least=False,
        )  # fmt: skip
    for share in (0.5, 0.99):
        bench.figure(
            scenario, f"request due to first byte, p{share * 100:.0f}",
            percentile(delays.whole, share), "ms",
        )  # fmt: skip


async def backlog(bench: Bench) -> None:
    """
    `ingest` and `latency` with a million deliveries waiting for others.

    Half of them wait for their retry in some hours, over 1,000 endpoints; half are due, for 8
    endpoints whose receivers never answer.
    """
    count = bench.options.waiting
    async with bench.target("backlog") as target, receiver(ports=_FLEET) as sink:
        key = _with_key(target)
        applications = await _started(target, sink)
        later = await target.create([_url(sink, n, "/later") for n in range(1_000)])
        stuck = await target.create([_url(sink, n, "/hang") for n in range(8)])
        await target.stop()
        shares = [
            Share(count // 2, [one for one, _ in later], _HOURS_AHEAD),
            Share(count - count // 2, [one for one, _ in stuck], 0),
        ]
        begun = time.monotonic()

        def progress(done: int) -> None:
            if done % 100_000 == 0:
                bench.say(f"backlog: {done:,} of {count:,} deliveries stored")

        await seed(
            target.db, key, ORGANIZATION, shares, first_serial=500_000_000, progress=progress
        )
        bench.figure(
            "backlog", "stored beforehand", count / (time.monotonic() - begun), "messages/s"
        )
        await target.start()
        begun = time.monotonic()
        bench.say("backlog: waiting for labels of what was stored")
        await target.followed()
        bench.figure(
            "backlog", "labels written behind", count / (time.monotonic() - begun), "messages/s"
        )
        await _ingest(bench, "backlog", target, sink, applications, 10_000)
        await _latency(bench, "backlog", target, sink, applications)
        bench.figure("backlog", "database", target.db.stat().st_size / 2**20, "MiB")


async def endpoints(bench: Bench) -> None:
    """
    `ingest` and `latency` with 10,000 endpoints on 200 ports, each getting its share.

    Each has had a message before it is measured: the first one reads it from the database.
    """
    count = bench.options.endpoints
    async with bench.target("endpoints") as target, receiver(ports=_PORTS) as sink:
        await target.start()
        bench.say(f"endpoints: making {count:,}")
        made = await target.create([_url(sink, n) for n in range(count)])
        applications = [one for one, _ in made]
        await _ingest(bench, "endpoints", target, sink, applications, 10_000, warm_s=count / 2_500)
        await _latency(bench, "endpoints", target, sink, applications)


async def tls(bench: Bench) -> None:
    """`ingest` to receivers that speak TLS: on kept connections, then with 5 % new ones."""
    authority = Authority()
    context = authority.server_context("127.0.0.1")
    for scenario, close_after in (("tls, kept", 0), (f"tls, 1 in {_TLS_KEPT} new", _TLS_KEPT)):
        async with (
            bench.target(scenario) as target,
            receiver(ports=_FLEET, tls=context, close_after=close_after) as sink,
        ):
            target.extra_ca = authority.write(target.folder)
            arguments = (
                "--port",
                str(sink.ports[0]),
                "--seconds",
                "2",
                "--ca",
                str(target.extra_ca),
            )
            bare = await measured("benchmarks.load", *core(machine.SERVER_CORE), *arguments)
            bench.limits["bare TLS client"] = bare["rate"]
            bench.figure(scenario, "bare TLS client", bare["rate"], "requests/s")
            applications = await _started(target, sink, scheme="https")
            result = await bench.measure(
                scenario, target, sink, bench.requests(target, applications)
            )
            bench.figure(scenario, "messages in, delivered, recorded", result.rate, "messages/s",
                 ratios=("bare TLS client", "bare relay"))  # fmt: skip
            bench.figure(scenario, "the server's CPU per message", result.cpu_us, "us")
            bench.figure(scenario, "connections per message", sink.connections / sink.count, "")


async def fair(bench: Bench) -> None:
    """
    Whether receivers that never answer slow the others down: one with 90 % of all, 1,000 among 10,000.

    All together is 60 % of what the server takes.
    """
    await _fair(bench, "fair, 1 hanging", good=100, bad=1, bad_share=0.9)
    many = bench.options.endpoints
    await _fair(
        bench,
        f"fair, {many // 10:,} hanging",
        good=many - many // 10,
        bad=many // 10,
        bad_share=0.1,
    )


async def _fair(bench: Bench, scenario: str, *, good: int, bad: int, bad_share: float) -> None:
    async with bench.target(scenario) as target, receiver(ports=_FLEET) as sink:
        await target.start()
        fine = [one for one, _ in await target.create([_url(sink, n) for n in range(good)])]
        stuck = [
            one for one, _ in await target.create([_url(sink, n, "/hang") for n in range(bad)])
        ]
        to_fine, to_stuck = bench.requests(target, fine), bench.requests(target, stuck)
        rate = await bench.rate_of(target, sink, to_fine) * 0.6
        share = 1 - bad_share
        alone = await bench.delays(scenario, target, sink, to_fine, rate * share)

        def is_good(number: int) -> bool:
            return int((number + 1) * share) > int(number * share)

        def request(number: int) -> bytes:
            if is_good(number):
                return _renumbered(to_fine, int(number * share), number)
            return _renumbered(to_stuck, number - int(number * share), number)

        beside = await bench.delays(scenario, target, sink, request, rate, counts=is_good)
        alone_p95, beside_p95 = percentile(alone.whole, 0.95), percentile(beside.whole, 0.95)
        bench.figure(scenario, "at a rate in all of", rate, "messages/s")
        bench.figure(scenario, "the others' request due to first byte alone, p95", alone_p95, "ms")
        bench.figure(scenario, "beside the hanging, p95", beside_p95, "ms",
             max(2 * alone_p95, 5.0), at_least=False)  # fmt: skip


async def postgresql(bench: Bench) -> None:
    """
    The same on PostgreSQL, beside what SQLite does in this run: with one, two and three nodes.
    """
    measured_already = {scenario for scenario, _ in bench.values}
    for scenario in (ingest, batch, drain):
        if scenario.__name__ not in measured_already:
            await scenario(bench)
    await on_postgresql(bench)


async def lists(bench: Bench) -> None:
    """The p99 of a page of each list with 10,000 messages kept, and with many; asked of the store."""
    few, many = 10_000, bench.options.waiting
    folder = Path(tempfile.mkdtemp(prefix="marketbell-bench-", dir=bench.options.folder))
    try:
        found = {}
        for count in (few, many):
            bench.say(f"lists: filling a database with {count:,} messages")
            found[count] = await p99_of_lists(folder, count)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)
    for name, before in found[few].items():
        p99 = found[many][name]
        bench.figure("lists", f"{name}: p99", p99, "ms", 50, at_least=False)
        # Below a millisecond the machine's own noise is larger than either.
        ratio = p99 / max(before, 1.0)
        bench.figure("lists", f"{name}: to {few:,} messages", ratio, "times",
             None if name in BOUNDED else 3, at_least=False)  # fmt: skip


def _renumbered(request: Callable[[int], bytes], turn: int, serial: int) -> bytes:
    """The request whose turn it is, with another serial number in its payload."""
    old = b"%09d" % turn
    return request(turn).replace(wire.SERIAL + old, wire.SERIAL + b"%09d" % serial)


async def _started(target: Target, sink: Sink, scheme: str = "http") -> list[str]:
    await target.start()
    urls = [f"{scheme}://127.0.0.1:{sink.ports[n % len(sink.ports)]}/{n}" for n in range(_FLEET)]
    return [application for application, _ in await target.create(urls)]


def _url(sink: Sink, number: int, path: str = "") -> str:
    return f"http://127.0.0.1:{sink.ports[number % len(sink.ports)]}{path}/{number}"


def _with_key(target: Target) -> str:
    """Give the server a secrets key that we know, so that we can write into its database."""
    key = base64.b64encode(os.urandom(32)).decode()
    target.environment["MARKETBELL_SECRETS_KEY"] = key
    return key


SCENARIOS: Final[Mapping[str, Scenario]] = {
    one.__name__: one
    for one in (
        limits,
        ingest,
        batch,
        drain,
        latency,
        backlog,
        endpoints,
        tls,
        fair,
        lists,
        parts,
        postgresql,
        claims,
    )
}
