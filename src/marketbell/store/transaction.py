"""One transaction on SQLite, as the statements see it: rows, changes, and what to tell after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import apsw

from marketbell.store.base import Announced
from marketbell.store.tally import Tally
from marketbell.store.touches import Touch

if TYPE_CHECKING:
    from marketbell.store.marks import Marks
    from marketbell.store.publishing import Publisher

Value: TypeAlias = int | float | bytes | str | None
Row: TypeAlias = tuple[Value, ...]
Values: TypeAlias = Sequence[Value] | Mapping[str, Value]


class Transaction:
    """
    Statements inside of one transaction, on the thread that owns the connection.

    A reader's transaction has the same face and sees one snapshot; its changes are refused
    by the database, which is opened read-only.
    """

    marks: Marks
    """The once-only marks; the writer's transactions have them, no reader's does."""

    publisher: Publisher
    """What keeps messages; the writer's transactions have it, no reader's does."""

    def __init__(
        self,
        connection: apsw.Connection,
        marks: Marks | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self._connection = connection
        if marks is not None:
            self.marks = marks
        if publisher is not None:
            self.publisher = publisher
        self._execute = connection.execute
        self._executemany = connection.executemany
        self.changes: list[Announced] = []
        """Configuration that this transaction changed, told to listeners after the commit."""
        self.tally = Tally()
        """What it changes in the figures of endpoints, kept by the writer at its end."""
        self.touches: list[Touch] = []
        """The same field by field, for the audit log."""

    @property
    def total_changes(self) -> int:
        """How many rows the connection has changed since it was opened."""
        return self._connection.total_changes()

    def rows(self, statement: str, values: Values = ()) -> list[Row]:
        """All rows of a query."""
        return self._execute(statement, values).fetchall()

    def each(self, statement: str, values: Values = ()) -> Iterator[Row]:
        """The rows of a query one by one; those that are not asked for are not read."""
        found = self._execute(statement, values)
        try:
            yield from found
        finally:
            found.close()

    def row(self, statement: str, values: Values = ()) -> Row | None:
        """The first row of a query, or None."""
        found = self._execute(statement, values).fetchall()
        return found[0] if found else None

    def change(self, statement: str, values: Values = ()) -> int:
        """Run a statement that changes rows; how many it changed."""
        self._execute(statement, values)
        return self._connection.changes()

    def change_many(self, statement: str, values: Iterable[Values]) -> int:
        """Run one statement once for each of `values`; how many rows they changed."""
        before = self._connection.total_changes()
        self._executemany(statement, values)
        return self._connection.total_changes() - before

    def rows_many(self, statement: str, values: Iterable[Values]) -> list[Row]:
        """All rows that one statement returns, run once for each of `values`."""
        return self._executemany(statement, values).fetchall()

    def insert(self, statement: str, values: Values = ()) -> int:
        """Insert one row; its integer key."""
        self._execute(statement, values)
        return self._connection.last_insert_rowid()
