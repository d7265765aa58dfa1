"""A resend that comes while retention takes the payload, or an attempt ends: refused or made, never lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import psycopg
import pytest

from marketbell.errors import GoneError
from marketbell.model import DeliveryState, Message
from marketbell.store.base import Ages
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.eventually import eventually
from support.grounds import PostgresGround

HOUR = 3_600_000
DAY = 24 * HOUR
AGES = Ages(payloads=HOUR, attempts=20 * DAY, messages=30 * DAY)
"""So short that payloads go row by row."""
ROUNDS = 6
WAITING = """
select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""
MESSAGES = 10


@pytest.fixture
async def nodes(many: PostgresGround) -> AsyncIterator[tuple[Scene, Scene]]:
    """Two nodes, and the partitions that their messages go to."""
    with psycopg.connect(many.url, autocommit=True) as connection:
        connection.execute("select marketbell.add_partitions(%s)", (START // DAY,))
    async with AsyncExitStack() as until:
        here, there = [
            Scene(await until.enter_async_context(many.opened(FakeClock(), node=number)))
            for number in (1, 2)
        ]
        yield here, there


async def test_what_a_resend_was_accepted_for_keeps_its_payload(
    nodes: tuple[Scene, Scene], many: PostgresGround
) -> None:
    here, there = nodes
    application, endpoint = await here.seller()
    came: Counter[bool] = Counter()

    async def resend(public_id: str) -> bool:
        try:
            await there.store.resend(application.id, public_id, endpoint.public_id, now=there.now)
        except GoneError:
            return False
        return True

    async def resend_all(messages: Sequence[Message]) -> list[bool]:
        return [await resend(message.public_id) for message in messages]

    for _ in range(ROUNDS):
        made = [await here.deliver(application, endpoint) for _ in range(MESSAGES)]
        for scene in nodes:
            scene.pass_time(2 * HOUR)

        accepted, _ = await asyncio.gather(resend_all(made), here.prune(AGES, limit=1_000))
        came.update(accepted)
        for message, yes in zip(made, accepted, strict=True):
            kept = await here.store.message(application.id, message.public_id)
            states = await here.store.delivery_states(message.id)
            wanted = DeliveryState.PENDING if yes else DeliveryState.DELIVERED
            assert (states[endpoint.public_id], bool(kept.payload)) == (wanted, yes)
        for claim in await here.claim():
            await here.record(claim)
    assert set(came) == {True, False}


async def test_a_resend_of_what_ends_in_that_moment_is_made(
    nodes: tuple[Scene, Scene], many: PostgresGround
) -> None:
    here, there = nodes
    application, endpoint = await here.seller()
    message = (await here.publish(application, endpoint)).message
    with psycopg.connect(many.url) as other, psycopg.connect(many.url, autocommit=True) as watch:
        other.execute("delete from marketbell.delivery where message_id = %s", (message.id,))
        resend = asyncio.create_task(
            there.store.resend(application.id, message.public_id, endpoint.public_id, now=there.now)
        )
        await eventually(lambda: watch.execute(WAITING).fetchone() is not None)
        other.commit()
        await resend
    states = await here.store.delivery_states(message.id)
    assert states[endpoint.public_id] is DeliveryState.PENDING
