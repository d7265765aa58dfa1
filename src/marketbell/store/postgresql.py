"""PostgreSQL: one connection used from one thread, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import uvloop

from marketbell.errors import StoreError, UnavailableError
from marketbell.store.resource import StoreOptions

T = TypeVar("T")

_SPARE_S: Final = 5.0
"""How much longer than the server may take for a statement its answer is waited for."""
_PIECE: Final = 50
"""Rows of a query that are fetched at once where not all may be wanted."""


class PostgresOptions(StoreOptions, frozen=True, kw_only=True):
    """How the database is used."""

    url: str
    """`postgresql://...`; what it leaves open is taken from the PG* variables."""
    schema: str = "marketbell"
    """The schema that all tables stand in."""
    pooled: bool = False
    """Whether a pooler stands between, which gives each transaction another connection."""
    connect_s: float = 5.0
    statement_s: float = 10.0
    """How long one statement may run, and wait for a lock."""
    node_number: int = 0
    """This node's own among those that write; see `keys.TimedKeys`."""


class Connection:
    """
    One connection with an event loop of its own, for one thread: every call waits for its answer.

    It is opened by the first transaction, and anew after it was lost.
    """

    def __init__(self, options: PostgresOptions, *, name: str) -> None:
        self._options = options
        self._loop = uvloop.new_event_loop()
        self._settings = {
            "search_path": f'"{options.schema}"',
            "statement_timeout": str(int(options.statement_s * 1000)),
            "lock_timeout": str(int(options.statement_s * 1000)),
            "idle_in_transaction_session_timeout": "30000",
            "jit": "off",
        }
        self._name = name
        self._open: asyncpg.Connection | None = None
        self._transaction: Any = None

    def begin(self, *, read_only: bool = False) -> None:
        """Begin a transaction; a read-only one sees one snapshot."""
        self._wait(self._begin(read_only))

    def commit(self) -> None:
        """Make it durable."""
        transaction, self._transaction = self._transaction, None
        self._wait(transaction.commit())

    def roll_back(self) -> None:
        """Undo it, if the connection is still there."""
        transaction, self._transaction = self._transaction, None
        if transaction is None or self._open is None or self._open.is_closed():
            return
        try:
            self._wait(transaction.rollback())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            self._open.terminate()

    def fetch(self, text: str, values: Sequence[Any]) -> list[Any]:
        """The rows of a statement."""
        return self._wait(self._live.fetch(text, *values))

    def fetch_row(self, text: str, values: Sequence[Any]) -> Any:
        """The first row, or None."""
        return self._wait(self._live.fetchrow(text, *values))

    def fetch_many(self, text: str, values: Iterable[Sequence[Any]]) -> list[Any]:
        """The rows of a statement for each of `values`, in one round trip."""
        return self._wait(self._live.fetchmany(text, values))

    def execute(self, text: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        tag: str = self._wait(self._live.execute(text, *values))
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    def execute_many(self, text: str, values: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of `values`, in one round trip."""
        self._wait(self._live.executemany(text, values))

    def cursor(self, text: str, values: Sequence[Any]) -> Cursor:
        """A query whose rows are fetched a few at a time, until the transaction ends."""
        return Cursor(self, self._wait(self._cursor(text, values)))

    def close(self) -> None:
        """Close it; called when no thread uses it any more."""
        if self._open is not None and not self._open.is_closed():
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                self._wait(self._open.close(timeout=1.0))
        self._loop.close()

    # -- within -------------------------------------------------------------------------

    @property
    def _live(self) -> asyncpg.Connection:
        if self._open is None:
            raise asyncpg.InterfaceError("there is no connection")
        return self._open

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)

    async def _cursor(self, text: str, values: Sequence[Any]) -> Any:
        return await self._live.cursor(text, *values)

    async def _begin(self, read_only: bool) -> None:
        connection = self._open
        if connection is None or connection.is_closed():
            connection = self._open = await self._connect()
        if read_only:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        else:
            transaction = connection.transaction()
        self._transaction = transaction
        await transaction.start()
        if self._options.pooled:
            settings = (f"set local {name} = {value}" for name, value in self._settings.items())
            await connection.execute("; ".join(settings))

    async def _connect(self) -> asyncpg.Connection:
        options = self._options
        pooled = options.pooled
        connection: asyncpg.Connection = await asyncpg.connect(
            options.url,
            timeout=options.connect_s,
            command_timeout=options.statement_s + _SPARE_S,
            statement_cache_size=0 if pooled else 1_000,
            max_cached_statement_lifetime=0,
            server_settings={
                "application_name": f"marketbell {self._name}",
                **({} if pooled else self._settings),
            },
        )
        return connection


class Cursor:
    """Rows of a query, fetched a few at a time."""

    def __init__(self, connection: Connection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor

    def fetch(self) -> list[Any]:
        """The next rows; none when there are no more."""
        rows: list[Any] = self._connection._wait(self._cursor.fetch(_PIECE))  # noqa: SLF001
        return rows


LOST: Final = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    OSError,
    TimeoutError,
)
"""The connection is gone, or does not answer."""

AGAIN: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
)
"""
Another transaction was in the way; the same one will do when it is run again. Where two make the
same thing at once, the second finds what the first made.
"""

DATA_FAULTS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.StatementTooComplexError,
    TypeError,
    ValueError,
    OverflowError,
)
"""A row was refused: one of the works is to blame."""


def store_error(error: BaseException) -> StoreError:
    """What a database error means to a caller."""
    if isinstance(error, asyncpg.DiskFullError):
        return UnavailableError("The database's disk is full; nothing was kept.")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return UnavailableError("The database has no connection left; nothing was kept.")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return UnavailableError("The database is read-only, perhaps a replica; nothing was kept.")
    if isinstance(error, (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)):
        return UnavailableError("The database took too long; nothing was kept.")
    if isinstance(error, (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)):
        return UnavailableError(f"The database does not let us in: {error}.")
    if isinstance(error, LOST):
        return UnavailableError(f"The database cannot be reached: {said(error)}")
    return UnavailableError(f"The database failed: {said(error)}")


def said(error: BaseException) -> str:
    """An error's own words as a sentence, or its kind if it has none."""
    words = str(error) or type(error).__name__
    return f"{words.rstrip('.')}."
