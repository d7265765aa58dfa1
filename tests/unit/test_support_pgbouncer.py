"""The tests' PgBouncer gives a client another session for each transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from support.children import gone
from support.pgbouncer import PgBouncer
from support.postgres import PostgresServer, fresh_database


@pytest.fixture
def bouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """One with a single connection to the server."""
    with PgBouncer(postgres, pool=1) as started:
        yield started


async def connected(bouncer: PgBouncer, database: str = "postgres") -> asyncpg.Connection:
    """A client of it, as it must be: without prepared statements that outlive a transaction."""
    return await asyncpg.connect(bouncer.url(database), statement_cache_size=0)


async def test_two_clients_share_one_session(bouncer: PgBouncer) -> None:
    one, two = await connected(bouncer), await connected(bouncer)
    pids = {await each.fetchval("select pg_backend_pid()") for each in (one, two, one)}
    assert len(pids) == 1
    await one.execute("set application_name = 'of one'")
    assert await two.fetchval("show application_name") == "of one"
    async with one.transaction():
        waiting = asyncio.create_task(two.fetchval("select 1"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
    assert await waiting == 1
    await one.close()
    await two.close()


async def test_prepared_statements_are_not_of_the_client_that_made_them(
    bouncer: PgBouncer,
) -> None:
    one, two = await connected(bouncer), await connected(bouncer)
    prepared = await one.prepare("select 1", name="of_one")
    assert await prepared.fetchval() == 1
    await two.execute("deallocate all")
    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
        await prepared.fetchval()
    one.terminate()
    two.terminate()


async def test_it_comes_back_on_the_same_port(bouncer: PgBouncer) -> None:
    first = await connected(bouncer)
    await first.execute("select 1")
    bouncer.kill()
    with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
        await first.execute("select 1")
    with pytest.raises(ConnectionRefusedError):
        await connected(bouncer)
    bouncer.start()
    second = await connected(bouncer)
    await second.execute("select 1")
    bouncer.stop()
    first.terminate()
    second.terminate()
    bouncer.start()


async def test_it_reaches_every_database_and_leaves_nothing(postgres: PostgresServer) -> None:
    with PgBouncer(postgres) as bouncer:
        with fresh_database(postgres) as name:
            client = await connected(bouncer, name)
            assert await client.fetchval("select current_database()") == name
            await client.close()
        pid = int((bouncer.folder / "server.pid").read_text())
    assert gone(pid)
    assert not bouncer.folder.exists()
