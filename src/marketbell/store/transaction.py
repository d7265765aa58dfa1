"""One transaction as the store's logic sees it: rows, changes, and what to tell after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from marketbell.store.base import Announced
from marketbell.store.statements import Statement
from marketbell.store.tally import Tally
from marketbell.store.touches import Touch

if TYPE_CHECKING:
    from marketbell.store.marks import Marks
    from marketbell.store.publishing import Publisher

Value: TypeAlias = int | float | bytes | str | None
Row: TypeAlias = tuple[Value, ...]
Values: TypeAlias = Sequence[Value] | Mapping[str, Value]


class Transaction(ABC):
    """
    Statements inside of one transaction, on the thread that owns the connection.

    A reader's transaction has the same face and sees one snapshot; its changes are refused
    by the database.
    """

    marks: Marks
    """The once-only marks; the writer's transactions have them, no reader's does."""

    timed_keys: ClassVar[bool] = False
    """Whether keys of history begin with the millisecond, so that a range of them is a time."""

    publisher: Publisher
    """What keeps messages; the writer's transactions have it, no reader's does."""

    def __init__(self, marks: Marks | None = None, publisher: Publisher | None = None) -> None:
        if marks is not None:
            self.marks = marks
        if publisher is not None:
            self.publisher = publisher
        self.changes: list[Announced] = []
        """Configuration that this transaction changed, told to listeners after the commit."""
        self.tally = Tally()
        """What it changes in the figures of endpoints, kept by the writer at its end."""
        self.touches: list[Touch] = []
        """What it changed of configuration, field by field, for the audit log."""

    @property
    @abstractmethod
    def total_changes(self) -> int:
        """How many rows have been changed so far, counted from some point before."""

    @abstractmethod
    def rows(self, statement: Statement, values: Values = ()) -> list[Row]:
        """All rows of a query."""

    @abstractmethod
    def each(self, statement: Statement, values: Values = ()) -> Iterator[Row]:
        """The rows of a query one by one; those that are not asked for are not read, or few of them."""

    @abstractmethod
    def row(self, statement: Statement, values: Values = ()) -> Row | None:
        """The first row of a query, or None."""

    @abstractmethod
    def change(self, statement: Statement, values: Values = ()) -> int:
        """Run a statement that changes rows; how many it changed."""

    @abstractmethod
    def change_many(self, statement: Statement, values: Iterable[Values]) -> int:
        """
        Run one statement once for each of `values`; how many rows they changed.

        On PostgreSQL they are counted only where the statement returns a row for each.
        """

    @abstractmethod
    def rows_many(self, statement: Statement, values: Iterable[Values]) -> list[Row]:
        """All rows that one statement returns, run once for each of `values`."""

    @abstractmethod
    def insert(self, statement: Statement, values: Values = ()) -> int:
        """Insert one row; its integer key."""

    def lock_keys(self, pairs: Collection[tuple[int, bytes]]) -> None:  # noqa: B027 - see below
        """
        Let nobody else move deliveries of these endpoints and order keys until this has ended.

        What is read after it is what they have left. One writer has nobody else.
        """

    def lock_lanes(self, endpoint_ids: Collection[int]) -> None:  # noqa: B027 - see above
        """
        Let nobody else change these lanes, nor empty or fill them, until this has ended.

        What is read after it is what they have left. Whoever changes several lanes locks them
        first, all at once, so that no two ever wait for each other.
        """

    def place(self, message_id: int) -> int:
        """The turn of a new delivery among those of its order key, which must be locked."""
        return message_id
