"""Several nodes on one database at the same time: nothing twice, nothing forgotten, nothing out of turn."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest

from marketbell.errors import ConflictError, MarketbellError, OutcomeUnknownError
from marketbell.model import SLOTS, Application, Claim, DeliveryState, Endpoint, Verdict
from marketbell.store.base import (
    AttemptFilter,
    Birth,
    Claimed,
    ClaimRequest,
    Idempotency,
    Page,
    Publication,
    Published,
    Result,
)
from marketbell.store.keys import TimedKeys
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_claiming import wanted as wanted_by
from marketbell.store.postgresql_publishing import Publishing
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sealing import Box
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Transaction
from marketbell.store.written_store import WriterLimits
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import PAYLOAD_RETENTION, Scene
from support.grounds import PostgresGround
from support.opened import SECRETS_KEY
from support.proxy import TcpProxy

HOT = statements("hot")
LEASE = 60_000
KEY = b"k" * 16


@pytest.fixture
async def nodes(many: PostgresGround) -> AsyncIterator[tuple[Scene, Scene, Scene]]:
    """Three nodes, and the partitions that their messages go to."""
    execute(many, "select add_partitions(%s)", START // 86_400_000)
    async with AsyncExitStack() as until:
        yield tuple(  # type: ignore[misc]
            [
                Scene(await until.enter_async_context(many.opened(FakeClock(), node=number)))
                for number in range(1, 4)
            ]
        )


Nodes = tuple[Scene, Scene, Scene]


async def shop(scene: Scene, endpoints: int = 1) -> tuple[Application, list[Endpoint]]:
    application = await scene.application()
    made = [await scene.endpoint(application) for _ in range(endpoints)]
    known = await scene.store.application(application.organization, application.public_id)
    return known, made


def publication(
    scene: Scene,
    application: Application,
    *endpoints: Endpoint,
    key: bytes | None = None,
    mark: bytes | None = None,
    lease: int = 0,
    **fields: Any,
) -> Publication:
    births = tuple(
        Birth(
            endpoint_id=endpoint.id,
            due_at=scene.now,
            order_key=key,
            lease_until=scene.now + lease if lease else 0,
        )
        for endpoint in endpoints
    )
    idempotency = None if mark is None else Idempotency(mark, bytes(16), mark.startswith(b"auto"))
    return Publication(
        message=scene.message(application, **fields),
        revision=application.revision,
        births=births,
        idempotency=idempotency,
    )


async def claim(
    scene: Scene,
    *,
    limit: int = 100,
    lanes: Sequence[int] = (),
    slots: Iterable[int] | None = None,
    node_id: int | None = None,
) -> Claimed:
    return await scene.store.claim(
        ClaimRequest(
            now=scene.now,
            lease_until=scene.now + LEASE,
            limit=limit,
            rooms={},
            new_room=limit,
            lanes=lanes,
            slots=None if slots is None else frozenset(slots),
            node_id=node_id,
        )
    )


def delivered(scene: Scene, claim: Claim) -> Result:
    return Result(
        claim=claim, attempt=scene.attempt(claim), verdict=Verdict(state=DeliveryState.DELIVERED)
    )


def execute(many: PostgresGround, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement on our tables, past every store; its rows."""
    with psycopg.connect(many.url, autocommit=True) as connection:
        connection.execute("set search_path to marketbell")
        done = connection.execute(statement.encode(), values or None)
        return done.fetchall() if done.description else []


