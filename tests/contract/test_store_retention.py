"""Retention: what goes when, what stays because something needs it, and what a step costs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell.errors import NotFoundError
from marketbell.model import DeliveryState, Verdict
from marketbell.store.base import (
    Ages,
    Birth,
    Idempotency,
    Pruned,
    Publication,
    Published,
    Result,
    Store,
)
from marketbell.testing.stores import ORGANIZATION, Scene

MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)


async def last_message(scene: Scene) -> None:
    """A message of now, so that the ones before it are not the last."""
    await scene.publish(await scene.application())


def count(file: Path, table: str, condition: str = "true") -> int:
    """How many rows a table of the file has."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    found: Any = connection.execute(f"select count(*) from {table} where {condition}")
    return int(found.fetchall()[0][0])


async def test_each_kind_goes_at_its_own_age(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    for passed, expected in (
        (10 * DAY - 1, Pruned()),
        (1, Pruned(payloads=1)),
        (10 * DAY - 1, Pruned()),
        (1, Pruned(attempts=1)),
        (10 * DAY - 1, Pruned()),
    ):
        scene.pass_time(passed)
        assert await scene.prune(AGES) == expected
        assert (await store.message(application.id, message.public_id)).id == message.id
    await last_message(scene)
    scene.pass_time(1)
    assert await scene.prune(AGES) == Pruned(messages=1)
    with pytest.raises(NotFoundError):
        await store.message(application.id, message.public_id)


async def test_a_message_takes_with_it_all_that_is_left(scene: Scene, database_file: Path) -> None:
    application, endpoint = await scene.seller()
    for _ in range(30):
        await scene.deliver(application, endpoint, kept_for=25 * DAY)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    gone = await scene.prune(Ages(payloads=30 * DAY, attempts=40 * DAY, messages=30 * DAY))
    assert gone == Pruned(payloads=30, attempts=30, messages=30)
    for table, left in (
        ("message", 1),
        ("payload", 1),
        ("payload_expiry", 0),
        ("attempt", 0),
        ("finished_delivery", 0),
    ):
        assert count(database_file, table) == left, table


async def test_message_keys_are_never_used_twice(
    store: Store, scene: Scene, database_file: Path
) -> None:
    """The last message stays, else a restart would give its key to another."""
    application = await scene.application()
    last = [(await scene.publish(application)).message for _ in range(3)][-1]
    scene.pass_time(40 * DAY)
    assert (await scene.prune(AGES)).messages == 2
    kept = await store.message(application.id, last.public_id)
    assert (kept.id, kept.payload) == (last.id, b"")


async def test_a_step_is_bounded_and_says_whether_there_is_more(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    for _ in range(25):
        await scene.deliver(application, endpoint)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    steps: list[Pruned] = []
    while not steps or steps[-1].more:
        steps.append(await store.prune(AGES, now=scene.now, limit=10))
    assert max(step.payloads for step in steps) <= 10
    assert max(step.attempts for step in steps) <= 10
    assert max(step.messages for step in steps) <= 10
    assert sum(step.payloads for step in steps) == 25
    assert sum(step.messages for step in steps) == 25
    assert len(steps) == 3


async def test_a_step_is_bounded_when_one_message_has_many_attempts(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=HOUR)).claims
    await store.record(
        [Result(claim=claim, attempt=scene.attempt(claim, 500), verdict=None) for _ in range(300)]
    )
    await scene.record(claim)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    late = Ages(payloads=30 * DAY, attempts=90 * DAY, messages=30 * DAY)
    steps: list[Pruned] = []
    while not steps or steps[-1].more:
        steps.append(await store.prune(late, now=scene.now, limit=10))
    assert sum(step.attempts for step in steps) == 301
    assert max(step.attempts for step in steps) <= 40
    assert sum(step.messages for step in steps) == 1


async def test_payloads_of_many_bytes_go_in_several_steps(store: Store, scene: Scene) -> None:
    application = await scene.application()
    payload = b'"' + b"x" * 6_000_000 + b'"'
    for _ in range(5):
        await scene.publish(application, payload=payload)
    scene.pass_time(11 * DAY)
    first = await store.prune(AGES, now=scene.now, limit=100)
    assert (first.payloads, first.more) == (3, True)
    assert (await scene.prune(AGES)).payloads == 2


# -- steady load --------------------------------------------------------------------------


async def test_the_file_stays_flat_under_steady_load(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    revision = (await store.application(ORGANIZATION, application.public_id)).revision
    ages = Ages(payloads=10 * MINUTE, attempts=10 * MINUTE, messages=10 * MINUTE)

    async def minute(number: int) -> None:
        publications = [
            Publication(
                message=scene.message(application, payload=b'{"x":"%s"}' % (b"x" * 400)),
                revision=revision,
                births=(
                    Birth(
                        endpoint_id=endpoint.id,
                        due_at=scene.now,
                        lease_until=scene.now + MINUTE,
                    ),
                ),
                idempotency=Idempotency(
                    key=hashlib.blake2b(b"%d.%d" % (number, index), digest_size=16).digest(),
                    body=bytes(16),
                    auto=True,
                ),
            )
            for index in range(100)
        ]
        verdicts = await store.publish(publications)
        claims = [v.claims[0] for v in verdicts if isinstance(v, Published)]
        status, state = (
            (200, DeliveryState.DELIVERED) if number % 3 else (500, DeliveryState.FAILED)
        )
        await store.record(
            [
                Result(
                    claim=claim,
                    attempt=scene.attempt(claim, status),
                    verdict=Verdict(state=state),
                )
                for claim in claims
            ]
        )
        scene.pass_time(MINUTE)
        await scene.prune(ages, limit=200)

    pages = []
    for number in range(90):
        await minute(number)
        if number >= 30 and number % 10 == 0:
            pages.append(pages_of(database_file))
    assert count(database_file, "message") <= 1_100
    assert max(pages) <= min(pages) * 1.05


def pages_of(file: Path) -> int:
    """How many pages the database has, those of its log included."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    pages: Any = connection.pragma("page_count")
    return int(pages)
