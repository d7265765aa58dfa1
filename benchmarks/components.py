"""
Parts of Marketbell on their own, each in a process that is pinned to the server's core.

    python -m benchmarks.components NAME [--seconds S] [--port P]        prints one JSON object
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import machine, wire
from marketbell import ids
from marketbell.clock import SystemClock
from marketbell.delivery.dialer import DirectDialer, tls_context
from marketbell.delivery.exchange import Exchange, Kind, Limits
from marketbell.delivery.http1 import Client
from marketbell.delivery.netguard import Networks, check_url
from marketbell.delivery.resolver import Resolver
from marketbell.dialects.base import AttemptStart, Request
from marketbell.dialects.registry import Registry
from marketbell.logs import configure_logging
from marketbell.model import (
    Application,
    Attempt,
    Claim,
    DeliveryState,
    Endpoint,
    Message,
    Outcome,
    Policy,
    SigningKey,
    Trigger,
    Verdict,
)
from marketbell.observe import Observer
from marketbell.store.base import (
    ApplicationDraft,
    Birth,
    EndpointDraft,
    Publication,
    Published,
    Result,
)

_AT_WORK: Final = 64
_NETWORKS: Final = ("127.0.0.0/8",)
_NOW: Final = 1_795_298_400_000


async def client(options: argparse.Namespace) -> dict[str, float]:
    """The data plane's HTTP client against a sink, as many requests at work as the server has."""
    clock = SystemClock()
    networks = Networks.parse(_NETWORKS)
    tls = bool(options.ca)
    sender = Client(
        clock=clock,
        resolver=Resolver(clock=clock, allowed=networks, limit_s=5.0),
        dialer=DirectDialer(tls_context(options.ca)),
    )
    scheme = "https" if tls else "http"
    target = check_url(f"{scheme}://127.0.0.1:{options.port}/", https_only=False, allowed=networks)
    headers = (("content-type", "application/json"), ("webhook-id", "msg_1"))
    request = Request(headers, wire.payload(1))
    limits = Limits()
    counts = dict.fromkeys(Kind, 0)
    until = time.monotonic() + options.seconds
    ended = asyncio.Event()
    flying = 0

    def done(exchange: Exchange) -> None:
        nonlocal flying
        counts[exchange.kind] += 1
        flying -= 1
        if time.monotonic() < until:
            send(fresh=exchange.kind is Kind.CLOSED)
        elif not flying:
            ended.set()

    def send(*, fresh: bool = False) -> None:
        nonlocal flying
        flying += 1
        sender.send(target, request, limits, done, fresh=fresh)

    begun, cpu = time.monotonic(), time.process_time()
    for _ in range(_AT_WORK):
        send()
    await ended.wait()
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    await sender.aclose()
    answered = counts[Kind.ANSWERED]
    return {
        "rate": answered / seconds,
        "cpu_us": cpu / answered * 1e6,
        "closed": counts[Kind.CLOSED],
        "failed": counts[Kind.FAILED],
    }


async def store(options: argparse.Namespace) -> dict[str, float]:
    """Messages kept with a claimed delivery and recorded as delivered, as many at a time as the server has."""
    from marketbell.store.sealing import Box
    from marketbell.store.sqlite import SqliteOptions
    from marketbell.store.sqlite_store import SqliteStore, WriterLimits

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        kept = SqliteStore(
            SqliteOptions(path=Path(folder) / "store.db"),
            Box([os.urandom(32)]),
            SystemClock(),
            WriterLimits(),
        )
        clock = SystemClock()
        now = clock.now()
        application = await kept.create_application(
            "org_1", ApplicationDraft(name="seller"), now=now
        )
        assert isinstance(application, Application)
        endpoint = await kept.create_endpoint(
            application.id,
            EndpointDraft(url="http://127.0.0.1/", secret=SigningKey(kind="v1", secret=bytes(32))),
            now=now,
            endpoints_max=50,
        )
        assert isinstance(endpoint, Endpoint)
        revision = (await kept.subscribers("org_1", application.public_id)).application.revision
        published = recorded = 0
        until = time.monotonic() + options.seconds

        async def publish_and_record() -> None:
            nonlocal published, recorded
            while time.monotonic() < until:
                now = clock.now()
                verdicts = await kept.publish(
                    [
                        Publication(
                            message=_message(application.id, published, now),
                            revision=revision,
                            births=(
                                Birth(
                                    endpoint_id=endpoint.id, due_at=now, lease_until=now + 60_000
                                ),
                            ),
                        )
                    ]
                )
                published += 1
                for verdict in verdicts:
                    assert isinstance(verdict, Published)
                    claim = verdict.claims[0]
                    await kept.record(
                        [
                            Result(
                                claim=claim,
                                attempt=_attempt(claim, now),
                                verdict=Verdict(state=DeliveryState.DELIVERED),
                            )
                        ]
                    )
                    recorded += 1

        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(publish_and_record() for _ in range(2 * _AT_WORK)))
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        statistics = kept.statistics
        await kept.aclose()
        size = _size(folder)
        return {
            "rate": recorded / seconds,
            "cpu_us": cpu / recorded * 1e6,
            "rows_per_commit": statistics.rows / max(statistics.batches, 1),
            "commit_ms": statistics.seconds / max(statistics.batches, 1) * 1000,
            "bytes_per_message": size / recorded,
        }


