"""How far those have come that follow what is written, and whether they have passed an instant."""

from __future__ import annotations

from typing import Any

from marketbell.model import Instant
from marketbell.store.search_values import Kind
from marketbell.store.setbacks import in_order
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("search")
_FOLLOWING = statements("following")


def position(transaction: Transaction, name: str, how: str = "position") -> int:
    """The last key that a follower has seen, 0 if it has seen none."""
    row: Any = transaction.row(_SQL[how], {"name": name})
    return 0 if row is None else row[0]


def has_passed(transaction: Transaction, kind: Kind, at: Instant) -> bool:
    """Whether all rows of a kind that were kept until an instant have been noted for the lists."""
    values = {"position": position(transaction, kind.follower)}
    row: Any = transaction.row(_SQL[f"{kind.table}_next"], values)
    if row is None:
        return True
    return row[0] > at + kind.slack and in_order(transaction, at, kind.slack)


def lower(transaction: Transaction) -> None:
    """
    Let none stand above the last row that is kept.

    For the transaction that removes rows: the database gives the keys of the last ones again.
    """
    transaction.change(_FOLLOWING["positions_lower"])
