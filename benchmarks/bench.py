"""One run of the benchmarks: its options, its child processes, and a measured pass over a server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import wire
from benchmarks.load import Load, Outcome
from benchmarks.report import Figure, Report
from benchmarks.sink import Sink
from benchmarks.target import Target

CONCURRENCY: Final = 64
BATCH: Final = 100
_SETTLE_S: Final = 60.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller of a run may choose."""

    seconds: float = 5.0
    """How long each measured pass lasts."""
    waiting: int = 1_000_000
    endpoints: int = 10_000
    drained: int = 200_000
    profile: bool = False
    keep: bool = False
    """Leave the databases and logs where they are, for a look at them."""
    folder: Path = Path(tempfile.gettempdir())


class Pass(msgspec.Struct, frozen=True):
    """What one measured pass over a running server gave."""

    messages: int
    rate: float
    """Messages accepted, delivered and recorded per second, until the last one was delivered."""
    accepted_rate: float
    """Messages accepted per second, while they were being sent."""
    cpu_us: float
    """The server's CPU time per message."""
    accept_p50_ms: float
    accept_p99_ms: float
    database: Counter[str]
    """What the database used meanwhile, where it is not within the server."""


class Delays(msgspec.Struct, frozen=True):
    """How long messages took, in milliseconds, as sorted values."""

    after_202: array[float]
    """From the 202 to the first byte at the receiver; 0 where that was there before the 202."""
    whole: array[float]
    """From when the request should have been sent to the first byte at the receiver."""


