"""The outbox on every driver: a row exists if and only if the caller's transaction commits."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, LiteralString

import asyncpg
import msgspec
import psycopg
import pytest
import sqlalchemy
from django.db import connections as django_connections  # type: ignore[import-untyped]
from sqlalchemy.ext import asyncio as sqlalchemy_async

from marketbell import outbox
from marketbell.errors import InvalidError, TooLargeError
from marketbell.store.migrate_postgresql import migrate
from marketbell.store.postgresql import PostgresOptions
from support.outbox_callers import CALLERS, Begin, Undo, django_database
from support.postgres import PostgresServer, fresh_database
from support.postgres_stores import migrated

EVERY = pytest.mark.parametrize("begin", CALLERS.values(), ids=CALLERS)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database with Marketbell's schema, and with a role that may insert only."""
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        postgres.execute("create role shop login")
    with fresh_database(postgres) as name:
        migrated(postgres.url(name))
        with psycopg.connect(postgres.url(name)) as connection:
            connection.execute("grant usage on schema marketbell to shop")
            connection.execute(
                "grant insert (organization, application, body) on marketbell.outbox to shop"
            )
        yield name


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    """That database with an empty outbox, as its owner."""
    with psycopg.connect(postgres.url(database)) as connection:
        connection.execute("truncate marketbell.outbox")
    return postgres.url(database)


@pytest.fixture
def caller_url(postgres: PostgresServer, url: str, database: str) -> str:
    """The same as the role that may do nothing but insert into the outbox."""
    return postgres.url(database, "shop")


def rows(url: str) -> list[tuple[str | None, str, Any]]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select organization, application, body::text from marketbell.outbox"
            " order by transaction, id"
        )
        return [(org, app, msgspec.json.decode(body)) for org, app, body in found]


def bodies(url: str) -> list[Any]:
    return [body["payload"] for _, _, body in rows(url)]


@pytest.mark.parametrize(
    "statement",
    [
        "select 1 from marketbell.outbox",
        "delete from marketbell.outbox",
        "update marketbell.outbox set application = 'b'",
        "truncate marketbell.outbox",
        "insert into marketbell.outbox (application, body) values ('a', '{}') returning id",
        "insert into marketbell.outbox (application, body, created_at) values ('a', '{}', 1)",
        "insert into marketbell.outbox (application, body, transaction) values ('a', '{}', 1)",
        "insert into marketbell.message_event_id values (1, 'a', 1)",
        "select 1 from marketbell.secret",
        "select 1 from marketbell.outbox_rejected",
        "create table marketbell.message_20990101 (id bigint)",
        "create rule r as on insert to marketbell.outbox do instead nothing",
        "select marketbell.add_partitions(30000)",
        "select marketbell.drop_partitions(array['message', 'payload'], false, 20779, 0)",
    ],
)
def test_the_caller_can_do_nothing_else(caller_url: str, statement: LiteralString) -> None:
    with (
        psycopg.connect(caller_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_no_other_function_has_its_owners_rights(url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select proname from pg_proc where prosecdef"
            " and pronamespace = 'marketbell'::regnamespace order by 1"
        )
        assert [name for (name,) in found] == ["add_partitions", "drop_partitions"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("application", "a" * 1_025),
        ("organization", "o" * 1_025),
        ("created_at", -1),
        ("created_at", 2**63 - 1),
    ],
)
def test_what_no_node_could_keep_is_refused_at_once(
    url: str, column: LiteralString, value: object
) -> None:
    row: dict[str, object] = {"application": "a", "organization": None, "created_at": 0}
    row[column] = value
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "insert into marketbell.outbox (application, organization, created_at, body)"
            " values (%(application)s, %(organization)s, %(created_at)s, '{}')",
            row,
        )


@EVERY
async def test_it_exists_after_the_commit_and_not_before(
    begin: Begin, caller_url: str, url: str
) -> None:
    async with begin(caller_url) as caller:
        await caller.publish(payload={"n": 1})
        assert rows(url) == []
    assert rows(url) == [(None, "kaunas", {"eventType": "order.created", "payload": {"n": 1}})]


@EVERY
async def test_it_is_gone_with_a_rollback(begin: Begin, caller_url: str, url: str) -> None:
    with contextlib.suppress(Undo):
        async with begin(caller_url) as caller:
            await caller.publish()
            raise Undo
    assert rows(url) == []


