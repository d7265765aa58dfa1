"""The embedded database: one SQLite file, one writing process, one writing thread."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import apsw

from marketbell.errors import LockedError, OutcomeUnknownError, StoreError, UnavailableError
from marketbell.model import Instant
from marketbell.store.base import Announced
from marketbell.store.batch import DataFault, Effect, Work
from marketbell.store.keys import SerialKeys
from marketbell.store.marks import IndexedMarks, Marks
from marketbell.store.migrate import check
from marketbell.store.publishing import Publisher, PublishWork
from marketbell.store.recording import RecordWork, record
from marketbell.store.resource import StoreOptions
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Row, Transaction, Values

T = TypeVar("T")

_SQL = statements("queue")

_WRITES: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
_READS: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX
"""A connection is one thread's, so it needs no lock of its own; one would cost 2 us a message."""
_STATEMENTS: Final = 512
"""
Prepared statements that the writing connection keeps; APSW takes no greater number.

APSW counts each row of an `executemany` as one more use, and forgets what is older than so many
uses: with its 100 every commit of 15 messages or more had to parse all its statements again.
"""


class SqliteOptions(StoreOptions, frozen=True, kw_only=True):
    """How the file is used."""

    path: Path
    cache_bytes: int = 10_000_000
    """Page cache of the writing connection; each reader has a quarter of it."""
    busy_ms: int = 2_000
    """How long a lock of another program (a backup) is waited for."""


