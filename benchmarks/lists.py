"""How long a page of each list takes, with few messages kept and with many."""

from __future__ import annotations

import os
import random
import time
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import apsw

from benchmarks.load import percentile
from marketbell import ids
from marketbell.clock import SystemClock
from marketbell.model import Application, DeliveryState, Endpoint, SigningKey
from marketbell.store.base import (
    ApplicationDraft,
    AttemptFilter,
    EndpointDraft,
    MessageFilter,
    Page,
)
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits

ORGANIZATION: Final = "org_lists"
_APPLICATIONS: Final = 20
_PAGES: Final = 300
"""Pages of each list that are asked for; its p99 is the third slowest."""
_DAYS: Final = 60
_DAY: Final = 86_400_000
_CHUNK: Final = 20_000

_RARE_EACH: Final = 60
"""Messages of each rare event type: as many with few messages kept as with many, so that what
grows is what is kept, not the answer."""
_FAILING: Final = (0, 10)
"""Of the applications' numbers, those whose endpoints refuse."""

BOUNDED: Final = frozenset(
    {
        "messages, a channel and a rare type",
        "messages anywhere, a rare event type",
        "attempts at an endpoint, 4xx",
        "attempts at an endpoint, a rare event type",
        "attempts anywhere, 5xx in a channel",
    }
)
"""Those that end after `search_time` with what they found; with few messages they see them all."""

RARE: Final = object()
"""Stands in a filter for what hardly any message has."""

Ask = Callable[[random.Random], Awaitable[Any]]