@EVERY
async def test_it_follows_its_savepoint(begin: Begin, caller_url: str, url: str) -> None:
    async with begin(caller_url) as caller:
        await caller.publish(payload={"n": 1})
        with contextlib.suppress(Undo):
            async with caller.savepoint():
                await caller.publish(payload={"n": 2})
                raise Undo
        async with caller.savepoint():
            await caller.publish(payload={"n": 3})
    assert bodies(url) == [{"n": 1}, {"n": 3}]


@EVERY
async def test_many_at_once_keep_their_order(begin: Begin, caller_url: str, url: str) -> None:
    drafts = [
        outbox.Draft(application="kaunas", event_type="a", payload={"n": n}) for n in range(300)
    ]
    async with begin(caller_url) as caller:
        await caller.publish_many()
        await caller.publish_many(*drafts)
    assert bodies(url) == [{"n": n} for n in range(300)]


@EVERY
async def test_every_field_arrives_as_the_api_takes_it(begin: Begin, url: str) -> None:
    moment = datetime(2026, 11, 21, 9, 30, 0, 125_000, UTC)
    async with begin(url) as caller:
        await caller.publish(
            organization="org_shop",
            payload='{"name":  "Kaunas Ąžuolas 🚗 \\\\ %s $1 :x \'", "n": 1e400}'.encode().replace(
                b"1e400", b"12345678901234567890.10"
            ),
            event_id="order-1",
            channels=["a", "b"],
            tags=("x/y",),
            timestamp=moment,
            deliver_at=moment,
            payload_retention_hours=5,
            headers={"X-Shop": "a b"},
        )
    with psycopg.connect(url) as connection:
        found = connection.execute("select organization, body::text from marketbell.outbox")
        ((organization, body),) = found.fetchall()
    assert organization == "org_shop"
    assert body == (
        '{"eventType":"order.created",'
        '"payload":{"name":  "Kaunas Ąžuolas 🚗 \\\\ %s $1 :x \'", "n": 12345678901234567890.10},'
        '"eventId":"order-1","channels":["a","b"],"tags":["x/y"],'
        '"timestamp":"2026-11-21T09:30:00.125000+00:00",'
        '"deliverAt":"2026-11-21T09:30:00.125000+00:00",'
        '"payloadRetentionHours":5,"transformationsParams":{"headers":{"X-Shop":"a b"}}}'
    )


@EVERY
async def test_nothing_reaches_the_database_of_what_is_refused(begin: Begin, url: str) -> None:
    good = outbox.Draft(application="kaunas", event_type="a", payload={})
    bad = outbox.Draft(application="kaunas", event_type="a b", payload={})
    async with begin(url) as caller:
        with pytest.raises(InvalidError) as refused:
            await caller.publish_many(good, bad)
        with pytest.raises(InvalidError, match="JSON object"):
            await caller.publish(payload=b"[]")
        await caller.publish(payload={"good": True})  # the transaction goes on
    assert refused.value.field == (1, "event_type")
    assert bodies(url) == [{"good": True}]


# -- outside of a transaction -----------------------------------------------------------


async def refused(make: Callable[[], Any]) -> str:
    async def publish() -> None:
        done = make()
        if done is not None:
            await done

    with pytest.raises(InvalidError) as error:
        await publish()
    assert error.value.field == ("connection",)
    return error.value.detail


FIELDS: dict[str, Any] = {"application": "kaunas", "event_type": "a", "payload": {}}


