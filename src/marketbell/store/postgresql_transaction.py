"""Transactions on PostgreSQL: the writer's, and the readers with their connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg

from marketbell.errors import StoreError, UnavailableError
from marketbell.store.marks import Marks
from marketbell.store.postgresql import READING, Connection, PostgresOptions
from marketbell.store.postgresql_errors import LOST, store_error
from marketbell.store.publishing import Publisher
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Row, Transaction, Values

T = TypeVar("T")

_HOT = statements("hot")


class PostgresTransaction(Transaction):
    """A transaction on a connection of PostgreSQL's."""

    timed_keys = True

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

    def lock_keys(self, pairs: Collection[tuple[int, bytes]]) -> None:
        """See Transaction.lock_keys."""
        if pairs:
            endpoint_ids, order_keys = zip(*pairs, strict=True)
            values: Any = {"endpoint_ids": list(endpoint_ids), "order_keys": list(order_keys)}
            self.rows(_HOT["keys_lock"], values)

    def lock_lanes(self, endpoint_ids: Collection[int]) -> None:
        """See Transaction.lock_lanes."""
        if endpoint_ids:
            self.rows(_HOT["lanes_lock"], {"endpoint_ids": list(endpoint_ids)})  # type: ignore[dict-item]

    def place(self, message_id: int) -> int:
        """See Transaction.place: by the order in which the keys were locked, whoever made the message."""
        found = self.row(_HOT["place_next"])
        return found[0]  # type: ignore[index, return-value]


class Readers:
    """Connections that only read, one to a thread, each query in a snapshot of its own."""

    def __init__(self, options: PostgresOptions, *, wait_s: float) -> None:
        self._options = options
        self._wait_s = wait_s
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._pool = ThreadPoolExecutor(options.readers, thread_name_prefix="marketbell-reader")
        self._closed = False

    async def run(self, query: Callable[[Transaction], T]) -> T:
        """
        Run a query on a reader's thread.

        Raises UnavailableError if the database cannot be read, or no thread is free in time.
        """
        if self._closed:
            raise UnavailableError("The store is closed.")
        running = self._pool.submit(self._query, query)
        late = False

        def withdraw() -> None:
            # One that has begun stays: it ends by the limits of its connection.
            nonlocal late
            late = running.cancel()

        timer = asyncio.get_running_loop().call_later(self._wait_s, withdraw)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if late:
                raise UnavailableError("The database is too slow. Try again.") from None
            raise
        finally:
            timer.cancel()

    def _query(self, query: Callable[[Transaction], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = Connection(
                self._options, name="reader", settings=READING
            )
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
