"""The PostgreSQL of the tests starts, stops, dies, recovers and freezes as it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from support.children import children_of, gone
from support.postgres import PostgresServer, fresh_database


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A running one of this test's own."""
    with PostgresServer() as started:
        yield started


async def test_each_test_has_an_empty_database_of_its_own(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("create table mark (id bigint)")
    assert await connection.fetchval("select count(*) from pg_tables where tablename = 'mark'") == 1
    await connection.close()


async def test_and_the_next_one_too(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("select count(*) from pg_tables where tablename = 'mark'") == 0
    assert not await connection.fetchval("select usesuper from pg_user where usename = user")
    await connection.close()


async def test_a_database_goes_though_somebody_is_connected(postgres: PostgresServer) -> None:
    with fresh_database(postgres) as name:
        connection = await asyncpg.connect(postgres.url(name))
        there = "select count(*) from pg_database where datname = %s"
        assert postgres.execute(there, name) == [(1,)]
    assert postgres.execute(there, name) == [(0,)]
    connection.terminate()


async def test_both_addresses_lead_to_it(server: PostgresServer) -> None:
    name = server.create_database()
    for url in (server.url(name), server.socket_url(name)):
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select current_database()") == name
        await connection.close()


def test_a_database_is_copied_from_another(server: PostgresServer) -> None:
    first = server.create_database()
    server.execute("create table kept (id bigint)", database=first)
    second = server.create_database(template=first)
    assert server.execute("select count(*) from kept", database=second) == [(0,)]


def test_a_stop_keeps_everything(server: PostgresServer) -> None:
    server.execute("create table kept as select generate_series(1, 1000) as id")
    port = server.port
    for mode in ("smart", "fast", "immediate"):
        server.restart(mode)
        assert server.execute("select count(*) from kept") == [(1000,)]
    assert server.port == port
    assert "not properly shut down" in server.log.read_text()


def test_what_was_committed_before_a_kill_is_there_after_it(server: PostgresServer) -> None:
    server.execute("create table kept (id bigint)")
    with server.connect() as connection:
        connection.execute("insert into kept values (1)")
        connection.autocommit = False
        connection.execute("insert into kept values (2)")
        begun = server.pid
        children = children_of(begun)
        assert children
        server.kill()
        assert all(map(gone, (begun, *children)))
        assert not server.runs
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    with pytest.raises(psycopg.OperationalError):
        server.execute("select 1")
    server.start()
    assert server.execute("select id from kept") == [(1,)]
    assert "not properly shut down" in server.log.read_text()


def test_a_frozen_one_answers_nothing_and_goes_on_after(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("select 1")
        server.freeze()
        connection.pgconn.send_query(b"select 2")
        connection.pgconn.flush()
        time.sleep(0.2)  # nothing to wait for: nothing may come
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        server.thaw()
        answer = connection.pgconn.get_result()
        assert answer is not None
        assert answer.get_value(0, 0) == b"2"
        assert connection.pgconn.get_result() is None


def test_a_frozen_one_can_be_killed_and_stopped(server: PostgresServer) -> None:
    server.freeze()
    server.kill()
    server.start()
    server.freeze()
    server.stop()


def test_settings_hold_from_the_next_start(server: PostgresServer) -> None:
    assert server.execute("show fsync") == [("off",)]
    server.settings |= {"max_connections": 7, "fsync": "on"}
    server.restart()
    assert server.execute("show max_connections") == [("7",)]
    assert server.execute("show fsync") == [("on",)]


def test_a_durable_one_syncs() -> None:
    with PostgresServer(durable=True) as server:
        assert server.execute("show fsync") == [("on",)]
        assert server.execute("show full_page_writes") == [("on",)]


def test_nothing_is_left_of_one_that_was_cleared(server: PostgresServer) -> None:
    pid, folder = server.pid, server.folder
    children = children_of(pid)
    server.kill()
    server.start()
    pid = server.pid
    server.clear()
    assert all(map(gone, (pid, *children)))
    assert not folder.exists()


def test_it_ends_with_a_test_process_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from support.postgres import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "server.freeze()\n"
        "print('frozen', flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as other:
        assert other.stdout is not None
        pid, folder = other.stdout.readline().split()
        assert other.stdout.readline() == "frozen\n"
        assert not gone(int(pid))
        other.send_signal(signal.SIGKILL)
        other.wait()
        deadline = time.monotonic() + 60
        while not gone(int(pid)) or Path(folder).exists():
            assert time.monotonic() < deadline, "it outlived the process that started it"
            time.sleep(0.02)
