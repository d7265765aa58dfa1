"""The caller's connection, whichever driver it is of: in a transaction, and given one statement."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgspec

from marketbell.errors import InvalidError

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy


class SyncConnection(Protocol):
    """A connection of psycopg or Django, or a connection or session of SQLAlchemy."""

    def commit(self) -> None:
        """Commit; never called here."""


class AsyncConnection(Protocol):
    """An asynchronous connection of psycopg, or an asynchronous connection or session of SQLAlchemy."""

    def commit(self) -> Coroutine[Any, Any, None]:
        """Commit; never called here."""


class AsyncpgConnection(Protocol):
    """A connection of asyncpg, of a pool or not."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction has begun."""

    def execute(self, query: str, *args: Any) -> Coroutine[Any, Any, str]:
        """Run one statement."""


Connection: TypeAlias = SyncConnection | AsyncConnection | AsyncpgConnection


class Insertion(msgspec.Struct, frozen=True, kw_only=True):
    """Rows for the outbox of one schema, column by column."""

    schema: str
    organizations: list[str | None]
    applications: list[str]
    bodies: list[bytes]


_COLUMNS: Final = ("organizations", "applications", "bodies")
_NO_TRANSACTION: Final = (
    "The connection is in no transaction, so the message would be sent whatever happens to the rest; "
    "begin one first, with "
)


def insert(connection: Any, insertion: Insertion) -> Coroutine[Any, Any, None] | None:
    """
    Insert the rows in the transaction of this connection; a coroutine that does it if it is asynchronous.

    Raises InvalidError if the connection is in no transaction and would begin none, TypeError if
    it is of no driver that is known.
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(connection).__mro__}
    if "sqlalchemy" in modules:
        return _sqlalchemy(connection, insertion)
    if "psycopg" in modules:
        return _psycopg(connection, insertion)
    if "asyncpg" in modules:
        return _asyncpg(connection, insertion)
    if "django" in modules:
        _django(connection, insertion)
        return None
    raise _unknown(connection)


def _unknown(connection: object) -> TypeError:
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    return TypeError(
        f"a connection of psycopg 3, asyncpg, SQLAlchemy 2 or Django is needed, not {kind}"
    )


def _outside(mend: str) -> InvalidError:
    return InvalidError(("connection",), _NO_TRANSACTION + mend)


@cache
def _statement(schema: str, form: str) -> str:
    """The statement with its parameters as the driver writes them."""
    source = (files("marketbell.outbox") / "insert.sql").read_text("utf-8")
    lines = [line for line in source.splitlines() if not line.startswith("--")]
    text = " ".join(lines).replace("{schema}", f'"{schema}"').rstrip("; ")
    for number, name in enumerate(_COLUMNS, start=1):
        text = text.replace(f":{name}", Template(form).substitute(name=name, number=number))
    return text


def _values(insertion: Insertion) -> dict[str, object]:
    return {name: getattr(insertion, name) for name in _COLUMNS}


# -- psycopg ----------------------------------------------------------------------------

_PSYCOPG_FORM: Final = "%(${name})s"
_IDLE: Final = 0
_ACTIVE: Final = 1
"""The states of a transaction, as libpq counts them."""
_PSYCOPG_MEND: Final = "`with connection.transaction():`, or open it without autocommit"


def _psycopg(connection: Any, insertion: Insertion) -> Coroutine[Any, Any, None] | None:
    import psycopg

    if isinstance(connection, psycopg.AsyncConnection):
        return _psycopg_async(connection, insertion)
    if not isinstance(connection, psycopg.Connection):
        raise _unknown(connection)
    if connection.autocommit:
        if (
            connection.info.transaction_status == _ACTIVE
        ):  # a pipeline: its state is known after a sync
            with connection.pipeline() as pipeline:
                pipeline.sync()
        if connection.info.transaction_status == _IDLE:
            raise _outside(_PSYCOPG_MEND)
    statement = _statement(insertion.schema, _PSYCOPG_FORM)
    # A cursor of the plain kind, whatever the connection's own cursors are.
    with psycopg.Cursor(connection) as cursor:
        cursor.execute(statement.encode(), _values(insertion))
    return None


async def _psycopg_async(connection: psycopg.AsyncConnection[Any], insertion: Insertion) -> None:
    import psycopg

    if connection.autocommit:
        if connection.info.transaction_status == _ACTIVE:
            async with connection.pipeline() as pipeline:
                await pipeline.sync()
        if connection.info.transaction_status == _IDLE:
            raise _outside(_PSYCOPG_MEND.replace("with", "async with", 1))
    statement = _statement(insertion.schema, _PSYCOPG_FORM)
    async with psycopg.AsyncCursor(connection) as cursor:
        await cursor.execute(statement.encode(), _values(insertion))


# -- asyncpg ----------------------------------------------------------------------------


async def _asyncpg(connection: Any, insertion: Insertion) -> None:
    if not hasattr(connection, "is_in_transaction"):
        raise _unknown(connection)
    if not connection.is_in_transaction():
        raise _outside("`async with connection.transaction():`")
    statement = _statement(insertion.schema, "$$${number}")
    await connection.execute(statement, *_values(insertion).values())


# -- SQLAlchemy -------------------------------------------------------------------------


def _sqlalchemy(connection: Any, insertion: Insertion) -> Coroutine[Any, Any, None] | None:
    import sqlalchemy
    from sqlalchemy.ext import asyncio as sqlalchemy_async

    if isinstance(connection, sqlalchemy_async.async_scoped_session):
        connection = connection()
    if isinstance(connection, sqlalchemy_async.AsyncConnection | sqlalchemy_async.AsyncSession):
        return _sqlalchemy_async(connection, insertion)
    if not isinstance(connection, sqlalchemy.Connection):
        if not callable(getattr(connection, "connection", None)):
            raise _unknown(connection)
        connection = connection.connection()
    _sqlalchemy_sync(connection, insertion)
    return None


async def _sqlalchemy_async(connection: Any, insertion: Insertion) -> None:
    await connection.run_sync(_sqlalchemy, insertion)


def _sqlalchemy_sync(connection: sqlalchemy.Connection, insertion: Insertion) -> None:
    import sqlalchemy

    if connection.dialect.name != "postgresql":
        raise InvalidError(
            ("connection",),
            f"The connection is to {connection.dialect.name}; the outbox stands in PostgreSQL",
        )
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise _outside("an engine whose isolation level is not AUTOCOMMIT")
    statement = _statement(insertion.schema, ":${name}")
    connection.execute(sqlalchemy.text(statement), _values(insertion))


# -- Django -----------------------------------------------------------------------------


def _django(connection: Any, insertion: Insertion) -> None:
    if not hasattr(connection, "in_atomic_block"):
        raise _unknown(connection)
    if connection.vendor != "postgresql":
        raise InvalidError(
            ("connection",),
            f"The connection is to {connection.vendor}; the outbox stands in PostgreSQL",
        )
    if not connection.in_atomic_block and connection.get_autocommit():
        raise _outside("`with transaction.atomic():`")
    statement = _statement(insertion.schema, _PSYCOPG_FORM)
    with connection.cursor() as cursor:
        cursor.execute(statement, _values(insertion))