class SqliteTransaction(Transaction):
    """A transaction on a connection of APSW's; what reads is on one that was opened read-only."""

    def __init__(
        self,
        connection: apsw.Connection,
        marks: Marks | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        super().__init__(marks, publisher)
        self._connection = connection
        self._execute = connection.execute
        self._executemany = connection.executemany

    @property
    def total_changes(self) -> int:
        """How many rows the connection has changed since it was opened."""
        return self._connection.total_changes()

    def rows(self, statement: Statement, values: Values = ()) -> list[Row]:
        """See Transaction.rows."""
        return self._execute(statement.sqlite, values).fetchall()

    def each(self, statement: Statement, values: Values = ()) -> Iterator[Row]:
        """See Transaction.each."""
        found = self._execute(statement.sqlite, values)
        try:
            yield from found
        finally:
            found.close()

    def row(self, statement: Statement, values: Values = ()) -> Row | None:
        """See Transaction.row."""
        found = self._execute(statement.sqlite, values).fetchall()
        return found[0] if found else None

    def change(self, statement: Statement, values: Values = ()) -> int:
        """See Transaction.change."""
        self._execute(statement.sqlite, values)
        return self._connection.changes()

    def change_many(self, statement: Statement, values: Iterable[Values]) -> int:
        """See Transaction.change_many."""
        before = self._connection.total_changes()
        self._executemany(statement.sqlite, values)
        return self._connection.total_changes() - before

    def rows_many(self, statement: Statement, values: Iterable[Values]) -> list[Row]:
        """See Transaction.rows_many."""
        return self._executemany(statement.sqlite, values).fetchall()

    def insert(self, statement: Statement, values: Values = ()) -> int:
        """See Transaction.insert."""
        self._execute(statement.sqlite, values)
        return self._connection.last_insert_rowid()


def lock(path: Path) -> IO[bytes]:
    """
    Hold `FILE.lock` for as long as the returned file is open, so that one process writes.

    Raises LockedError if another process has it, UnavailableError if the folder is not there
    or not writable.
    """
    name = path.with_name(path.name + ".lock")
    try:
        held = name.open("ab")
    except OSError as error:
        raise UnavailableError(f"Cannot write beside {path}: {error.strerror}.") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise LockedError(
            f"Another process has {path} open for writing; stop it, or talk to it over its API."
        ) from None
    return held


def open_writer(options: SqliteOptions) -> apsw.Connection:
    """
    The writing connection: WAL, and every commit on disk before it returns (FULL).

    Raises SchemaError for a file that is not ours, which is left as it is, and UnavailableError.
    """
    try:
        connection = apsw.Connection(
            str(options.path), flags=_WRITES, statementcachesize=_STATEMENTS
        )
        keep_plans(connection)
        connection.set_busy_timeout(options.busy_ms)
        check(connection)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = off")
        connection.execute(f"pragma cache_size = -{options.cache_bytes // 1000}")
        connection.execute("pragma temp_store = file")
        connection.execute("pragma temp.cache_size = -8000")
        connection.execute("pragma temp.journal_mode = memory")
        connection.execute("pragma journal_size_limit = 67108864")
    except apsw.Error as error:
        raise store_error(error) from error
    return connection


def keep_plans(connection: apsw.Connection) -> None:
    """
    Plan each statement once, whatever values it is given (SQLITE_DBCONFIG_ENABLE_QPSG).

    APSW's SQLite is built with STAT4 and would plan every join anew for each execution: 70 us
    instead of 3.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def store_error(error: apsw.Error) -> StoreError:
    """What a database error means to a caller."""
    if isinstance(error, apsw.FullError):
        return UnavailableError("The disk is full; nothing was kept.")
    if isinstance(error, apsw.ReadOnlyError):
        return UnavailableError("The database is read-only; nothing was kept.")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return UnavailableError("The database is locked by another program; nothing was kept.")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return UnavailableError("The file is damaged or not an SQLite database.", f"{error}.")
    return UnavailableError("The database failed.", f"{error}.")


def _was_not_written(error: apsw.Error) -> bool:
    """
    Whether a commit surely left nothing, though SQLite has rolled it back by itself.

    The frame that makes it one is the last to be written, so a write that fails leaves none. A
    failed fsync leaves all of them, perhaps.
    """
    return (
        isinstance(error, apsw.FullError)
        or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE
    )


_DATA_FAULTS = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.RangeError,
    TypeError,
    ValueError,
    OverflowError,
)


class SqliteExecutor:
    """Runs a group commit on the writing connection."""

    def __init__(self, connection: apsw.Connection, options: SqliteOptions, now: Instant) -> None:
        self._connection = connection
        self._marks = IndexedMarks(SqliteTransaction(connection), now)
        last: Any = connection.execute(_SQL["last_message_id"].sqlite).fetchall()
        self._publisher = Publisher(SerialKeys(last[0][0]), options.payload_retention)

    def commit(self, works: Sequence[Work]) -> list[Announced]:
        """Results first, then publications, then everything else in order of arrival."""
        connection = self._connection
        transaction = SqliteTransaction(connection, self._marks, self._publisher)
        before = self._publisher.keys.last
        try:
            connection.execute("begin immediate")
            self._run(transaction, works)
        except BaseException as error:
            self._publisher.keys.last = before
            self._marks.undone(transaction)
            self._roll_back()
            if isinstance(error, _DATA_FAULTS):
                raise DataFault(str(error)) from error
            if isinstance(error, apsw.Error):
                raise store_error(error) from error
            raise
        try:
            connection.execute("commit")
        except apsw.Error as error:
            self._publisher.keys.last = before
            self._marks.undone(transaction)
            if connection.in_transaction or _was_not_written(error):
                self._roll_back()
                raise store_error(error) from error
            raise OutcomeUnknownError(f"The commit failed half-way: {error}.") from error
        return transaction.changes

    def _run(self, transaction: Transaction, works: Sequence[Work]) -> None:
        results = [work for work in works if isinstance(work, RecordWork)]
        if results:
            record(transaction, results)
        publications = [work for work in works if isinstance(work, PublishWork)]
        if publications:
            self._publisher.keep(transaction, publications)
        for work in works:
            if isinstance(work, Effect):
                work.run(transaction)
        if transaction.tally:
            transaction.change(_SQL["tally_insert"], (transaction.tally.text(),))

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(apsw.Error):
                self._connection.execute("rollback")


class Readers:
    """Read-only connections, one to a thread, each query in a snapshot of its own."""

    def __init__(self, options: SqliteOptions) -> None:
        self._options = options
        self._local = threading.local()
        self._connections: list[apsw.Connection] = []
        self._pool = ThreadPoolExecutor(options.readers, thread_name_prefix="marketbell-reader")
        self._closed = False

    async def run(self, query: Callable[[Transaction], T]) -> T:
        """Run a query on a reader's thread. UnavailableError if the database cannot be read."""
        if self._closed:
            raise UnavailableError("The store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._query, query)

    def _query(self, query: Callable[[Transaction], T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._open()
            connection.execute("begin")
            try:
                return query(SqliteTransaction(connection))
            finally:
                connection.execute("rollback")
        except apsw.Error as error:
            raise store_error(error) from error

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._options.path), flags=_READS)
        keep_plans(connection)
        connection.set_busy_timeout(self._options.busy_ms)
        connection.execute(f"pragma cache_size = -{self._options.cache_bytes // 4000}")
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Let the threads end and close their connections."""
        self._closed = True
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()


def file_sizes(path: Path) -> tuple[int, int]:
    """Bytes of the database file and of its log."""
    sizes = []
    for name in (path, path.with_name(path.name + "-wal")):
        try:
            sizes.append(os.stat(name).st_size)  # noqa: PTH116 - called from a thread that counts
        except FileNotFoundError:
            sizes.append(0)
    return sizes[0], sizes[1]
