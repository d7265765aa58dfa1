"""A node that freezes within a transaction: the server ends it, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from marketbell.clock import SystemClock
from marketbell.model import Policy
from marketbell.store.nodes import PostgresNodes
from marketbell.store.postgresql import Connection, PostgresOptions
from marketbell.store.postgresql_errors import LOST
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.knobs import Knobs
from support.postgres_plane import PostgresPlane
from support.proxy import Line, TcpProxy

IDLE_S = 0.5
PATIENCE_S = 15.0
"""Longer than a frozen transaction is borne, shorter than its locks were held without that."""
LANES = "select endpoint_id from lane for update"
MUCH = """
select lane.endpoint_id, repeat('x', 10000) from lane cross join generate_series(1, 100000)
for update of lane
"""
"""A gigabyte with the lanes' locks."""


@contextlib.contextmanager
def connection(url: str, *, pooled: bool = False) -> Iterator[Connection]:
    """A connection as nodes have them, which waits for its own answers as long as it may."""
    options = PostgresOptions(url=url, statement_s=60.0, idle_s=IDLE_S, pooled=pooled)
    with contextlib.closing(Connection(options, name="frozen")) as made:
        yield made


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Connections have a loop of their own."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def refuse_first() -> Callable[[Received], Answer]:
    """A receiver's script that takes a message when it comes for the second time."""
    answers = iter([Answer(status=500)])
    return lambda _request: next(answers, OK)


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
async def test_the_locks_of_a_node_that_asks_nothing_more_are_let_go(
    migrated_url: str, pooled: bool
) -> None:
    thawed = threading.Event()
    frozen = threading.Event()
    ended: list[Exception] = []

    def freeze() -> None:
        with connection(migrated_url, pooled=pooled) as own:
            own.begin()
            own.fetch(LANES, ())
            frozen.set()
            thawed.wait()
            try:
                own.fetch(LANES, ())
            except (*LOST, asyncpg.PostgresError) as error:
                ended.append(error)

    async with (
        TestReceiver(refuse_first()) as shop,
        PostgresPlane(migrated_url, SystemClock(), Knobs(wait_s=PATIENCE_S)) as plane,
    ):
        application = await plane.application(Policy(retry_schedule=(10,) * 20))
        await plane.endpoint(application, shop.url)
        thread = in_thread(freeze)
        await asyncio.to_thread(frozen.wait)
        async with asyncio.timeout(PATIENCE_S):
            await plane.publish(application)
            await shop.wait_for(2)
        thawed.set()
        await asyncio.to_thread(thread.join)
        assert ended


async def test_so_are_those_of_one_that_does_not_read_its_answer(migrated_url: str) -> None:
    ended = threading.Event()
    with TcpProxy.before(migrated_url) as proxy:

        def freeze() -> None:
            with connection(proxy.url(migrated_url)) as own:
                own.begin()
                proxy.put(Line(bytes_per_s=1_000))
                with pytest.raises((*LOST, asyncpg.PostgresError)):
                    own.fetch(MUCH, ())
                ended.set()

        async with (
            TestReceiver(refuse_first()) as shop,
            PostgresPlane(migrated_url, SystemClock(), Knobs(wait_s=PATIENCE_S)) as plane,
        ):
            application = await plane.application(Policy(retry_schedule=(10,) * 20))
            await plane.endpoint(application, shop.url)
            thread = in_thread(freeze)
            await until_locked(plane)
            async with asyncio.timeout(PATIENCE_S):
                await plane.publish(application)
                await shop.wait_for(2)
            assert not ended.is_set()
            proxy.cut()
            await asyncio.to_thread(thread.join)


async def until_locked(plane: PostgresPlane) -> None:
    """Return once somebody has locked lanes for update."""
    watch = await asyncpg.connect(plane.url)
    try:
        async with asyncio.timeout(60):
            while not await watch.fetchval(  # noqa: ASYNC110 - nothing tells of locks
                "select count(*) from pg_locks where relation = 'marketbell.lane'::regclass"
                " and mode = 'RowShareLock' and granted and pid <> pg_backend_pid()"
            ):
                await asyncio.sleep(0.01)
    finally:
        await watch.close()


async def test_a_sign_of_life_through_a_pooler_holds_its_slots_no_longer(migrated_url: str) -> None:
    nodes = PostgresNodes(PostgresOptions(url=migrated_url, pooled=True), lease=1_500)
    own = await nodes._connection()
    gone = asyncio.Event()
    own.add_termination_listener(lambda _connection: gone.set())
    try:
        await own.execute("begin")
        await own.execute(
            ";".join(f"set local {name} = {value}" for name, value in nodes._settings.items())
        )
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()
    finally:
        await nodes.aclose()
