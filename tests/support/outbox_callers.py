"""Callers of the outbox: one transaction on each kind of connection that it takes, all with one face."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Final, TypeAlias

import asyncpg
import psycopg
import sqlalchemy
from django import setup  # type: ignore[import-untyped]
from django.conf import settings as django_settings  # type: ignore[import-untyped]
from django.db import connections as django_connections  # type: ignore[import-untyped]
from django.db import transaction as django_transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sqlalchemy_async

from marketbell import outbox


class Undo(Exception):  # noqa: N818 - no error: a caller changes its mind
    """Rolls back the transaction or the savepoint that it is raised in."""


class Caller:
    """A transaction that is under way."""

    def __init__(
        self, connection: Any, savepoint: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> None:
        self.connection = connection
        self.savepoint = savepoint

    async def publish(self, at: outbox.Outbox | None = None, **fields: Any) -> None:
        """Publish on its connection, awaiting where that is asynchronous."""
        fields = {"application": "kaunas", "event_type": "order.created", "payload": {}} | fields
        done = (at or outbox).publish(self.connection, **fields)
        if done is not None:
            await done

    async def publish_many(self, *drafts: outbox.Draft) -> None:
        """The same with several."""
        done = outbox.publish_many(self.connection, drafts)
        if done is not None:
            await done


@contextlib.asynccontextmanager
async def _awaited(within: AbstractContextManager[Any]) -> AsyncIterator[None]:
    with within:
        yield


def _sqlalchemy_url(url: str, driver: str) -> str:
    return url.replace("postgresql:", f"postgresql+{driver}:")


@contextlib.asynccontextmanager
async def psycopg_sync(url: str) -> AsyncIterator[Caller]:
    with psycopg.connect(url) as connection:
        yield Caller(connection, lambda: _awaited(connection.transaction()))


@contextlib.asynccontextmanager
async def psycopg_pipeline(url: str) -> AsyncIterator[Caller]:
    """In autocommit, but within a transaction, and its statements sent ahead."""
    with (
        psycopg.connect(url, autocommit=True) as connection,
        connection.pipeline(),
        connection.transaction(),
    ):
        connection.execute("select 1")
        yield Caller(connection, lambda: _awaited(connection.transaction()))


@contextlib.asynccontextmanager
async def psycopg_async(url: str) -> AsyncIterator[Caller]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield Caller(connection, connection.transaction)


@contextlib.asynccontextmanager
async def asyncpg_alone(url: str) -> AsyncIterator[Caller]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield Caller(connection, connection.transaction)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def asyncpg_pool(url: str) -> AsyncIterator[Caller]:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield Caller(connection, connection.transaction)


@contextlib.asynccontextmanager
async def sqlalchemy_core(url: str) -> AsyncIterator[Caller]:
    engine = sqlalchemy.create_engine(_sqlalchemy_url(url, "psycopg"))
    try:
        with engine.begin() as connection:
            yield Caller(connection, lambda: _awaited(connection.begin_nested()))
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_session(url: str) -> AsyncIterator[Caller]:
    engine = sqlalchemy.create_engine(_sqlalchemy_url(url, "psycopg"))
    try:
        with orm.Session(engine) as session, session.begin():
            yield Caller(session, lambda: _awaited(session.begin_nested()))
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_scoped_session(url: str) -> AsyncIterator[Caller]:
    engine = sqlalchemy.create_engine(_sqlalchemy_url(url, "psycopg"))
    session = orm.scoped_session(orm.sessionmaker(engine))
    try:
        with session.begin():
            yield Caller(session, lambda: _awaited(session.begin_nested()))
    finally:
        session.remove()
        engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_async_core(url: str) -> AsyncIterator[Caller]:
    engine = sqlalchemy_async.create_async_engine(_sqlalchemy_url(url, "asyncpg"))
    try:
        async with engine.begin() as connection:
            yield Caller(connection, connection.begin_nested)
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_async_session(url: str) -> AsyncIterator[Caller]:
    engine = sqlalchemy_async.create_async_engine(_sqlalchemy_url(url, "psycopg"))
    try:
        async with sqlalchemy_async.AsyncSession(engine) as session, session.begin():
            yield Caller(session, session.begin_nested)
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_async_scoped_session(url: str) -> AsyncIterator[Caller]:
    engine = sqlalchemy_async.create_async_engine(_sqlalchemy_url(url, "asyncpg"))
    make = sqlalchemy_async.async_sessionmaker(engine)
    session = sqlalchemy_async.async_scoped_session(make, lambda: None)
    try:
        async with session.begin():
            yield Caller(session, session.begin_nested)
    finally:
        await session.remove()
        await engine.dispose()


@contextlib.asynccontextmanager
async def django(url: str) -> AsyncIterator[Caller]:
    with django_database(url), django_transaction.atomic():
        yield Caller(django_connections["default"], lambda: _awaited(django_transaction.atomic()))


@contextlib.contextmanager
def django_database(url: str) -> Any:
    """Django's default database is this one for a while."""
    if not django_settings.configured:
        django_settings.configure(USE_TZ=True, LOGGING_CONFIG=None)
        setup()
    given = conninfo_to_dict(url)
    parts = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
    database = {name: given[part] for name, part in parts.items()}
    database["ENGINE"] = "django.db.backends.postgresql"
    django_connections.settings = django_connections.configure_settings({"default": database})
    # The event loop runs in this thread, and Django would refuse to wait in it.
    with _unsafe():
        try:
            yield
        finally:
            django_connections["default"].close()
            del django_connections["default"]


@contextlib.contextmanager
def _unsafe() -> Any:
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        yield
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


Begin: TypeAlias = Callable[[str], AbstractAsyncContextManager[Caller]]

CALLERS: Final[dict[str, Begin]] = {
    begin.__name__: begin
    for begin in (
        psycopg_sync,
        psycopg_pipeline,
        psycopg_async,
        asyncpg_alone,
        asyncpg_pool,
        sqlalchemy_core,
        sqlalchemy_session,
        sqlalchemy_scoped_session,
        sqlalchemy_async_core,
        sqlalchemy_async_session,
        sqlalchemy_async_scoped_session,
        django,
    )
}
"""Opens a connection to an address and begins; what leaves the block decides the transaction."""
