"""A replica of the tests' PostgreSQL follows its primary and takes its place."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from support.postgres import PostgresServer
from support.postgres_replica import Replica


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    """A running one of this test's own, with one row."""
    with PostgresServer() as started:
        started.execute("create table kept as select 1 as id")
        yield started


def test_it_follows_and_refuses_writes(primary: PostgresServer) -> None:
    with Replica(primary) as replica:
        primary.execute("insert into kept values (2)")
        replica.catch_up()
        assert replica.follows
        assert replica.execute("select id from kept order by id") == [(1,), (2,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            replica.execute("insert into kept values (3)")
        replica.restart()
        assert replica.follows


def test_a_synchronous_one_has_what_a_killed_primary_confirmed(primary: PostgresServer) -> None:
    with Replica(primary, synchronous=True) as replica:
        with primary.connect() as connection:
            for number in range(2, 51):
                connection.execute("insert into kept values (%s)", [number])
        primary.kill()
        replica.promote()
        assert not replica.follows
        assert replica.execute("select count(*) from kept") == [(50,)]
        replica.execute("insert into kept values (51)")


def test_the_primary_waits_for_a_synchronous_one(primary: PostgresServer) -> None:
    with Replica(primary, synchronous=True) as replica, primary.connect() as connection:
        connection.execute("insert into kept values (2)")
        replica.freeze()
        connection.pgconn.send_query(b"insert into kept values (3)")
        connection.pgconn.flush()
        waits = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'SyncRep'"
        deadline = time.monotonic() + 10
        while primary.execute(waits, connection.info.backend_pid) != [(1,)]:
            assert time.monotonic() < deadline, "it committed without the replica"
        assert primary.execute("select count(*) from kept") == [(2,)]
        replica.thaw()
        while connection.pgconn.get_result() is not None:
            pass
        assert replica.execute("select count(*) from kept") == [(3,)]