async def p99_of_lists(folder: Path, count: int) -> dict[str, float]:
    """Milliseconds by list, over a database of so many messages with one attempt each."""
    path = folder / f"lists-{count}.db"
    clock = SystemClock()
    now = clock.now()
    store = SqliteStore(SqliteOptions(path=path), Box([bytes(32)]), clock, WriterLimits())
    pairs = [await _pair(store, now) for _ in range(_APPLICATIONS)]
    await store.aclose()
    _fill(path, pairs, count, now)
    store = SqliteStore(SqliteOptions(path=path), Box([bytes(32)]), clock, WriterLimits())
    try:
        while await store.follow_labels(messages_max=10_000):
            pass
        kinds = _rare_kinds(count)
        return {name: await _p99(ask) for name, ask in _lists(store, pairs, now, kinds).items()}
    finally:
        await store.aclose()
        for suffix in ("", "-wal", "-shm", ".lock"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


async def _p99(ask: Ask) -> float:
    chance = random.Random(1)
    for _ in range(5):
        await ask(chance)
    times = array("d")
    for _ in range(_PAGES):
        begun = time.perf_counter()
        await ask(chance)
        times.append((time.perf_counter() - begun) * 1000)
    return percentile(times, 0.99)


async def _pair(store: SqliteStore, now: int) -> tuple[Application, Endpoint]:
    application = await store.create_application(
        ORGANIZATION, ApplicationDraft(name="seller"), now=now
    )
    assert isinstance(application, Application)
    endpoint = await store.create_endpoint(
        application.id,
        EndpointDraft(url="http://127.0.0.1/", secret=SigningKey(kind="v1", secret=bytes(32))),
        now=now,
        endpoints_max=50,
    )
    assert isinstance(endpoint, Endpoint)
    return application, endpoint


def _rare_kinds(count: int) -> int:
    """How many rare event types each application has, with so many messages in all."""
    return max(1, count // _APPLICATIONS // 8 // _RARE_EACH)


def _fill(path: Path, pairs: list[tuple[Application, Endpoint]], count: int, now: int) -> None:
    """
    Messages over 60 days, in turn for all applications.

    One in 50 is refused, all by two endpoints. Of each application's, 1 in 9 is in a channel and 1
    in 8 is of a rare event type, of which there are the more the more is kept.
    """
    kinds = _rare_kinds(count)
    connection = apsw.Connection(str(path))
    connection.execute("pragma synchronous = off")
    body = b'{"id":123456,"event":"order.paid","text":"' + b"x" * 150 + b'"}'
    begin, step = now - _DAYS * _DAY, _DAYS * _DAY / count
    for first in range(1, count + 1, _CHUNK):
        messages, payloads, attempts, finished = [], [], [], []
        for number in range(first, min(first + _CHUNK, count + 1)):
            turn, of = divmod(number, len(pairs))
            application, endpoint = pairs[of]
            at = int(begin + number * step)
            tail = ids.new_id("", at)
            refused = number % 50 == 0
            rare = turn // 8 % kinds if turn % 8 == 0 else None
            messages.append(
                (number, f"msg_{tail}", application.id,
                 f"order.kind{turn % 7}" if rare is None else f"rare.kind{rare}", None,
                 '["pl"]' if turn % 9 == 0 else None, None if rare is None else f'["rare{rare}"]',
                 at, at, at + 90 * _DAY, None, None)
            )  # fmt: skip
            payloads.append((number, body))
            attempts.append(
                (f"atmpt_{tail}", number, endpoint.id, 1, 1, "scheduled",
                 "rejected" if refused else "accepted", 500 if refused else 200, "", b"ok",
                 "http://127.0.0.1/", "127.0.0.1:80", at, 5)
            )  # fmt: skip
            state = "failed" if refused else "delivered"
            finished.append((number, endpoint.id, state, 1, 1, at + 5))
        with connection:
            for table, rows in (
                ("message", messages), ("payload", payloads), ("finished_delivery", finished),
            ):  # fmt: skip
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"insert into {table} values ({marks})", rows)
            connection.executemany(
                "insert into attempt (public_id, message_id, endpoint_id, claim_number, number,"
                " trigger, outcome, status_code, reason, response, url, address, started_at,"
                " duration) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                attempts,
            )
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    os.sync()


def _lists(
    store: SqliteStore, pairs: list[tuple[Application, Endpoint]], now: int, kinds: int
) -> dict[str, Ask]:
    """
    Every list under each of its filters; a page begins anywhere in the time that is kept.

    Of event types and tags that are rare, each page asks for another one.
    """
    begin = now - _DAYS * _DAY
    failing = [pairs[number] for number in _FAILING]

    def page(chance: random.Random, prefix: str) -> Page:
        at = chance.randrange(begin, now)
        return Page(limit=50, after=ids.smallest_at(prefix, at))

    def rarely(chance: random.Random, which: dict[str, Any]) -> dict[str, Any]:
        """The filter, with one of what is rare in the places that ask for it."""
        number = chance.randrange(kinds)
        rare = {"event_types": frozenset({f"rare.kind{number}"}), "tag": f"rare{number}"}
        return {name: rare[name] if value is RARE else value for name, value in which.items()}

    def messages(**which: Any) -> Ask:
        return lambda chance: store.messages(
            chance.choice(pairs)[0].id,
            MessageFilter(**rarely(chance, which)),
            page(chance, ids.MESSAGE),
        )

    def deliveries(*states: DeliveryState) -> Ask:
        async def ask(chance: random.Random) -> Any:
            application, endpoint = chance.choice(
                failing if DeliveryState.FAILED in states else pairs
            )
            return await store.deliveries(
                application.id, endpoint.id, MessageFilter(),
                page(chance, ids.MESSAGE), states=frozenset(states) or None,
            )  # fmt: skip

        return ask

    def attempts(**which: Any) -> Ask:
        async def ask(chance: random.Random) -> Any:
            application, endpoint = chance.choice(failing if "succeeded" in which else pairs)
            of = AttemptFilter(endpoint_id=endpoint.id, **rarely(chance, which))
            return await store.attempts(application.id, of, page(chance, ids.ATTEMPT))

        return ask

    def whole(**which: Any) -> Ask:
        return lambda chance: store.attempts(
            chance.choice(failing if "succeeded" in which else pairs)[0].id,
            AttemptFilter(**which),
            page(chance, ids.ATTEMPT),
        )

    def anywhere(**which: Any) -> Ask:
        return lambda chance: store.attempts_anywhere(
            ORGANIZATION, AttemptFilter(**which), page(chance, ids.ATTEMPT)
        )

    async def figures(chance: random.Random) -> Any:
        return await store.endpoint_figures(
            chance.choice(pairs)[1].id, since=now - 28 * _DAY, until=now
        )

    return {
        "messages": messages(),
        "messages, 1 day": messages(since=now - 2 * _DAY, until=now - _DAY),
        "messages, a common event type": messages(event_types=frozenset({"order.kind3"})),
        "messages, a rare event type": messages(event_types=RARE),
        "messages, a channel": messages(channel="pl"),
        "messages, a rare tag": messages(tag=RARE),
        "messages, a channel and a rare type": messages(channel="pl", event_types=RARE),
        "messages, none": messages(tag="none"),
        "messages anywhere": lambda chance: store.messages_anywhere(
            ORGANIZATION, MessageFilter(), page(chance, ids.MESSAGE)
        ),
        "messages anywhere, a rare event type": lambda chance: store.messages_anywhere(
            ORGANIZATION,
            MessageFilter(**rarely(chance, {"event_types": RARE})),
            page(chance, ids.MESSAGE),
        ),
        "deliveries of an endpoint": deliveries(),
        "deliveries of an endpoint, failed": deliveries(DeliveryState.FAILED),
        "deliveries of an endpoint, pending": deliveries(DeliveryState.PENDING),
        "attempts at an endpoint": attempts(),
        "attempts at an endpoint, failed": attempts(succeeded=False),
        "attempts at an endpoint, 4xx": attempts(status_code_class=400),
        "attempts at an endpoint, a rare event type": attempts(event_types=RARE),
        "attempts of an application": whole(),
        "attempts of an application, failed": whole(succeeded=False),
        "attempts anywhere": anywhere(),
        "attempts anywhere, failed": anywhere(succeeded=False),
        "attempts anywhere, 5xx in a channel": anywhere(status_code_class=500, channel="pl"),
        "figures of an endpoint": figures,
    }
