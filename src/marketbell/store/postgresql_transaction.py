"""Transactions on PostgreSQL: the writer's, run again where others were in the way, and the readers'."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import asyncpg

from marketbell.errors import OutcomeUnknownError, StoreError, UnavailableError
from marketbell.store import keys
from marketbell.store.base import Announced
from marketbell.store.batch import DataFault, Effect, Work
from marketbell.store.keys import TimedKeys
from marketbell.store.marks import Marks
from marketbell.store.postgresql import (
    AGAIN,
    DATA_FAULTS,
    LOST,
    Connection,
    PostgresOptions,
    store_error,
)
from marketbell.store.publishing import Publisher, PublishWork
from marketbell.store.recording import RecordWork, record
from marketbell.store.shared_marks import SharedMarks
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Row, Transaction, Values

T = TypeVar("T")

_SQL = statements("queue")

_TRIES: Final = 8
"""How often a transaction is run before others are taken to be in its way for good."""
_KEY: Final = re.compile(r"= \((\d+)\)")


class PostgresTransaction(Transaction):
    """A transaction on a connection of PostgreSQL's."""

    def __init__(
        self,
        connection: Connection,
        marks: Marks | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        super().__init__(marks, publisher)
        self._connection = connection
        self._changed = 0

    @property
    def total_changes(self) -> int:
        """How many rows this transaction has changed; those of many statements at once are guessed."""
        return self._changed

    def rows(self, statement: Statement, values: Values = ()) -> list[Row]:
        """See Transaction.rows."""
        own = statement.postgresql
        return [tuple(row) for row in self._connection.fetch(own.text, own.values(values))]

    def each(self, statement: Statement, values: Values = ()) -> Iterator[Row]:
        """See Transaction.each."""
        own = statement.postgresql
        cursor = self._connection.cursor(own.text, own.values(values))
        while rows := cursor.fetch():
            for row in rows:
                yield tuple(row)

    def row(self, statement: Statement, values: Values = ()) -> Row | None:
        """See Transaction.row."""
        own = statement.postgresql
        found = self._connection.fetch_row(own.text, own.values(values))
        return None if found is None else tuple(found)

    def change(self, statement: Statement, values: Values = ()) -> int:
        """See Transaction.change."""
        own = statement.postgresql
        count = self._connection.execute(own.text, own.values(values))
        self._changed += count
        return count

    def change_many(self, statement: Statement, values: Iterable[Values]) -> int:
        """See Transaction.change_many."""
        own = statement.postgresql
        given = [own.values(one) for one in values]
        if not given:
            return 0
        count = len(given)
        if "returning" in own.text:
            count = len(self._connection.fetch_many(own.text, given))
        else:
            self._connection.execute_many(own.text, given)
        self._changed += count
        return count

    def rows_many(self, statement: Statement, values: Iterable[Values]) -> list[Row]:
        """See Transaction.rows_many."""
        own = statement.postgresql
        given = [own.values(one) for one in values]
        if not given:
            return []
        found = [tuple(row) for row in self._connection.fetch_many(own.text, given)]
        self._changed += len(found)
        return found

    def insert(self, statement: Statement, values: Values = ()) -> int:
        """See Transaction.insert."""
        own = statement.postgresql
        found = self._connection.fetch_row(own.text, own.values(values))
        self._changed += 1
        return found[0]  # type: ignore[no-any-return]


class PostgresExecutor:
    """
    Runs a group commit on a connection of its own, opened anew after it was lost.

    Changes of the control plane are made one transaction at a time over all nodes (`alone`): their
    logic was written for one writer.
    """

    def __init__(self, options: PostgresOptions, *, name: str, alone: bool) -> None:
        self._connection = Connection(options, name=name)
        self._alone = alone
        self._schema = options.schema
        self._marks = SharedMarks()
        self._publisher = Publisher(TimedKeys(options.node_number), options.payload_retention)

    def commit(self, works: Sequence[Work]) -> list[Announced]:
        """Results first, then publications, then everything else in order of arrival."""
        failed: asyncpg.PostgresError | None = None
        for _ in range(_TRIES):
            try:
                return self._commit(works)
            except AGAIN as error:
                if isinstance(error, asyncpg.UniqueViolationError) and isinstance(failed, type(error)):
                    raise DataFault(str(error)) from error
                failed = error
            except asyncpg.CheckViolationError as error:
                if not self._add_partitions(error):
                    raise DataFault(str(error)) from error
                failed = error
            except DATA_FAULTS as error:
                raise DataFault(str(error)) from error
        raise store_error(failed or TimeoutError()) from failed

    def close(self) -> None:
        """Close the connection, after the writer has ended."""
        self._connection.close()

    def _commit(self, works: Sequence[Work]) -> list[Announced]:
        connection = self._connection
        transaction = PostgresTransaction(connection, self._marks, self._publisher)
        try:
            connection.begin()
            if self._alone:
                transaction.rows(_SQL["control_lock"], {"schema": self._schema})
            self._run(transaction, works)
        except BaseException as error:
            connection.roll_back()
            if isinstance(error, (*AGAIN, *DATA_FAULTS)):
                raise
            if isinstance(error, (asyncpg.PostgresError, *LOST)):
                raise store_error(error) from error
            raise
        try:
            connection.commit()
        except (asyncpg.PostgresConnectionError, asyncpg.PostgresSystemError) as error:
            raise OutcomeUnknownError(f"The commit's answer was lost: {error}.") from error
        except asyncpg.PostgresError as error:  # the server has answered that it was not kept
            connection.roll_back()
            if isinstance(error, (*AGAIN, *DATA_FAULTS)):
                raise
            raise store_error(error) from error
        except LOST as error:
            raise OutcomeUnknownError(f"The commit's answer was lost: {error}.") from error
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

    def _add_partitions(self, error: asyncpg.CheckViolationError) -> bool:
        """Make the partitions of a row that had none; whether that was what was missing."""
        found = _KEY.search(error.detail or "")
        if error.constraint_name is not None or found is None:
            return False
        try:
            self._connection.begin()
            self._connection.fetch(
                _SQL["partitions_add"].postgresql.text, (keys.day(int(found[1])),)
            )
            self._connection.commit()
        except (asyncpg.PostgresError, *LOST) as wrong:
            self._connection.roll_back()
            raise store_error(wrong) from wrong
        return True


class Readers:
    """Connections that only read, one to a thread, each query in a snapshot of its own."""

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._pool = ThreadPoolExecutor(options.readers, thread_name_prefix="marketbell-reader")
        self._closed = False

    async def run(self, query: Callable[[Transaction], T]) -> T:
        """Run a query on a reader's thread. UnavailableError if the database cannot be read."""
        if self._closed:
            raise UnavailableError("The store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._query, query)

    def _query(self, query: Callable[[Transaction], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = Connection(self._options, name="reader")
            self._connections.append(connection)
        try:
            connection.begin(read_only=True)
            try:
                return query(PostgresTransaction(connection))
            finally:
                connection.roll_back()
        except StoreError:
            raise
        except (asyncpg.PostgresError, *LOST) as error:
            raise store_error(error) from error

    def close(self) -> None:
        """Let the threads end and close their connections."""
        self._closed = True
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()


def first_row(connection: Connection, text: str, values: Sequence[Any] = ()) -> Any:
    """The first row of a query in a transaction of its own."""
    connection.begin(read_only=True)
    try:
        return connection.fetch_row(text, values)
    finally:
        connection.roll_back()