class Bench:
    """What the scenarios of one run share."""

    def __init__(self, options: Options, report: Report, say: Callable[[str], None]) -> None:
        self.options = options
        self.report = report
        self.say = say
        self.limits: dict[str, float] = {}
        """Rates of the load client, the bare server and the bare client, of this run."""
        self.ingest_rate = 0.0
        """What the scenario `ingest` reached; others load at a share of it."""
        self.values: dict[tuple[str, str], float] = {}
        """Figures so far, by scenario and name."""
        self.rss_peak = 0
        """Of all servers of this run, in bytes."""

    @contextlib.asynccontextmanager
    async def target(
        self,
        scenario: str,
        make: Callable[[Path, Path | None], Target] = lambda folder, profile: Target(
            folder, profile=profile
        ),
    ) -> AsyncIterator[Target]:
        """
        A server that is not started yet, on a database of its own.

        `make` gets its folder and, if it is to be profiled, where the profile goes.
        """
        folder = Path(tempfile.mkdtemp(prefix="marketbell-bench-", dir=self.options.folder))
        profile = folder / "profile.json" if self.options.profile else None
        target = make(folder, profile)
        self.say(f"{scenario}: starting a server")
        try:
            yield target
        finally:
            code = await target.stop()
            if code != 0:
                self.fault(f"{scenario}: the server ended with exit code {code}")
            self.rss_peak = max(self.rss_peak, target.rss_peak)
            if self.options.keep:
                self.say(f"{scenario}: its database and log are in {folder}")
            else:
                await asyncio.to_thread(shutil.rmtree, folder)

    def fault(self, text: str) -> None:
        """Note something that must not be."""
        self.report.faults.append(text)
        self.say(text)

    def figure(
        self, scenario: str, name: str, value: float, unit: str, target: float | None = None,
        *, at_least: bool = True, ratios: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Note one figure, with its ratios to those of the limits that were measured."""
        known = {one: value / self.limits[one] for one in ratios if self.limits.get(one)}
        self.values[scenario, name] = value
        self.report.figures.append(
            Figure(
                scenario=scenario, name=name, value=value, unit=unit, target=target,
                at_least=at_least, ratios=known,
            )
        )  # fmt: skip

    def requests(
        self, target: Target, applications: Sequence[str], first: int = 0
    ) -> Callable[[int], bytes]:
        """Makes the request with a number: one message, to the applications in turn."""
        host, port = target.address
        makers = [
            wire.Requests(f"{host}:{port}", f"/api/v1/app/{one}/msg", token=target.token).request
            for one in applications
        ]
        count = len(makers)

        def request(number: int) -> bytes:
            body = b'{"eventType":"order.paid","payload":%b}' % wire.payload(first + number)
            return makers[number % count](body)

        return request

    def batches(self, target: Target, applications: Sequence[str]) -> Callable[[int], bytes]:
        """Makes the request with a number: a batch of messages, to the applications in turn."""
        host, port = target.address
        makers = [
            wire.Requests(
                f"{host}:{port}", f"/api/v1/app/{one}/msg/batch", token=target.token
            ).request
            for one in applications
        ]
        count = len(makers)

        def request(number: int) -> bytes:
            messages = b",".join(
                b'{"eventType":"order.paid","payload":%b}' % wire.payload(number * BATCH + place)
                for place in range(BATCH)
            )
            return makers[number % count](b'{"messages":[%b]}' % messages)

        return request

    async def measure(
        self,
        scenario: str,
        target: Target,
        sink: Sink,
        request: Callable[[int], bytes],
        *,
        each: int = 1,
        concurrency: int = CONCURRENCY,
        warm_s: float = 1.0,
    ) -> Pass:
        """
        Load the server for the run's seconds, with `each` messages in a request, and check what came.

        The server is warm when it begins: connections stand, its windows are open.
        """
        seconds = self.options.seconds
        sink.expect(int((seconds + warm_s) * 60_000))
        load = _load(target, request, concurrency)
        await load.connect()
        before_warm = await asyncio.to_thread(target.attempts)
        warm = await load.closed(warm_s)
        warmed = warm.statuses.get(202, 0) * each
        await sink.until(warmed, within_s=_SETTLE_S)
        self.say(f"{scenario}: measuring for {seconds:g} s")
        target.begin_profile()
        database_before = target.database_used()
        before, begun = target.usage(), time.monotonic()
        outcome = await load.closed(seconds)
        messages = outcome.statuses.get(202, 0) * each
        if not messages:
            raise RuntimeError(f"no message was accepted: {outcome.statuses}")
        came = await sink.until(warmed + messages, within_s=_SETTLE_S)
        after = target.usage()
        database = target.database_used()
        database.subtract(database_before)
        if target.profile is not None:
            await target.end_profile()
            self.report.add_profile(scenario, target.profile, messages)
        await load.aclose()
        self._check(scenario, sink, outcome, warmed + messages, came=came)
        await self._check_recorded(scenario, target, warmed + messages, before_warm)
        return Pass(
            messages=messages,
            rate=messages / (max(sink.last_at, begun + outcome.seconds) - begun),
            accepted_rate=messages / outcome.seconds,
            cpu_us=(after.cpu_s - before.cpu_s) / messages * 1e6,
            accept_p50_ms=outcome.percentile(0.5) * 1000,
            accept_p99_ms=outcome.percentile(0.99) * 1000,
            database=database,
        )

    async def rate_of(self, target: Target, sink: Sink, request: Callable[[int], bytes]) -> float:
        """About how many messages a second the server takes; what `ingest` found, if it ran."""
        if not self.ingest_rate:
            sink.expect(0)
            load = _load(target, request, CONCURRENCY * len(target.addresses))
            await load.connect()
            await load.closed(1.0)
            outcome = await load.closed(1.0)
            await load.aclose()
            self.ingest_rate = outcome.rate
            await sink.until(load.sent, within_s=_SETTLE_S)
        return self.ingest_rate

    async def delays(
        self,
        scenario: str,
        target: Target,
        sink: Sink,
        request: Callable[[int], bytes],
        rate: float,
        *,
        counts: Callable[[int], bool] = lambda _serial: True,
    ) -> Delays:
        """From the 202 to the first byte at the receiver, at a fixed rate of messages."""
        seconds = self.options.seconds
        total = int(rate * (seconds + 1)) + 1000
        sink.expect(total)
        accepted: array[float] = array("d", bytes(8 * total))
        intended: array[float] = array("d", bytes(8 * total))
        load = _load(target, request, CONCURRENCY * len(target.addresses))

        def on_answer(number: int, status: int, _answer: bytes, now: float) -> None:
            if status == 202:
                accepted[number] = now
                intended[number] = now - load.latencies[-1]

        load.on_answer = on_answer
        await load.connect()
        self.say(f"{scenario}: {rate:,.0f} messages/s for {seconds:g} s")
        warm = await load.open(rate, 1.0)
        outcome = await load.open(rate, seconds)
        wanted = sum(1 for n in range(warm.sent + outcome.sent) if accepted[n] and counts(n))
        limit = time.monotonic() + _SETTLE_S
        while time.monotonic() < limit:
            if sum(1 for n in range(len(accepted)) if sink.first_at[n] and counts(n)) >= wanted:
                break
            await asyncio.sleep(0.2)
        await load.aclose()
        if outcome.unsent:
            self.figure(scenario, "requests that found no free connection", outcome.unsent, "")
        if outcome.statuses.keys() - {202}:
            self.fault(f"{scenario}: answers {outcome.statuses}")
        came = [
            n
            for n in range(warm.sent, warm.sent + outcome.sent)
            if accepted[n] and sink.first_at[n] and counts(n)
        ]
        missing = sum(
            1 for n in range(len(accepted)) if accepted[n] and not sink.first_at[n] and counts(n)
        )
        if missing:
            self.fault(f"{scenario}: {missing} messages were accepted and did not arrive")
        return Delays(
            after_202=array("d", (max(0.0, sink.first_at[n] - accepted[n]) * 1000 for n in came)),
            whole=array("d", ((sink.first_at[n] - intended[n]) * 1000 for n in came)),
        )

    def _check(
        self, scenario: str, sink: Sink, outcome: Outcome, messages: int, *, came: bool
    ) -> None:
        wrong = {status: count for status, count in outcome.statuses.items() if status != 202}
        if wrong or outcome.lost:
            self.fault(f"{scenario}: answers {wrong}, {outcome.lost} connections lost")
        if not came:
            self.fault(f"{scenario}: {messages - sink.count} messages did not arrive in time")
        if sink.doubled:
            self.fault(f"{scenario}: {sink.doubled} messages arrived more than once")
        if came and sink.unique != messages:
            self.fault(f"{scenario}: {messages - sink.unique} messages were lost")

    async def _check_recorded(
        self, scenario: str, target: Target, messages: int, before: int
    ) -> None:
        limit = time.monotonic() + 10.0
        recorded = 0
        while recorded < messages and time.monotonic() < limit:
            recorded = await asyncio.to_thread(target.attempts) - before
            await asyncio.sleep(0.1)
        if recorded != messages:
            self.fault(f"{scenario}: {recorded} of {messages} attempts are on record")
        for reason, count in await asyncio.to_thread(target.failed):
            self.fault(f"{scenario}: {count} attempts failed though the receiver answers: {reason}")


def _load(target: Target, request: Callable[[int], bytes], concurrency: int) -> Load:
    first, *others = target.addresses
    return Load(*first, request, concurrency=concurrency, others=others)
