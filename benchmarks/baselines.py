"""What the scenarios are held against, and the parts of the server on their own."""

from __future__ import annotations

import asyncio
import time

from benchmarks import machine, wire
from benchmarks.bench import CONCURRENCY, Bench
from benchmarks.load import Load
from benchmarks.processes import child, core, measured, receiver


async def limits(bench: Bench) -> None:
    """What the load client, a bare server and a bare client can do; all ratios refer to these."""
    seconds = min(bench.options.seconds, 3.0)
    server_core = core(machine.SERVER_CORE)
    bench.say("limits: the load client alone")
    async with child("benchmarks.sink", *server_core) as ports:
        _limit(bench, "load client", await _bare_load(ports[0], seconds))
    bench.say("limits: a bare server")
    async with child("benchmarks.bare", *server_core) as ports:
        _limit(bench, "bare server", await _bare_load(ports[0], seconds))
    async with receiver() as sink:
        bench.say("limits: a bare client")
        arguments = ("--port", str(sink.ports[0]), "--seconds", str(seconds))
        figures = await measured("benchmarks.load", *server_core, *arguments)
        _limit(bench, "bare client", figures["rate"], figures["cpu_us"])
        bench.say("limits: a bare relay")
        async with child("benchmarks.bare", *server_core, "--relay", str(sink.ports[0])) as ports:
            sink.expect(0)
            begun = time.monotonic()
            await _bare_load(ports[0], seconds)
            await asyncio.sleep(0.2)
            _limit(bench, "bare relay", sink.count / (sink.last_at - begun))


async def _bare_load(port: int, seconds: float) -> float:
    requests = wire.Requests(f"127.0.0.1:{port}", "/", token="x" * 180)

    def request(number: int) -> bytes:
        return requests.request(b'{"eventType":"order.paid","payload":%b}' % wire.payload(number))

    load = Load("127.0.0.1", port, request, concurrency=CONCURRENCY)
    await load.connect()
    await load.closed(0.3)
    outcome = await load.closed(seconds)
    await load.aclose()
    return outcome.rate


def _limit(bench: Bench, name: str, rate: float, cpu_us: float = 0.0) -> None:
    bench.limits[name] = rate
    bench.figure("limits", name, rate, "requests/s")
    if cpu_us:
        bench.figure("limits", f"{name}, CPU per request", cpu_us, "us")


async def parts(bench: Bench) -> None:
    """Parts of the server on their own."""
    seconds = ("--seconds", str(min(bench.options.seconds, 3.0)))
    server_core = core(machine.SERVER_CORE)
    async with receiver() as sink:
        bench.say("parts: the HTTP client")
        port = ("--port", str(sink.ports[0]))
        client = await measured("benchmarks.components", "client", *server_core, *port, *seconds)
        bench.figure(
            "parts",
            "HTTP client alone",
            client["rate"],
            "requests/s",
            ratios=("bare client",),
        )
        bench.figure("parts", "HTTP client, CPU per request", client["cpu_us"], "us")
    bench.say("parts: the store")
    folder = ("--folder", str(bench.options.folder))
    store = await measured("benchmarks.components", "store", *server_core, *seconds, *folder)
    bench.figure("parts", "store alone: kept, then recorded", store["rate"], "messages/s")
    bench.figure("parts", "store, CPU per message", store["cpu_us"], "us")
    bench.figure("parts", "store, rows per commit", store["rows_per_commit"], "")
    bench.figure("parts", "store, one commit", store["commit_ms"], "ms")
    bench.figure("parts", "store, bytes per message", store["bytes_per_message"], "B")
    bench.say("parts: dialects and observer")
    for name in ("render", "observe"):
        figures = await measured("benchmarks.components", name, *server_core, *seconds)
        for what, value in figures.items():
            bench.figure("parts", f"{name} {what.removesuffix('_us')}", value, "us")
