"""History that several nodes write: what follows behind misses nothing and counts nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest

from marketbell import ids
from marketbell.model import Trigger
from marketbell.store import keys
from marketbell.store.base import EndpointFigures, MessageFilter, Page, Store
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.transaction import Transaction
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.claims import ask, put, shop
from support.eventually import eventually
from support.grounds import PostgresGround

DAY = 86_400_000
AGE = 900 * DAY


@pytest.fixture
async def store(many: PostgresGround) -> AsyncIterator[Store]:
    """One that looks for what comes late up to the oldest transaction that is open."""
    async with many.opened(late_s=0.0) as opened:
        yield opened


async def worded(store: Store, application_id: int) -> int:
    """How many messages are found by their word."""
    found = await store.messages_worded(application_id, ("needle",), MessageFilter(), Page())
    return len(found.data)


async def follow(store: Store) -> None:
    while await store.follow_texts(messages_max=2, bytes_max=10_000):
        pass


def insert(
    connection: psycopg.Connection[tuple[object, ...]], application_id: int, at: int
) -> None:
    """A message, as another node keeps it."""
    key = keys.floor(at) | 7 << 12
    connection.execute("set search_path to marketbell")
    connection.execute(
        "insert into message (id, public_id, application_id, event_type, occurred_at, created_at,"
        " payload_expires_at) values (%s, %s, %s, 'part.updated', %s, %s, %s)",
        (key, ids.new_id(ids.MESSAGE, at), application_id, at, at, at),
    )
    connection.execute("insert into payload values (%s, %s)", (key, b'{"a":"needle"}'))


async def test_words_of_what_is_committed_late_are_found(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    """It was begun before the others, and ends after they were followed."""
    application = await scene.application()
    scene.now = int(time.time() * 1000)
    await scene.publish(application)
    with psycopg.connect(many.url) as slow:
        slow.execute("select pg_current_xact_id()")
        now = int(time.time() * 1000) + 1
        scene.now = now + 1
        insert(slow, application.id, now)
        for _ in range(5):
            await scene.publish(application, payload=b'{"a":"needle"}')
        await follow(store)
        assert await worded(store, application.id) == 5
        await follow(store)
        slow.commit()
    assert await worded(store, application.id) == 5
    await follow(store)
    assert await worded(store, application.id) == 6


async def test_words_are_noted_once_by_two_nodes(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application = await scene.application()
    for _ in range(30):
        await scene.publish(application, payload=b'{"a":"needle"}')
    async with many.opened(node=1, late_s=0.0) as second:
        await asyncio.gather(follow(store), follow(second))
        await follow(store)
    assert await worded(store, application.id) == 30


async def test_figures_of_two_nodes_count_everything_once(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    async with many.opened(node=1) as second:
        other = Scene(second, now=scene.now)
        for _ in range(10):
            await asyncio.gather(
                scene.deliver(application, endpoint),
                other.deliver(application, endpoint),
                store.follow_figures(now=scene.now, age=AGE, bytes_max=60),
                second.follow_figures(now=scene.now, age=AGE, bytes_max=90),
            )
        figures = EndpointFigures(delivered=20, pending=0, sending=0, failed=0, cancelled=0)
        for one in (store, second):
            since, until = START - DAY, START + DAY
            assert await one.endpoint_figures(endpoint.id, since=since, until=until) == figures
        while await second.follow_figures(now=scene.now, age=AGE, bytes_max=10_000):
            pass
        assert await store.endpoint_figures(endpoint.id, since=since, until=until) == figures


async def test_figures_of_a_transaction_that_ends_late_are_not_lost(
    store: Store, scene: Scene, many: PostgresGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after others' rows were read, with a lower number, and before they are removed."""
    application, endpoint = await scene.seller()
    hour = START // 3_600_000
    with psycopg.connect(many.url) as slow:
        slow.execute("set search_path to marketbell")
        slow.execute(
            "insert into tally (counts) values (%s)", (f"[[{hour},{endpoint.id},1,1,0,0,1,0]]",)
        )
        await scene.deliver(application, endpoint)
        assert isinstance(store, PostgresStore)
        keep = store._write

        def keep_late(effect: Callable[[Transaction], Any], **how: Any) -> Awaitable[Any]:
            slow.commit()
            return keep(effect, **how)

        monkeypatch.setattr(store, "_write", keep_late)
        assert not await store.follow_figures(now=scene.now, age=AGE, bytes_max=10_000)
        monkeypatch.undo()
    assert not await store.follow_figures(now=scene.now, age=AGE, bytes_max=10_000)
    found = await store.endpoint_figures(endpoint.id, since=START, until=START + 1)
    assert (found.delivered, found.pending) == (2, 0)
    assert type(found.delivered) is int


async def test_figures_that_were_being_added_up_when_a_node_died_count_once(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    application, endpoint = await scene.seller()
    for _ in range(8):
        await scene.deliver(application, endpoint)
    folding = asyncio.create_task(store.follow_figures(now=scene.now, age=AGE, bytes_max=10_000))
    await asyncio.sleep(0)
    copy = many.after_a_crash()
    await asyncio.gather(folding, return_exceptions=True)
    async with copy.opened(node=2) as after:
        await after.follow_figures(now=scene.now, age=AGE, bytes_max=10_000)
        found = await after.endpoint_figures(endpoint.id, since=START, until=START + 1)
    assert (found.delivered, found.pending) == (8, 0)


async def test_a_resend_locks_the_lane_before_the_delivery_as_a_claim_does(
    store: Store, scene: Scene, many: PostgresGround
) -> None:
    """Else each could have what the other waits for, and a claim of many lanes would be undone."""
    application, (endpoint,) = await shop(scene, 1)
    await put(scene, application, endpoint, [scene.now], event_id="e1")
    waiting = (
        "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
        " and datname = current_database()"
    )
    with psycopg.connect(many.url) as claiming, psycopg.connect(many.url, autocommit=True) as by:
        claiming.execute("select 1 from marketbell.lane for no key update")
        resent = asyncio.create_task(
            store.resend(application.id, "e1", endpoint.public_id, now=scene.now + 1)
        )
        await eventually(lambda: by.execute(waiting).fetchone() is not None)
        claiming.execute("select 1 from marketbell.delivery for no key update nowait")
        claiming.rollback()
        await resent
    (claim,) = (await ask(scene, now=scene.now + 1)).claims
    assert claim.trigger is Trigger.MANUAL
