"""Retention where history stands in partitions: whole days go at once, and never what something needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from marketbell.errors import NotFoundError
from marketbell.model import DeliveryState
from marketbell.store.base import Ages, MessageFilter, Page, Store
from marketbell.store.walk import ROUND_MS
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.grounds import PostgresGround

HOUR = 3_600_000
DAY = 86_400_000
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)
TABLES = ("message", "message_label", "payload", "payload_text", "attempt", "finished_delivery")


@pytest.fixture
async def store(many: PostgresGround) -> AsyncIterator[Store]:
    """One that drops whole days."""
    async with many.opened(exact_below=0, late_s=0.0) as opened:
        yield opened


def partitions(many: PostgresGround, table: str) -> list[str]:
    """The days that a table has, as YYYYMMDD."""
    with psycopg.connect(many.url) as connection:
        rows = connection.execute(
            "select right(c.relname, 8) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = %s::regclass order by 1",
            (f"marketbell.{table}",),
        ).fetchall()
    return [day for (day,) in rows]


def reading(many: PostgresGround) -> psycopg.Connection[tuple[object, ...]]:
    """A transaction that has read history and stays open."""
    connection = psycopg.connect(many.url)
    connection.execute("set search_path to marketbell")
    connection.execute("select count(*) from message")
    return connection


async def test_a_day_goes_when_the_last_of_it_is_over(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    scene.now = START + 5 * HOUR
    message = await scene.deliver(
        application, endpoint, channels=("c",), event_id="once", payload=b'{"a":"needle"}'
    )
    await store.follow_texts(messages_max=10, bytes_max=1_000)
    scene.now = START + 11 * DAY - 1
    assert (await scene.prune(AGES)).payloads == 0
    assert (await store.message(application.id, "once")).payload
    scene.now += 1
    assert (await scene.prune(AGES)).payloads == 1
    assert not (await store.message(application.id, "once")).payload
    scene.now = START + 21 * DAY
    assert (await scene.prune(AGES)).attempts == 1
    scene.now = START + 31 * DAY - 1
    assert (await scene.prune(AGES)).messages == 0
    scene.now += 1
    assert (await scene.prune(AGES)).messages == 1
    for table in TABLES:
        assert "20260101" not in partitions(many, table), table
    for ref in (message.public_id, "once"):
        with pytest.raises(NotFoundError):
            await store.message(application.id, ref)
    await scene.publish(application, event_id="once")


async def test_partitions_are_made_before_they_are_needed(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    await scene.prune(AGES)
    days = ["20260101", "20260102", "20260103", "20260104"]
    for table in TABLES:
        assert partitions(many, table) == days, table
    scene.now = START + DAY
    await scene.prune(AGES)
    assert partitions(many, "message") == [*days, "20260105"]


async def test_short_ages_are_kept_to_exactly_and_leave_no_empty_days(
    many: PostgresGround,
) -> None:
    ages = Ages(payloads=DAY, attempts=DAY, messages=DAY)
    async with many.opened() as exact:
        scene = Scene(exact)
        application, endpoint = await scene.seller()
        scene.pass_time(HOUR)
        await scene.deliver(application, endpoint)
        scene.pass_time(DAY - 1)
        assert (await scene.prune(ages)).messages == 0
        await scene.publish(application)
        scene.pass_time(1)
        assert (await scene.prune(ages)).messages == 1
        assert "20260101" in partitions(many, "message")
        scene.pass_time(DAY)
        await scene.prune(ages)
        for table in TABLES:
            assert "20260101" not in partitions(many, table), table


async def test_a_day_waits_for_what_needs_it_and_no_longer(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    """Of a day that waits, everything else goes all the same."""
    application, endpoint = await scene.seller()
    other = await scene.endpoint(application, paused=True)
    gone = [await scene.deliver(application, endpoint) for _ in range(5)]
    needed = (await scene.publish(application, other)).message
    scene.now = START + 31 * DAY
    pruned = await scene.prune(AGES)
    assert (pruned.payloads, pruned.messages, pruned.cancelled) == (5, 5, 0)
    assert (await store.message(application.id, needed.public_id)).payload == needed.payload
    for message in gone:
        with pytest.raises(NotFoundError):
            await store.message(application.id, message.public_id)
    await scene.update(other, paused=False)
    (claim,) = await scene.claim()
    assert claim.message.payload == needed.payload
    await scene.record(claim)
    assert (await scene.prune(AGES)).messages == 1
    assert "20260101" not in partitions(many, "message")


async def test_what_never_will_be_sent_is_cancelled_and_its_day_goes_at_once(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    messages = [(await scene.publish(application, endpoint)).message for _ in range(25)]
    await store.disable_endpoint(endpoint.id, now=START)
    scene.now = START + 11 * DAY
    pruned = await scene.prune(AGES, limit=10)
    assert (pruned.cancelled, pruned.payloads) == (25, 25)
    assert "20260101" not in partitions(many, "payload")
    assert await store.delivery_states(messages[0].id) == {
        endpoint.public_id: DeliveryState.CANCELLED
    }


async def test_a_payload_with_a_longer_time_of_its_own_is_kept(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    common = await scene.deliver(application, endpoint)
    long = await scene.deliver(application, endpoint, kept_for=50 * DAY)

    async def kept() -> list[int]:
        found = await store.messages(application.id, MessageFilter(), Page())
        return [message.id for message in found.data if message.payload]

    scene.now = START + 31 * DAY
    assert (await scene.prune(AGES)).payloads == 1
    assert await kept() == [long.id]
    with pytest.raises(NotFoundError):
        await store.message(application.id, common.public_id)
    scene.now = START + 51 * DAY + ROUND_MS
    await scene.prune(AGES)
    assert await kept() == []
    assert "20260101" not in partitions(many, "message")


async def test_nobody_who_publishes_waits_for_a_day_that_somebody_reads(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    await scene.deliver(application, endpoint)
    scene.now = START + 31 * DAY
    with reading(many):
        begun = time.monotonic()
        assert (await scene.prune(AGES)).messages == 0
        await scene.publish(application, endpoint)
        assert time.monotonic() - begun < 9
        assert "20260101" in partitions(many, "message")
        assert (await scene.prune(AGES)).messages == 0
    assert (await scene.prune(AGES)).messages == 1
    assert "20260101" not in partitions(many, "message")


async def test_a_resend_that_has_seen_a_payload_keeps_it(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    """It is under way, and its delivery yet to be seen by anybody else, when its day is over."""
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    scene.now = START + 11 * DAY
    with psycopg.connect(many.url) as resend:
        resend.execute("set search_path to marketbell")
        kept = resend.execute("select 1 from payload where message_id = %s", (message.id,))
        assert kept.fetchall()
        resend.execute(
            "insert into delivery values (%s, %s, 'pending', %s, 1, 0, 0, %s, 'manual', null, 0)",
            (message.id, endpoint.id, scene.now, scene.now),
        )
        assert (await scene.prune(AGES)).payloads == 0
        resend.commit()
    assert (await scene.prune(AGES)).payloads == 0
    assert (await store.message(application.id, message.public_id)).payload == message.payload


async def test_two_nodes_that_prune_at_once_are_in_no_others_way(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    for day in range(5):
        scene.now = START + day * DAY
        await scene.deliver(application, endpoint)
    scene.now = START + 40 * DAY
    async with many.opened(node=1, exact_below=0) as second:
        other = Scene(second, now=scene.now)
        first_done, second_done = await both(scene, other)
    assert first_done + second_done == 5


async def both(scene: Scene, other: Scene) -> tuple[int, int]:
    """How many messages each of two nodes has removed."""
    one, two = await asyncio.gather(scene.prune(AGES), other.prune(AGES))
    return one.messages, two.messages
