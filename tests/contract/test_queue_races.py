"""What two nodes do to one endpoint at the same moment: nothing is forgotten, and nobody is in the way for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest

from marketbell.model import Application, DeliveryState, Endpoint
from marketbell.store.base import Birth, ClaimRequest, Publication
from marketbell.store.keys import TimedKeys
from marketbell.store.postgresql_publishing import Publishing
from marketbell.store.statements import statements
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import PAYLOAD_RETENTION, Scene
from support.grounds import PostgresGround

HOT = statements("hot")
LEASE = 60_000


def execute(many: PostgresGround, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement on our tables, past every store; its rows."""
    with psycopg.connect(many.url, autocommit=True) as connection:
        connection.execute("set search_path to marketbell")
        done = connection.execute(statement.encode(), values or None)
        return done.fetchall() if done.description else []


@asynccontextmanager
async def opened(many: PostgresGround) -> AsyncIterator[tuple[Scene, Scene]]:
    """Two nodes, and the partitions that their messages go to."""
    execute(many, "select add_partitions(%s)", START // 86_400_000)
    async with AsyncExitStack() as until:
        here, there = [
            Scene(await until.enter_async_context(many.opened(FakeClock(), node=number)))
            for number in (1, 2)
        ]
        yield here, there


@pytest.fixture
async def nodes(many: PostgresGround) -> AsyncIterator[tuple[Scene, Scene]]:
    """Two nodes on a database as it is made."""
    async with opened(many) as made:
        yield made


@asynccontextmanager
async def another(many: PostgresGround) -> AsyncIterator[asyncpg.Connection]:
    """A third node's transaction, which has begun."""
    settings = {"search_path": "marketbell"}
    connection: asyncpg.Connection = await asyncpg.connect(many.url, server_settings=settings)
    try:
        await connection.execute("begin isolation level read committed")
        yield connection
    finally:
        await connection.close()


async def shop(scene: Scene, endpoints: int = 1) -> tuple[Application, list[Endpoint]]:
    application = await scene.application()
    made = [await scene.endpoint(application) for _ in range(endpoints)]
    known = await scene.store.application(application.organization, application.public_id)
    return known, made


def publication(scene: Scene, application: Application, *endpoints: Endpoint) -> Publication:
    births = tuple(
        Birth(endpoint_id=endpoint.id, due_at=scene.now, lease_until=0) for endpoint in endpoints
    )
    return Publication(
        message=scene.message(application), revision=application.revision, births=births
    )


async def publish_in(connection: asyncpg.Connection, *publications: Publication) -> None:
    """Publish in a transaction that has not ended."""
    own = HOT["publish"].postgresql
    made = Publishing(publications, TimedKeys(99).next, PAYLOAD_RETENTION)
    await connection.fetch(own.text, *own.values(made.values()))


async def claim(scene: Scene, *lanes: Endpoint) -> list[int]:
    """Claim what is due; the messages."""
    claimed = await scene.store.claim(
        ClaimRequest(
            now=scene.now,
            lease_until=scene.now + LEASE,
            limit=100,
            rooms={},
            new_room=100,
            lanes=tuple(lane.id for lane in lanes),
        )
    )
    return [one.message.id for one in claimed.claims]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - nothing in this process knows of it
            await asyncio.sleep(0.002)


def waiting(many: PostgresGround) -> int:
    """How many wait for another's lock."""
    ((count,),) = execute(
        many,
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'",
    )
    return int(count)


async def waits_for(
    many: PostgresGround, held: asyncpg.Connection, work: Awaitable[Any]
) -> Any:
    """What it brings, after it was seen to wait for a transaction that is then committed."""
    task = asyncio.ensure_future(work)
    await until(lambda: waiting(many) > 0)
    assert not task.done()
    await held.execute("commit")
    return await task


# -- wake-ups -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["resumed", "enabled"])
async def test_what_is_published_while_an_endpoint_goes_on_is_due(
    many: PostgresGround, nodes: tuple[Scene, Scene], way: str
) -> None:
    here, _ = nodes
    application = await here.application()
    endpoint = await here.endpoint(application, **{way == "resumed" and "paused" or "disabled": True})
    application = await here.store.application(application.organization, application.public_id)
    async with another(many) as held:
        await publish_in(held, publication(here, application, endpoint))
        if way == "resumed":
            going_on: Awaitable[Any] = here.store.pause_endpoint(
                application.id, endpoint.public_id, paused=False, now=here.now
            )
        else:
            going_on = here.change_endpoint(endpoint, disabled=False)
        await waits_for(many, held, going_on)
    assert execute(many, "select next_at from lane") == [(here.now,)]
    assert len(await claim(here)) == 1


async def test_a_database_whose_transactions_are_stricter_by_default_forgets_nothing(
    many: PostgresGround,
) -> None:
    name = execute(many, "select current_database()")[0][0]
    execute(
        many, f"alter database {name} set default_transaction_isolation to 'repeatable read'"
    )
    async with opened(many) as (here, _), another(many) as held:
        application, (endpoint,) = await shop(here)
        await here.store.publish([publication(here, application, endpoint)])
        await publish_in(held, publication(here, application, endpoint))
        first = await waits_for(many, held, claim(here))
        assert len(first) + len(await claim(here)) == 2