def render(options: argparse.Namespace) -> dict[str, float]:
    """Microseconds to render one request, for each dialect, with the catalogue's own examples."""
    figures: dict[str, float] = {}
    for dialect in Registry.load():
        event = next(iter(dialect.catalogue.values()), None)
        message = _message(
            1, 1, _NOW, event.example if event else b"", event.name if event else "order.paid"
        )
        figures[f"{dialect.name}_us"] = _each_us(
            lambda dialect=dialect, message=message: dialect.render(  # type: ignore[misc]
                message, _ENDPOINT, AttemptStart(_NOW, 1)
            ),
            options.seconds / 5,
        )
    return figures


def observe(options: argparse.Namespace) -> dict[str, float]:
    """Microseconds to report one attempt: counted, and counted with its JSON line."""
    claim = Claim(
        message=_message(1, 1, _NOW), endpoint_id=1, endpoint_revision=1, claim_number=1,
        attempt_count=0, born_at=_NOW, due_at=_NOW, lease_until=0,
    )  # fmt: skip
    attempt = _attempt(claim, _NOW + 1)
    verdict = Verdict(state=DeliveryState.DELIVERED)
    went = Exchange(Kind.ANSWERED, "", status=200, reused=True, first_byte=1)
    figures: dict[str, float] = {}
    with Path(os.devnull).open("w") as stream:
        for name, log in (("counted", None), ("logged", configure_logging("json", "info", stream))):
            observer = Observer(log=log)

            def report(observer: Observer = observer) -> None:
                observer.attempted(
                    [(claim, attempt, verdict, _APPLICATION, _ENDPOINT, "standard", 300, went)]
                )

            figures[f"{name}_us"] = _each_us(report, options.seconds / 5, rounds=1_000)
            observer.close()
    return figures


def _size(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).iterdir())


def _each_us(call: Callable[[], object], seconds: float, *, rounds: int = 10_000) -> float:
    best = float("inf")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        for _ in range(rounds):
            call()
        best = min(best, time.perf_counter() - begun)
        time.sleep(0.06)  # the log's writer gets its turn
    return best / rounds * 1e6


def _message(
    application_id: int, number: int, now: int, payload: bytes = b"", name: str = ""
) -> Message:
    return Message(
        id=0, public_id=ids.new_id(ids.MESSAGE, now), application_id=application_id,
        event_type=name or "order.paid", event_id=None, payload=payload or wire.payload(number),
        occurred_at=now, created_at=now, payload_expires_at=now + 90 * 86_400_000,
    )  # fmt: skip


def _attempt(claim: Claim, now: int) -> Attempt:
    return Attempt(
        public_id=ids.new_id(ids.ATTEMPT, now), message_id=claim.message.id,
        endpoint_id=claim.endpoint_id, claim_number=1, number=1, trigger=Trigger.SCHEDULED,
        outcome=Outcome.ACCEPTED, status_code=200, reason="", response=b"ok",
        url="http://127.0.0.1/", address="127.0.0.1:80", started_at=now, duration=3,
    )  # fmt: skip


_APPLICATION: Final = Application(
    id=1, public_id="app_2ItoQTrpGLMBkEyLG2WpQrkOMDY", organization="org_1", uid=None, name="seller",
    metadata={}, policy=Policy(), throttle_rate=None, revision=1, created_at=0, updated_at=0,
)  # fmt: skip
_ENDPOINT: Final = Endpoint(
    id=1, public_id="ep_2ItoQTrpGLMBkEyLG2WpQrkOMDY", application_id=1, uid=None,
    url="http://127.0.0.1/", description="", event_types=None, channels=None, headers=(),
    secrets=(SigningKey(kind="v1", secret=bytes(range(32))),), metadata={}, policy=Policy(),
    throttle_rate=None, disabled=False, paused=False, slot=1, revision=1, version=1,
    failing_since=None, created_at=0, updated_at=0,
)  # fmt: skip

COMPONENTS: Final = ("client", "store", "render", "observe")


def main() -> None:
    """Measure one part and print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.components", description=__doc__)
    parser.add_argument("name", choices=COMPONENTS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--ca", default=None, help="speak TLS and trust this PEM file")
    options = parser.parse_args()
    if options.core is not None:
        machine.pin(options.core)
    gc.freeze()
    if options.name in ("render", "observe"):
        print(json.dumps(render(options) if options.name == "render" else observe(options)))
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        work = client(options) if options.name == "client" else store(options)
        print(json.dumps(runner.run(work)))


if __name__ == "__main__":
    main()