class Unfinished:
    """A transaction of another node that has not ended yet."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def ask(self, statement: Statement, values: dict[str, Any]) -> list[Any]:
        """Run a statement of the hot path in it."""
        own = statement.postgresql
        rows: list[Any] = await self._connection.fetch(own.text, *own.values(values))
        return rows

    async def execute(self, statement: str) -> None:
        """Run any statement, or end the transaction by one."""
        await self._connection.execute(statement)


@asynccontextmanager
async def unfinished(many: PostgresGround) -> AsyncIterator[Unfinished]:
    """One that has begun."""
    settings = {"search_path": "marketbell"}
    connection: asyncpg.Connection = await asyncpg.connect(many.url, server_settings=settings)
    try:
        await connection.execute("begin")
        yield Unfinished(connection)
    finally:
        await connection.close()


async def until(what: Callable[[], bool]) -> None:
    """Look until it is so."""
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


async def waits_for(many: PostgresGround, held: Unfinished, work: Awaitable[Any]) -> Any:
    """What it brings, after it was seen to wait for a transaction that is then committed."""
    task = asyncio.ensure_future(work)
    await until(lambda: waiting(many) > 0)
    assert not task.done()
    await held.execute("commit")
    return await task


# -- once only ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"auto_", b"named"])
@pytest.mark.parametrize("across", [False, True], ids=["one bucket", "at a bucket's end"])
async def test_one_request_at_two_nodes_makes_one_message(
    many: PostgresGround, nodes: Nodes, kind: bytes, across: bool
) -> None:
    here, there, _ = nodes
    application, _endpoints = await shop(here)
    # Both kinds of buckets end at a multiple of six hours.
    here.now = START - START % (6 * 3_600_000) + (6 * 3_600_000) - 1
    there.now = here.now + 1 if across else here.now
    for number in range(20):
        mark = kind + number.to_bytes(11, "big")
        verdicts = await asyncio.gather(
            *[
                scene.store.publish([publication(scene, application, mark=mark)])
                for scene in (here, there)
            ]
        )
        first, second = sorted(
            [verdict for (verdict,) in verdicts if isinstance(verdict, Published)],
            key=lambda one: one.repeated,
        )
        assert (first.repeated, second.repeated) == (False, True)
        assert first.message.id == second.message.id
        assert first.message.public_id == second.message.public_id
    assert execute(many, "select count(*) from message") == [(20,)]
    assert execute(many, "select count(*) from idempotency") == [(20,)]


async def test_a_key_whose_time_is_over_is_a_new_one(many: PostgresGround, nodes: Nodes) -> None:
    here, there, _ = nodes
    application, _endpoints = await shop(here)
    mark = b"auto" + bytes(12)
    await here.store.publish([publication(here, application, mark=mark)])
    there.pass_time(25 * 60_000)
    (again,) = await there.store.publish([publication(there, application, mark=mark)])
    assert isinstance(again, Published)
    assert not again.repeated
    assert execute(many, "select count(*), min(message_id) from idempotency") == [
        (1, again.message.id)
    ]


async def test_one_event_id_at_two_nodes_is_taken_once(many: PostgresGround, nodes: Nodes) -> None:
    application, _endpoints = await shop(nodes[0])
    for number in range(20):
        marks = [b"named" + bytes([place, number]) + bytes(9) for place in range(3)]
        verdicts = await asyncio.gather(
            *[
                scene.store.publish(
                    [publication(scene, application, mark=mark, event_id=f"evt-{number}")]
                )
                for scene, mark in zip(nodes, marks, strict=True)
            ]
        )
        kinds = sorted(type(verdict).__name__ for (verdict,) in verdicts)
        assert kinds == ["ConflictError", "ConflictError", "Published"]
    # What was refused has left no mark, so that a mended request may use its key.
    assert execute(many, "select count(*) from idempotency") == [(20,)]
    assert execute(many, "select count(*) from message") == [(20,)]


async def test_a_request_waits_for_the_same_one_and_may_take_its_place(
    many: PostgresGround, nodes: Nodes
) -> None:
    here = nodes[0]
    application, _endpoints = await shop(here)
    wanted = publication(here, application, mark=b"named" + bytes(11), event_id="evt")
    async with unfinished(many) as other:
        await other.ask(HOT["publish"], published_by(9, [wanted]))
        task = asyncio.ensure_future(here.store.publish([wanted]))
        await until(lambda: waiting(many) > 0)
        await other.execute("rollback")
        (verdict,) = await task
    assert isinstance(verdict, Published)
    assert not verdict.repeated


async def test_control_plane_posts_with_one_key_are_answered_alike(nodes: Nodes) -> None:
    """The marks of both planes stand in one table, and a key is used for one thing."""
    here, there, _ = nodes
    application, _endpoints = await shop(here)
    mark = b"named" + bytes(11)
    body = publication(here, application, mark=mark)
    other = Idempotency(mark, b"x" * 16, False)
    first, second = await asyncio.gather(
        here.store.publish([body]),
        there.store.publish([publication_with(body, other)]),
    )
    kinds = sorted(type(verdict).__name__ for (verdict,) in (first, second))
    assert kinds == ["Published", "ReusedKeyError"]


def publication_with(made: Publication, mark: Idempotency) -> Publication:
    return Publication(
        message=made.message, revision=made.revision, births=made.births, idempotency=mark
    )


def published_by(number: int, publications: Sequence[Publication]) -> dict[str, Any]:
    """The parameters by which another node publishes."""
    return Publishing(publications, TimedKeys(number).next, PAYLOAD_RETENTION).values()


# -- no lost wake-up --------------------------------------------------------------------------


async def test_a_claim_sees_what_was_published_while_it_waited_for_the_lane(
    many: PostgresGround, nodes: Nodes
) -> None:
    here = nodes[0]
    application, (endpoint,) = await shop(here)
    await here.publish(application, endpoint)
    async with unfinished(many) as other:
        wanted = publication(here, application, endpoint)
        await other.ask(HOT["publish"], published_by(9, [wanted]))
        claimed: Claimed = await waits_for(many, other, claim(here))
    assert len(claimed.claims) == 2
    assert claimed.next_at is None


async def test_a_publish_wakes_the_lane_that_was_emptied_while_it_waited(
    many: PostgresGround, nodes: Nodes
) -> None:
    here = nodes[0]
    application, (endpoint,) = await shop(here)
    await here.publish(application, endpoint)
    async with unfinished(many) as other:
        emptied = await other.ask(HOT["claim"], claim_values(here, endpoint))
        assert len(emptied) == 2
        await waits_for(many, other, here.store.publish([publication(here, application, endpoint)]))
    claimed = await claim(here)
    assert len(claimed.claims) == 1


def claim_values(scene: Scene, *endpoints: Endpoint) -> dict[str, Any]:
    return wanted_by(
        ClaimRequest(
            now=scene.now,
            lease_until=scene.now + LEASE,
            limit=100,
            lanes=[endpoint.id for endpoint in endpoints],
            rooms={},
            new_room=100,
        )
    )


async def test_what_is_published_meanwhile_is_claimed_by_the_lanes_own_times(
    many: PostgresGround, nodes: Nodes
) -> None:
    """Two nodes publish while a third empties the lanes again and again and is told nothing."""
    here, *others = nodes
    application, endpoints = await shop(here, 3)
    rounds, at_once = 40, 3
    taken: set[tuple[int, int]] = set()

    async def publish(scene: Scene) -> None:
        for _ in range(rounds):
            await scene.store.publish(
                [publication(scene, application, *endpoints) for _ in range(at_once)]
            )

    async def claim_all() -> None:
        wanted = len(others) * rounds * at_once * len(endpoints)
        async with asyncio.timeout(30):
            while len(taken) < wanted:
                # More than may ever wait: what is left over would wait for time, which stands still.
                claimed = await claim(here, limit=10_000)
                pairs = {(one.message.id, one.endpoint_id) for one in claimed.claims}
                assert not pairs & taken
                taken.update(pairs)

    await asyncio.gather(claim_all(), *map(publish, others))
    assert execute(many, "select count(*) from lane where next_at is not null") == [(0,)]


# -- claims -----------------------------------------------------------------------------------


async def test_nodes_that_claim_the_same_lanes_share_them(nodes: Nodes) -> None:
    here = nodes[0]
    application, endpoints = await shop(here, 5)
    await here.store.publish([publication(here, application, *endpoints) for _ in range(60)])
    names = [endpoint.id for endpoint in endpoints]

    async def take(scene: Scene) -> list[Claim]:
        mine: list[Claim] = []
        for _ in range(12):
            mine += (await claim(scene, limit=10, lanes=names)).claims
        return mine

    shares = await asyncio.gather(*map(take, nodes))
    pairs = [(one.message.id, one.endpoint_id) for share in shares for one in share]
    assert len(pairs) == len(set(pairs)) == 300


async def test_a_lost_claim_is_ended_by_one_node(many: PostgresGround, nodes: Nodes) -> None:
    here = nodes[0]
    application, (endpoint,) = await shop(here)
    for _ in range(30):
        await here.publish(application, endpoint, lease=LEASE)
    for scene in nodes:
        scene.pass_time(LEASE)
    claimed = await asyncio.gather(*[claim(scene) for scene in nodes])
    assert sum(one.lost for one in claimed) == 30
    assert sum(len(one.claims) for one in claimed) == 30
    assert execute(many, "select outcome, count(*) from attempt group by 1") == [("unknown", 30)]


async def test_a_node_claims_of_its_slots_alone(many: PostgresGround, nodes: Nodes) -> None:
    here = nodes[0]
    application, endpoints = await shop(here, 6)
    await here.publish(application, *endpoints)
    mine = {endpoint.slot for endpoint in endpoints[:2]}
    wanted = {endpoint.id for endpoint in endpoints if endpoint.slot in mine}
    names = [endpoint.id for endpoint in endpoints]
    claimed = await claim(here, lanes=names, slots=mine)
    assert {one.endpoint_id for one in claimed.claims} == wanted
    assert claimed.next_at is None
    rest = await claim(here, slots=set(range(SLOTS)) - mine)
    assert {one.endpoint_id for one in rest.claims} == set(names) - wanted
    assert (await claim(here, slots=())).claims == ()


async def test_a_node_does_not_claim_of_a_slot_that_it_has_lost(
    many: PostgresGround, nodes: Nodes
) -> None:
    here = nodes[0]
    application, endpoints = await shop(here, 3)
    await here.publish(application, *endpoints)
    execute(many, "update slot set node_id = 7")
    execute(
        many, "update slot set node_id = 8, fence = fence + 1 where slot = %s", endpoints[0].slot
    )
    claimed = await claim(here, node_id=7)
    lost = {endpoint.id for endpoint in endpoints if endpoint.slot == endpoints[0].slot}
    assert {one.endpoint_id for one in claimed.claims} == {one.id for one in endpoints} - lost
    assert claimed.next_at is not None


async def test_own_lanes_are_found_behind_thousands_of_others_that_are_late(
    many: PostgresGround, nodes: Nodes
) -> None:
    """The nearest thousand lanes belong to others; so each slot is looked at."""
    here = nodes[0]
    application, (endpoint,) = await shop(here)
    await here.publish(application, endpoint)
    slot = (endpoint.slot + 1) % SLOTS
    execute(
        many,
        "insert into endpoint (public_id, application_id, url, description, metadata, disabled,"
        " paused, slot, revision, version, created_at, updated_at)"
        " select 'ep_' || i, %s, '', '', '{}', 0, 0, %s, 1, 1, 0, 0 from generate_series(1, 1200) i",
        application.id,
        slot,
    )
    execute(
        many,
        "insert into lane (endpoint_id, slot, next_at)"
        " select id, slot, %s from endpoint where public_id <> %s",
        here.now - 1_000,
        endpoint.public_id,
    )
    claimed = await claim(here, slots={endpoint.slot})
    assert [one.endpoint_id for one in claimed.claims] == [endpoint.id]
    assert claimed.next_at is None


# -- order ------------------------------------------------------------------------------------


async def test_a_key_is_served_in_order_of_commits_whoever_published(
    many: PostgresGround, nodes: Nodes
) -> None:
    here = nodes[0]
    application, (endpoint,) = await shop(here)
    rounds = 15
    given: list[list[int]] = [[], [], []]

    async def publish(place: int) -> None:
        scene = nodes[place]
        # Clocks differ; keys of messages must not decide.
        scene.now = START - 1_000 * place
        for _ in range(rounds):
            (made,) = await scene.store.publish(
                [publication(scene, application, endpoint, key=KEY)]
            )
            assert isinstance(made, Published)
            given[place].append(made.message.id)

    served: list[int] = []

    async def serve(scene: Scene) -> None:
        async with asyncio.timeout(30):
            while len(served) < 3 * rounds:
                for one in (await claim(scene)).claims:
                    served.append(one.message.id)
                    await scene.store.record([delivered(scene, one)])

    servers = [Scene(scene.store, now=START) for scene in nodes]
    await asyncio.gather(*map(publish, range(3)), *map(serve, servers))
    assert len(set(served)) == 3 * rounds
    for mine in given:
        assert [one for one in served if one in mine] == mine


async def test_a_turn_is_taken_under_the_keys_lock(many: PostgresGround, nodes: Nodes) -> None:
    here = nodes[0]
    application, (endpoint,) = await shop(here)
    first = publication(here, application, endpoint, key=KEY)
    async with unfinished(many) as other:
        await other.ask(HOT["publish"], published_by(9, [first]))
        later = publication(here, application, endpoint, key=KEY)
        (made,) = await waits_for(many, other, here.store.publish([later]))
    assert isinstance(made, Published)
    (one,) = (await claim(here)).claims
    assert one.message.public_id == first.message.public_id
    await here.record(one)
    (two,) = (await claim(here)).claims
    assert two.message.public_id == later.message.public_id


async def test_a_key_that_goes_on_while_another_is_published_does_not_get_stuck(
    nodes: Nodes,
) -> None:
    here, there, _ = nodes
    application, (endpoint,) = await shop(here)
    for _ in range(30):
        await here.publish(application, endpoint, order_key=KEY)
        (one,) = (await claim(here)).claims
        await asyncio.gather(
            here.store.record([delivered(here, one)]),
            there.store.publish([publication(there, application, endpoint, key=KEY)]),
        )
        (two,) = (await claim(here)).claims
        await here.record(two)


# -- results ----------------------------------------------------------------------------------


async def test_success_is_absorbing_whichever_node_is_first(
    many: PostgresGround, nodes: Nodes
) -> None:
    here, there, _ = nodes
    application, (endpoint,) = await shop(here)
    for _ in range(20):
        published = await here.publish(application, endpoint, lease=LEASE)
        (stale,) = published.claims
        there.now = here.now + LEASE
        (newer,) = (await claim(there)).claims
        assert newer.claim_number == 2
        failure = Result(
            claim=newer,
            attempt=there.attempt(newer, 500),
            verdict=Verdict(state=DeliveryState.PENDING, due_at=there.now),
        )
        await asyncio.gather(
            here.store.record([delivered(here, stale)]), there.store.record([failure])
        )
        assert (await claim(there)).claims == ()
    ended = execute(many, "select state, count(*) from finished_delivery group by 1")
    assert ended == [("delivered", 20)]
    assert execute(many, "select count(*) from delivery") == [(0,)]
    assert execute(many, "select count(*) from attempt where outcome <> 'unknown'") == [(40,)]


async def test_a_stale_failure_moves_nothing_at_the_same_moment(
    many: PostgresGround, nodes: Nodes
) -> None:
    here, there, _ = nodes
    application, (endpoint,) = await shop(here)
    (stale,) = (await here.publish(application, endpoint, lease=LEASE)).claims
    there.now = here.now + LEASE
    (newer,) = (await claim(there)).claims

    def failure(scene: Scene, one: Claim, wait: int) -> Result:
        verdict = Verdict(state=DeliveryState.PENDING, due_at=scene.now + wait)
        return Result(claim=one, attempt=scene.attempt(one, 500), verdict=verdict)

    await asyncio.gather(
        here.store.record([failure(here, stale, 1)]), there.store.record([failure(there, newer, 5)])
    )
    assert execute(many, "select due_at, attempt_count, claim_number from delivery") == [
        (there.now + 5, 1, 2)
    ]


async def test_an_attempt_whose_commit_may_be_under_way_is_kept_once(
    many: PostgresGround, nodes: Nodes
) -> None:
    """The connection is gone, the server does not know it, and goes on with what it was told."""
    there = nodes[0]
    application, (endpoint,) = await shop(there)
    (one,) = (await there.publish(application, endpoint, lease=LEASE)).claims
    with TcpProxy.before(many.url) as proxy:
        store = PostgresStore(
            PostgresOptions(url=proxy.url(many.url), node_number=5),
            Box([SECRETS_KEY]),
            FakeClock(),
            WriterLimits(wait_s=20.0),
        )
        await store.record([])
        here = Scene(store)
        result = delivered(here, one)
        async with unfinished(many) as other:
            await other.execute("select 1 from delivery for update")
            first = asyncio.ensure_future(store.record([result]))
            await until(lambda: waiting(many) == 1)
            proxy.cut("client")
            with pytest.raises(OutcomeUnknownError):
                await first
            second = asyncio.ensure_future(store.record([result]))
            await until(lambda: waiting(many) == 2)
            await other.execute("rollback")
            await second
        await store.aclose()
    assert execute(many, "select count(*) from attempt") == [(1,)]
    assert execute(many, "select state, attempt_count from finished_delivery") == [("delivered", 1)]
    found = await there.store.attempts(application.id, AttemptFilter(), Page())
    assert [row.attempt.public_id for row in found.data] == [result.attempt.public_id]


async def test_works_that_wait_for_each_other_are_run_again(nodes: Nodes) -> None:
    here, there, _ = nodes
    _application, (one, other) = await shop(here, 2)
    both_hold_one = asyncio.Barrier(2)
    loop = asyncio.get_running_loop()
    runs: list[int] = []

    def lock(first: int, second: int) -> Callable[[Transaction], None]:
        def run(transaction: Transaction) -> None:
            runs.append(first)
            queue = statements("queue")["lane_lower"]
            transaction.change(queue, {"endpoint_id": first, "due_at": START})
            if len(runs) <= 2:
                asyncio.run_coroutine_threadsafe(wait_for(both_hold_one), loop).result(60)
            transaction.change(queue, {"endpoint_id": second, "due_at": START})

        return run

    async def wait_for(barrier: asyncio.Barrier) -> None:
        await barrier.wait()

    stores = [here.store, there.store]
    assert all(isinstance(store, PostgresStore) for store in stores)
    await asyncio.gather(
        stores[0]._writer.run(lock(one.id, other.id)),  # type: ignore[attr-defined]
        stores[1]._writer.run(lock(other.id, one.id)),  # type: ignore[attr-defined]
    )
    # One was run again; once more if it met the other one's locks before that had committed.
    assert 3 <= len(runs) <= 8


# -- round trips --------------------------------------------------------------------------------


async def counted(scene: Scene, work: Awaitable[Any]) -> tuple[int, Any]:
    """How often the database was waited for, and what it gave."""
    store = scene.store
    assert isinstance(store, PostgresStore)
    # What has not been used for a while is looked at before.
    await store.ping()
    await store.record([])
    connections = [executor.connection for executor in store._executors]
    before = sum(connection.queries for connection in connections)
    value = await work
    return sum(connection.queries for connection in connections) - before, value


async def test_a_batch_is_one_round_trip(nodes: Nodes) -> None:
    here = nodes[0]
    application, endpoints = await shop(here, 3)
    store = here.store
    count = functools.partial(counted, here)
    wanted = [
        publication(
            here,
            application,
            *endpoints,
            mark=b"named" + bytes([number]) + bytes(10),
            lease=LEASE if number % 2 else 0,
            event_id=f"evt-{number}",
        )
        for number in range(100)
    ]
    trips, verdicts = await count(store.publish(wanted))
    assert trips == 1
    claims = [one for verdict in verdicts for one in verdict.claims]
    assert len(claims) == 150
    trips, _ = await count(store.record([delivered(here, one) for one in claims]))
    assert trips == 1
    trips, claimed = await count(claim(here, limit=1_000))
    assert len(claimed.claims) == 150
    assert trips == 2  # the endpoints are not known yet
    again = [
        Result(
            claim=one,
            attempt=here.attempt(one, 500),
            verdict=Verdict(state=DeliveryState.PENDING, due_at=here.now),
        )
        for one in claimed.claims
    ]
    trips, _ = await count(store.record(again))
    assert trips == 1
    request = ClaimRequest(
        now=here.now,
        lease_until=here.now + LEASE,
        limit=1_000,
        rooms={},
        new_room=1_000,
        known={endpoint.id: endpoint.revision for endpoint in endpoints},
    )
    trips, claimed = await count(store.claim(request))
    assert len(claimed.claims) == 150
    assert trips == 1
    trips, claimed = await count(store.claim(request))
    assert claimed.claims == ()
    assert trips == 1
    ordered = [publication(here, application, *endpoints, key=KEY) for _ in range(10)]
    trips, verdicts = await count(store.publish(ordered))
    assert not any(isinstance(verdict, MarketbellError) for verdict in verdicts)
    assert trips == 1


async def test_a_batch_that_goes_through_another_node_is_three_round_trips(nodes: Nodes) -> None:
    """With a backlog that the owner knows of, lanes that it has no room in, and lanes that it has never met."""
    here, there, _ = nodes
    application, endpoints = await shop(here, 12)
    known = {endpoint.id: endpoint.revision for endpoint in endpoints}
    full, behind = endpoints[0].id, endpoints[1].id
    before = [publication(here, application, endpoints[1]) for _ in range(3)]
    await here.store.publish(before)
    first = await there.store.claim(
        ClaimRequest(
            now=there.now, lease_until=there.now + LEASE, limit=100, rooms={}, new_room=1, known=known
        )
    )  # fmt: skip
    assert first.backlog == {behind}
    wanted = [publication(here, application, *endpoints) for _ in range(10)]
    published, _ = await counted(here, here.store.publish(wanted))
    request = ClaimRequest(
        now=there.now,
        lease_until=there.now + LEASE,
        limit=1_000,
        rooms={full: 0, behind: 4},
        new_room=10,
        lanes=(behind,),
        known=known,
        slots=frozenset(range(SLOTS)),
    )
    claiming, claimed = await counted(there, there.store.claim(request))
    assert Counter(claim.endpoint_id for claim in claimed.claims) == {
        behind: 4,
        **{endpoint.id: 10 for endpoint in endpoints[2:]},
    }
    assert claimed.backlog == {full, behind}
    results = [delivered(there, claim) for claim in claimed.claims]
    recorded, _ = await counted(there, there.store.record(results))
    assert (published, claiming, recorded) == (1, 1, 1)


async def test_what_a_pooler_gives_is_enough(many: PostgresGround) -> None:
    """No prepared statement and no setting outlives a transaction."""
    async with many.opened(FakeClock(), node=4, pooled=True) as store:
        scene = Scene(store)
        application, (endpoint,) = await shop(scene)
        wanted = publication(scene, application, endpoint, mark=b"named" + bytes(11), event_id="e")
        (made,) = await store.publish([wanted])
        assert isinstance(made, Published)
        (again,) = await store.publish([wanted])
        assert isinstance(again, Published)
        assert again.repeated
        (taken,) = await store.publish([publication(scene, application, endpoint, event_id="e")])
        assert isinstance(taken, ConflictError)
        (one,) = (await claim(scene)).claims
        await store.record([delivered(scene, one)])
        assert (await claim(scene)).claims == ()
