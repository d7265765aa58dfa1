"""Migrations of real databases: with work under way, beside traffic, by two at once, and refused."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import psycopg
import pytest
from psycopg import sql

from marketbell.errors import LockedError, SchemaError, UnavailableError
from marketbell.store import migrate_postgresql, postgresql_versions, sqlite_schema
from marketbell.store.base import Store
from marketbell.store.migrate import migrate as migrate_sqlite
from marketbell.store.migrations import Migration, Report, known, read
from marketbell.store.postgresql import PostgresOptions
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from support import filled
from support.filled import Fixture
from support.pgbouncer import PgBouncer
from support.postgres import PostgresServer, fresh_database
from support.postgres_stores import migrated, postgres_store

LAST = {name: known(name)[-1].number for name in ("sqlite", "postgresql")}


def future(database: str, *scripts: str) -> tuple[Migration, ...]:
    """The migrations that there are, and some that a later version might bring."""
    ours = known(database)
    return ours + tuple(
        read(f"{ours[-1].number + place:04}_future.sql", script)
        for place, script in enumerate(scripts, start=1)
    )


FUTURE = (
    "-- migrate: before\nalter table delivery add column extra int not null default 7;",
    "-- migrate: before\ncreate index delivery_extra on delivery (extra);",
    "-- migrate: after\nalter table delivery drop column lost_count;",
)


def in_thread(run: Callable[..., Report], *arguments: object, **options: object) -> Report:
    """What a function gives on a thread that has no loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, *arguments, **options).result()


# -- nothing under way is lost


@asynccontextmanager
async def opened(fixture: Fixture, url: str, path: Path) -> AsyncIterator[Store]:
    store: Store
    if fixture.database == "sqlite":
        store = filled.sqlite_store(path)
    else:
        store = postgres_store(url, filled.KEY, FakeClock(START))
    yield store
    await store.aclose()


def migrated_one(fixture: Fixture, url: str, path: Path, *scripts: str) -> Report:
    ours = future(fixture.database, *scripts)
    if fixture.database == "postgresql":
        return in_thread(migrate_postgresql.migrate, PostgresOptions(url=url), ours=ours)
    connection = apsw.Connection(str(path))
    try:
        return migrate_sqlite(connection, ours)
    finally:
        connection.close()


NOW = [Fixture(name, LAST[name], Path()) for name in ("sqlite", "postgresql")]
"""The schemas of this program, filled by itself: there is no release that has left any."""


