"""What two nodes do to one endpoint at the same moment: nothing is forgotten, and nobody is in the way for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest

from marketbell.errors import StaleError
from marketbell.model import SLOTS, Application, DeliveryState, Endpoint, Instant, Verdict
from marketbell.store.base import (
    Birth,
    Claimed,
    ClaimRequest,
    Publication,
    Published,
    Result,
)
from marketbell.store.batch import RefusedError
from marketbell.store.keys import TimedKeys
from marketbell.store.postgresql import READING, Connection, PostgresOptions
from marketbell.store.postgresql_publishing import Publishing
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.postgresql_transaction import PostgresTransaction
from marketbell.store.statements import Numbered, Statement, statements
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import PAYLOAD_RETENTION, Scene
from support.grounds import PostgresGround
from support.pgbouncer import PgBouncer
from support.postgres import PostgresServer

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


async def claimed(
    scene: Scene, *, slots: Collection[int] | None = None, leases_now: Instant | None = None
) -> Claimed:
    return await scene.store.claim(
        ClaimRequest(
            now=scene.now,
            leases_now=leases_now,
            lease_until=(leases_now or scene.now) + LEASE,
            limit=100,
            rooms={},
            new_room=100,
            slots=None if slots is None else frozenset(slots),
        )
    )


async def claim(scene: Scene) -> list[int]:
    """Claim what is due; the messages."""
    return [one.message.id for one in (await claimed(scene)).claims]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
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


async def waits_for(many: PostgresGround, held: asyncpg.Connection, work: Awaitable[Any]) -> Any:
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
    off = {"paused" if way == "resumed" else "disabled": True}
    endpoint = await here.endpoint(application, **off)
    application = await here.store.application(application.organization, application.public_id)
    async with another(many) as held:
        await publish_in(held, publication(here, application, endpoint))
        if way == "resumed":
            going_on: Awaitable[Any] = here.store.pause_endpoint(
                application.id, endpoint.public_id, paused=False, now=here.now
            )
        else:
            going_on = here.update(endpoint, disabled=False)
        await waits_for(many, held, going_on)
    assert execute(many, "select next_at from lane") == [(here.now,)]
    assert len(await claim(here)) == 1


async def test_a_database_whose_transactions_are_stricter_by_default_forgets_nothing(
    many: PostgresGround,
) -> None:
    name = execute(many, "select current_database()")[0][0]
    execute(many, f"alter database {name} set default_transaction_isolation to 'repeatable read'")
    async with opened(many) as (here, _), another(many) as held:
        application, (endpoint,) = await shop(here)
        await here.store.publish([publication(here, application, endpoint)])
        await publish_in(held, publication(here, application, endpoint))
        first = await waits_for(many, held, claim(here))
        assert len(first) + len(await claim(here)) == 2


# -- what goes away -------------------------------------------------------------------------


async def test_a_message_is_matched_again_if_an_endpoint_of_it_is_deleted_at_this_moment(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    here, there = nodes
    application, (kept, gone) = await shop(here, 2)
    remove = "delete from lane where endpoint_id = $1"
    change = "update application set revision = revision + 1 where id = $1"
    async with another(many) as held:
        await held.execute(remove, gone.id)
        await held.execute(change, application.id)
        published = there.store.publish([publication(there, application, kept, gone)])
        (verdict,) = await waits_for(many, held, published)
    assert isinstance(verdict, StaleError)
    assert execute(many, "select count(*) from delivery") == [(0,)]


async def test_a_message_to_an_endpoint_without_a_lane_is_refused_alone(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    here, _ = nodes
    application, (kept, gone) = await shop(here, 2)
    execute(many, "delete from lane where endpoint_id = %s", gone.id)
    works: list[Awaitable[Any]] = [
        here.store.publish([publication(here, application, endpoint)])
        for endpoint in (kept, gone, kept)
    ]
    first, second, third = await asyncio.gather(*works, return_exceptions=True)
    assert isinstance(second, RefusedError)
    assert not isinstance(first, BaseException)
    assert not isinstance(third, BaseException)
    assert execute(many, "select count(*) from message") == [(2,)]


async def test_a_mark_that_is_made_anew_is_not_swept_with_the_old_one(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    sweep = statements("retention")["marks_delete"].postgresql
    key = bytes(16)
    execute(many, "insert into idempotency (key, bucket, body) values (%s, 2, '')", key)
    async with another(many) as held, another(many) as sweeping:
        await held.execute("update idempotency set bucket = 200 where key = $1", key)
        swept = sweeping.fetch(sweep.text, *sweep.values({"bucket": 2, "limit": 10}))
        await waits_for(many, held, swept)
        await sweeping.execute("commit")
    assert execute(many, "select bucket from idempotency") == [(200,)]


# -- leases ---------------------------------------------------------------------------------


async def test_a_claim_runs_out_on_the_clock_of_whoever_has_its_slot(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    here, there = nodes
    application, (endpoint,) = await shop(here)
    await here.store.publish([publication(here, application, endpoint)])
    own, others = {endpoint.slot}, set(range(SLOTS)) - {endpoint.slot}
    assert len((await claimed(here, slots=own)).claims) == 1
    # The other node began after the database's clock had been set by an hour.
    ahead = there.now + 3_600_000
    found = await claimed(there, slots=others, leases_now=ahead)
    assert (found.lost, found.claims) == (0, ())
    assert execute(many, "select state, lost_count from delivery") == [("sending", 0)]
    assert (await claimed(here, slots=own, leases_now=here.now + LEASE)).lost == 1


async def test_claims_of_a_deleted_endpoint_run_out_for_whoever_looks(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    here, there = nodes
    application, (endpoint,) = await shop(here)
    await here.store.publish([publication(here, application, endpoint)])
    assert len(await claim(here)) == 1
    await here.store.delete_endpoint(application.id, endpoint.public_id, now=here.now)
    others = set(range(SLOTS)) - {endpoint.slot}
    assert isinstance(there.store, PostgresStore)
    assert await there.store.lose_claims({endpoint.slot}, now=there.now, lost_max=20) == 0
    found = await claimed(there, slots=others, leases_now=there.now + LEASE)
    assert (found.lost, found.claims) == (1, ())
    assert execute(many, "select state from delivery") == [("pending",)]


# -- locks ----------------------------------------------------------------------------------


async def test_order_keys_leave_the_server_room_for_other_locks(many: PostgresGround) -> None:
    own = HOT["keys_lock"].postgresql
    count = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    async with another(many) as held:
        for endpoints, most in ((1, 16), (1_000, 4_096)):
            values: Any = {
                "endpoint_ids": [1 + number % endpoints for number in range(30_000)],
                "order_keys": [number.to_bytes(4, "big") for number in range(30_000)],
            }
            await held.fetch(own.text, *own.values(values))
            assert await held.fetchval(count) <= most
        # Nor are they numbers that others who share the database would think of.
        assert not await held.fetchval(f"{count} and classid = 0")


async def in_nobodys_way(
    many: PostgresGround, low: Endpoint, high: Endpoint, *works: Callable[[], Awaitable[Any]]
) -> None:
    """They wait for the lower lane without holding the higher one, which its holder may want next."""
    lock = "select 1 from lane where endpoint_id = $1 for no key update nowait"
    async with another(many) as held:
        await held.fetch(lock, low.id)
        task = asyncio.gather(*[work() for work in works])
        await until(lambda: waiting(many) > 0)
        await held.fetch(lock, high.id)
        assert not task.done()
        await held.execute("commit")
        await task


async def test_notes_on_endpoints_lock_them_in_the_order_in_which_all_do(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    here, _ = nodes
    _, (low, high) = await shop(here, 2)
    await in_nobodys_way(
        many,
        low,
        high,
        lambda: here.store.hold(high.id, here.now + 5_000),
        lambda: here.store.note_health(low.id, here.now),
        lambda: here.store.hold(low.id, here.now + 7_000),
    )
    assert execute(many, "select held_until, failing_since from lane order by endpoint_id") == [
        (here.now + 7_000, here.now),
        (here.now + 5_000, None),
    ]


async def test_a_message_does_not_wait_for_notes_on_endpoints_and_is_kept_without_them(
    many: PostgresGround, nodes: tuple[Scene, Scene]
) -> None:
    here, _ = nodes
    application, (endpoint,) = await shop(here)
    never_kept = 2**63
    works: list[Awaitable[Any]] = [
        here.store.publish([publication(here, application, endpoint)]),
        here.store.hold(endpoint.id, never_kept),
        here.store.note_health(endpoint.id, here.now),
    ]
    published: Any
    published, held, noted = await asyncio.gather(*works, return_exceptions=True)
    assert isinstance(published[0], Published)
    assert isinstance(held, RefusedError)
    assert noted is None
    assert execute(many, "select failing_since from lane") == [(here.now,)]


@pytest.mark.parametrize("ordered", [False, True], ids=["held", "ordered"])
async def test_results_lock_their_lanes_in_the_order_in_which_all_do(
    many: PostgresGround, nodes: tuple[Scene, Scene], ordered: bool
) -> None:
    here, _ = nodes
    application, (low, high) = await shop(here, 2)
    key = b"k" * 16 if ordered else None
    for _ in range(2):
        await here.publish(application, low, high, order_key=key)
    claims = {one.endpoint_id: one for one in await here.claim(limit=2 if ordered else 4)}
    held = Verdict(state=DeliveryState.FAILED, hold_until=here.now + 5_000)
    again = Verdict(state=DeliveryState.PENDING, due_at=here.now + 1_000)
    made = Verdict(state=DeliveryState.DELIVERED)
    verdicts = ((high, made), (low, made)) if ordered else ((high, again), (low, held))
    results = [
        Result(claim=claim, attempt=here.attempt(claim, 200 if ordered else 503), verdict=verdict)
        for endpoint, verdict in verdicts
        for claim in [claims[endpoint.id]]
    ]
    await in_nobodys_way(many, low, high, lambda: here.store.record(results))
    if ordered:
        assert execute(many, "select next_at from lane") == [(here.now,), (here.now,)]


# -- poolers --------------------------------------------------------------------------------


def test_rows_that_are_fetched_one_by_one_leave_no_statement_with_a_pooler(
    many: PostgresGround, postgres: PostgresServer
) -> None:
    # Left behind, it would be in the way of another node's of the same name.
    name = many.url.rpartition("/")[2]
    text = "select n from generate_series(1, $1::bigint) as n"
    query = Statement("numbers", "", Numbered(text, ("most",)))
    with PgBouncer(postgres, pool=1) as bouncer:
        connection = Connection(
            PostgresOptions(url=bouncer.url(name), pooled=True), name="reader", settings=READING
        )
        try:
            for _ in range(2):
                connection.begin(read_only=True)
                transaction = PostgresTransaction(connection)
                both = zip(
                    transaction.each(query, {"most": 120}),
                    transaction.each(query, {"most": 130}),
                    strict=False,
                )
                assert sum(low == high for low, high in both) == 120
                connection.roll_back()
            connection.begin(read_only=True)
            left = connection.fetch("select name from pg_prepared_statements where name <> ''", ())
            assert not left
            connection.roll_back()
        finally:
            connection.close()