async def test_psycopg_in_autocommit_is_refused(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        said = await refused(lambda: outbox.publish(connection, **FIELDS))
        assert said.endswith("`with connection.transaction():`, or open it without autocommit")
        with connection.pipeline():
            connection.execute("select 1")
            await refused(lambda: outbox.publish(connection, **FIELDS))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        said = await refused(lambda: outbox.publish(other, **FIELDS))
        assert "`async with connection.transaction():`" in said
        async with other.pipeline():
            await other.execute("select 1")
            await refused(lambda: outbox.publish(other, **FIELDS))
    assert rows(url) == []


async def test_asyncpg_without_a_transaction_is_refused(url: str) -> None:
    connection = await asyncpg.connect(url)
    said = await refused(lambda: outbox.publish(connection, **FIELDS))
    await connection.close()
    assert said.endswith("begin one first, with `async with connection.transaction():`")
    assert rows(url) == []


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_sqlalchemy_in_autocommit_is_refused(url: str, driver: str) -> None:
    address = url.replace("postgresql:", f"postgresql+{driver}:")
    engine = sqlalchemy_async.create_async_engine(address, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        said = await refused(lambda: outbox.publish(connection, **FIELDS))
    await engine.dispose()
    assert "AUTOCOMMIT" in said
    if driver == "psycopg":
        sync = sqlalchemy.create_engine(address)
        with sync.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            await refused(lambda: outbox.publish(other, **FIELDS))
        sync.dispose()
    assert rows(url) == []


async def test_django_outside_of_atomic_is_refused(url: str) -> None:
    with django_database(url):
        connection = django_connections["default"]
        said = await refused(lambda: outbox.publish(connection, **FIELDS))
        connection.set_autocommit(False)
        outbox.publish(connection, **FIELDS)
        connection.commit()
        connection.set_autocommit(True)
    assert "`with transaction.atomic():`" in said
    assert len(rows(url)) == 1


async def test_another_database_is_refused() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        said = await refused(lambda: outbox.publish(connection, **FIELDS))
    engine.dispose()
    assert said == "The connection is to sqlite; the outbox stands in PostgreSQL"


@pytest.mark.parametrize("what", [None, 5, object(), "postgresql://", InvalidError((), "")])
def test_what_is_no_connection_is_a_type_error(what: Any) -> None:
    with pytest.raises(TypeError, match="a connection of psycopg 3, asyncpg, SQLAlchemy 2"):
        outbox.publish(what, **FIELDS)


async def test_what_is_near_a_connection_is_a_type_error(url: str) -> None:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with psycopg.connect(url) as connection:
        for what in (engine, connection.cursor()):
            with pytest.raises(TypeError, match=f"not .*{type(what).__name__}$"):
                outbox.publish(what, **FIELDS)  # type: ignore[call-overload]
    engine.dispose()
    async with asyncpg.create_pool(url, min_size=1) as pool:
        with pytest.raises(TypeError, match=r"not asyncpg\.pool\.Pool"):
            await outbox.publish(pool, **FIELDS)  # type: ignore[call-overload]


# -- the table and the program ----------------------------------------------------------


def test_a_schema_of_ones_own(postgres_url: str) -> None:
    migrate(PostgresOptions(url=postgres_url, schema="bells"))
    bells = outbox.Outbox(db_schema="bells", organization="org_shop", body_max=100)
    with psycopg.connect(postgres_url) as connection:
        bells.publish(connection, **FIELDS)
        bells.publish(connection, **FIELDS, organization="org_other")
        with pytest.raises(TooLargeError, match="at most 100 are taken"):
            bells.publish(connection, **FIELDS | {"payload": {"a": 100 * "a"}})
        found = connection.execute("select organization from bells.outbox order by id").fetchall()
    assert found == [("org_shop",), ("org_other",)]
    with pytest.raises(InvalidError, match="A schema is"):
        outbox.Outbox(db_schema='a"b')


def test_an_application_in_sql_may_insert_by_itself(caller_url: str, url: str) -> None:
    with psycopg.connect(caller_url) as connection:
        connection.execute(
            "insert into marketbell.outbox (application, body) values ('kaunas',"
            " json_build_object('eventType', 'a', 'payload', json_build_object('n', 1)))"
        )
    with (
        psycopg.connect(caller_url) as connection,
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
    ):
        connection.execute("insert into marketbell.outbox (application, body) values ('k', 'no')")
    with (
        psycopg.connect(caller_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select 1 from marketbell.outbox")
    assert bodies(url) == [{"n": 1}]


def test_it_loads_no_driver_and_nothing_of_the_server() -> None:
    program = (
        "import sys, marketbell.outbox\n"
        "heavy = {'asyncio', 'ssl', 'apsw', 'asyncpg', 'psycopg', 'sqlalchemy', 'django', 'httptools',"
        " 'starlette', 'cryptography', 'jsonschema_rs', 'structlog', 'marketbell.store',"
        " 'marketbell.settings', 'marketbell.api', 'marketbell.delivery'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