@pytest.mark.parametrize(
    "fixture", [*NOW, *filled.fixtures()], ids=lambda one: f"{one.database}-{one.number}"
)
async def test_what_a_version_left_under_way_is_gone_on_with(
    fixture: Fixture, postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "filled.db"
    if fixture in NOW:
        if fixture.database == "postgresql":
            migrated(postgres_url)
        async with opened(fixture, postgres_url, path) as store:
            await filled.fill(store)
    elif fixture.database == "sqlite":
        shutil.copy(fixture.path, path)
    else:
        filled.load(postgres, postgres_url.rpartition("/")[2], fixture.path.read_text())
    report = migrated_one(fixture, postgres_url, path, *FUTURE[:2])
    assert (report.before, report.schema) == (fixture.number, LAST[fixture.database] + 2)
    if fixture.database == "sqlite":
        with apsw.Connection(str(path)) as connection:
            connection.pragma("user_version", LAST["sqlite"])  # as if this program knew them
    async with opened(fixture, postgres_url, path) as store:
        sent = await filled.finish(store)
    assert sorted(sent) == filled.SENT
    assert sent.index(("first", 2)) < sent.index(("second", 1))


async def test_a_dump_of_a_filled_database_is_one_that_can_be_loaded(
    postgres: PostgresServer, migrated_url: str, postgres_url: str
) -> None:
    """What the files of releases are made by."""
    async with opened(NOW[1], migrated_url, Path()) as store:
        await filled.fill(store)
    script = filled.dump(postgres, migrated_url.rpartition("/")[2])
    filled.load(postgres, postgres_url.rpartition("/")[2], script)
    assert in_thread(migrate_postgresql.migrate, PostgresOptions(url=postgres_url)).applied == ()
    async with opened(NOW[1], postgres_url, Path()) as store:
        assert sorted(await filled.finish(store)) == filled.SENT


# -- beside traffic


def waiting_for_a_lock(postgres: PostgresServer, url: str) -> bool:
    found = postgres.execute(
        "select 1 from pg_stat_activity where datname = %s and wait_event_type = 'Lock'",
        url.rpartition("/")[2],
    )
    return bool(found)


@pytest.fixture
def holder(migrated_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction that reads a table and does not end, as a long report would."""
    with psycopg.connect(migrated_url) as connection:
        connection.execute("select count(*) from marketbell.delivery")
        yield connection


def test_a_migration_steps_back_from_a_long_transaction_so_that_nothing_waits_behind_it(
    postgres: PostgresServer, migrated_url: str, holder: psycopg.Connection[tuple[object, ...]]
) -> None:
    ours = future("postgresql", FUTURE[0])
    options = PostgresOptions(url=migrated_url)
    slowest = 0.0
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(migrated_url, autocommit=True) as traffic,
    ):
        migrating = pool.submit(migrate_postgresql.migrate, options, ours=ours)
        tries, was = 0, False
        deadline = time.monotonic() + 60
        while tries < 2:
            assert time.monotonic() < deadline
            begun = time.monotonic()
            traffic.execute("select count(*) from marketbell.delivery")
            slowest = max(slowest, time.monotonic() - begun)
            now = waiting_for_a_lock(postgres, migrated_url)
            tries, was = tries + (now and not was), now
        holder.rollback()
        assert migrating.result(60).applied == (ours[-1].name,)
    assert slowest < 20  # half a second of it behind the migration; it would be for ever


def test_with_no_patience_it_says_so_and_has_changed_nothing(
    migrated_url: str, holder: psycopg.Connection[tuple[object, ...]]
) -> None:
    ours = future("postgresql", *FUTURE[:1])
    options = PostgresOptions(url=migrated_url)
    with pytest.raises(UnavailableError, match="call it again when less goes on"):
        migrate_postgresql.migrate(options, ours=ours, patience_s=0.0)
    assert migrate_postgresql.look(options, ours).current == LAST["postgresql"]


def test_an_index_is_made_without_a_transaction_though_a_lock_is_held(
    postgres: PostgresServer, migrated_url: str
) -> None:
    script = (
        "-- migrate: before, no transaction\n"
        "drop index concurrently if exists {schema}.delivery_extra;\n"
        "create index concurrently delivery_extra on {schema}.delivery (born_at);\n"
    )
    ours = future("postgresql", script)
    options = PostgresOptions(url=migrated_url, pooled=True)
    with psycopg.connect(migrated_url, autocommit=True) as before:
        # A try that was broken off has left one; it is not counted as having run.
        before.execute("create index delivery_extra on marketbell.delivery (due_at)")
    assert migrate_postgresql.migrate(options, ours=ours).applied == (ours[-1].name,)
    (found,) = postgres.execute(
        "select indexdef from pg_indexes where indexname = 'delivery_extra'",
        database=migrated_url.rpartition("/")[2],
    )
    assert "born_at" in found[0]
    assert migrate_postgresql.migrate(options, ours=ours).applied == ()


def test_what_fails_is_undone_and_what_came_before_it_stays(migrated_url: str) -> None:
    broken = "-- migrate: before\ncreate table half ();\nselect 1 / 0;"
    ours = future("postgresql", FUTURE[0], broken)
    options = PostgresOptions(url=migrated_url)
    with pytest.raises(UnavailableError, match="division by zero"):
        migrate_postgresql.migrate(options, ours=ours)
    assert migrate_postgresql.look(options, ours).current == LAST["postgresql"] + 1
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("select to_regclass('marketbell.half')").fetchone() == (None,)


# -- with nodes of the version before


def test_what_runs_after_waits_for_the_nodes_of_the_version_before(migrated_url: str) -> None:
    ours = future("postgresql", FUTURE[0], FUTURE[2], FUTURE[1])
    before, after, later = (one.name for one in ours[-3:])
    options = PostgresOptions(url=migrated_url)
    node = (
        "insert into marketbell.node (number, name, role, version, schema, started_at, lease_until)"
        " values (%s, %s, 'all', '0', %s, 0, extract(epoch from clock_timestamp()) * 1000 + %s)"
    )
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        for number, name, schema, left in (
            (1, "old", LAST["postgresql"], 60_000),
            (2, "new", LAST["postgresql"] + 3, 60_000),
            (3, "dead", LAST["postgresql"], -1),
        ):
            connection.execute(node, (number, name, schema, left))
        report = migrate_postgresql.migrate(options, ours=ours)
        assert report.applied == (before,)
        assert (report.waiting, report.held_up_by) == ((after, later), ("old",))
        migrate_postgresql.check(options)
        connection.execute("update marketbell.node set schema = schema + 3 where name = 'old'")
    report = migrate_postgresql.migrate(options, ours=ours)
    assert (report.applied, report.waiting) == ((after, later), ())


# -- through a pooler


def test_a_pooler_may_stand_between(postgres: PostgresServer, postgres_url: str) -> None:
    index = (
        "-- migrate: before, no transaction\n"
        "create index concurrently delivery_extra on {schema}.delivery (born_at);\n"
    )
    ours = future("postgresql", FUTURE[0], index)
    with PgBouncer(postgres, pool=2) as bouncer:
        url = bouncer.url(postgres_url.rpartition("/")[2])
        options = PostgresOptions(url=url, pooled=True)
        start = threading.Barrier(2)

        def run() -> Report:
            start.wait()
            return migrate_postgresql.migrate(options, ours=ours[:-1])

        with ThreadPoolExecutor(2) as pool:
            reports = [one.result() for one in [pool.submit(run) for _ in range(2)]]
        assert sum(len(one.applied) for one in reports) == len(ours) - 1
        assert migrate_postgresql.migrate(options, ours=ours).applied == (ours[-1].name,)
        migrate_postgresql.check(options, ours)


# -- several at once


def test_of_several_at_once_each_migration_is_run_by_one(postgres_url: str) -> None:
    options = PostgresOptions(url=postgres_url)
    start = threading.Barrier(4)

    def run() -> Report:
        start.wait()
        return migrate_postgresql.migrate(options)

    with ThreadPoolExecutor(4) as pool:
        reports = [one.result() for one in [pool.submit(run) for _ in range(4)]]
    assert sorted(name for one in reports for name in one.applied) == [
        one.name for one in known("postgresql")
    ]
    assert {one.schema for one in reports} == {LAST["postgresql"]}


def test_one_that_waits_for_another_too_long_says_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended('marketbell.migrate marketbell', 0))"
        )
        with pytest.raises(LockedError, match="Another program migrates"):
            migrate_postgresql.migrate(PostgresOptions(url=postgres_url), patience_s=0.0)


# -- what is refused


def test_a_dry_run_changes_nothing(postgres_url: str) -> None:
    options = PostgresOptions(url=postgres_url)
    report = migrate_postgresql.migrate(options, dry_run=True)
    assert report.applied == tuple(one.name for one in known("postgresql"))
    assert (report.before, report.schema, report.dry_run) == (0, LAST["postgresql"], True)
    assert migrate_postgresql.look(options).current == 0


def test_a_newer_schema_is_refused_to_migrate_and_borne_to_serve_on(migrated_url: str) -> None:
    options = PostgresOptions(url=migrated_url)
    migrate_postgresql.migrate(options, ours=future("postgresql", *FUTURE[:1]))
    with pytest.raises(SchemaError, match="use a newer one"):
        migrate_postgresql.migrate(options)
    migrate_postgresql.check(options)
    migrate_postgresql.migrate(options, ours=future("postgresql", FUTURE[0], FUTURE[2]))
    with pytest.raises(SchemaError, match="use a newer one"):
        migrate_postgresql.check(options)


def test_without_its_schema_nothing_is_served(postgres_url: str) -> None:
    with pytest.raises(SchemaError, match="run `marketbell migrate`"):
        migrate_postgresql.check(PostgresOptions(url=postgres_url))


@pytest.mark.parametrize("table", ["migration", "orders"])
def test_another_programs_schema_is_left_alone(postgres_url: str, table: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create schema marketbell")
        connection.execute(
            sql.SQL("create table marketbell.{} (number bigint)").format(sql.Identifier(table))
        )
        with pytest.raises(SchemaError, match="another program's tables"):
            migrate_postgresql.migrate(PostgresOptions(url=postgres_url))


def test_two_of_ours_stand_side_by_side_and_a_schema_may_be_there(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create schema second")
    for schema in ("marketbell", "second"):
        options = PostgresOptions(url=postgres_url, schema=schema)
        assert len(migrate_postgresql.migrate(options).applied) == LAST["postgresql"]


def test_a_role_that_may_not_is_told_what_it_lacks(postgres: PostgresServer) -> None:
    with fresh_database(postgres) as name:
        postgres.execute("drop role if exists weak")
        postgres.execute("create role weak login")
        with pytest.raises(SchemaError, match="permission denied for database"):
            migrate_postgresql.migrate(PostgresOptions(url=postgres.url(name, "weak")))


def test_a_database_in_another_encoding_is_refused(postgres: PostgresServer) -> None:
    name = "latin"
    postgres.execute("create database latin encoding 'SQL_ASCII' template template0 locale 'C'")
    try:
        with pytest.raises(SchemaError, match="make one in UTF8"):
            migrate_postgresql.migrate(PostgresOptions(url=postgres.url(name)))
    finally:
        postgres.drop_database(name)


def test_a_server_that_is_too_old_is_refused_and_left_as_it_is(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that needs a later one than this."""
    ((number,),) = postgres.execute("select current_setting('server_version_num')::int / 10000")
    monkeypatch.setattr(postgresql_versions, "OLDEST", number + 1)
    options = PostgresOptions(url=postgres_url)
    said = f"The server is PostgreSQL {number}; Marketbell needs {number + 1} or later"
    for run in (migrate_postgresql.migrate, migrate_postgresql.look, migrate_postgresql.check):
        with pytest.raises(SchemaError, match=said):
            run(options)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select to_regnamespace('marketbell')").fetchone() == (None,)


# -- the file


def test_a_file_is_made_and_then_as_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    planned = sqlite_schema.migrate_file(path, dry_run=True)
    assert (len(planned.applied), path.exists()) == (LAST["sqlite"], False)
    assert len(sqlite_schema.migrate_file(path).applied) == LAST["sqlite"]
    assert sqlite_schema.migrate_file(path).applied == ()


async def test_a_file_that_a_server_has_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "served.db"
    store = filled.sqlite_store(path)
    try:
        with pytest.raises(LockedError, match=r"A server has .* nothing to migrate"):
            sqlite_schema.migrate_file(path)
        assert sqlite_schema.migrate_file(path, dry_run=True).applied == ()
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    ("statement", "said"),
    [("create table x (y)", "another program's"), ("pragma user_version = 99", "has schema 99")],
)
def test_a_file_of_another_program_or_of_a_newer_one_is_refused(
    tmp_path: Path, statement: str, said: str
) -> None:
    path = tmp_path / "x.db"
    with apsw.Connection(str(path)) as connection:
        connection.execute(statement)
    with pytest.raises(SchemaError, match=said):
        sqlite_schema.migrate_file(path)
    with pytest.raises(SchemaError, match=said):
        sqlite_schema.migrate_file(path, dry_run=True)
