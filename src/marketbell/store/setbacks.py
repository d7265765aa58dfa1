"""Where the clock was set back: there, keys do not rise with time, and no span ends by it."""

from __future__ import annotations

from typing import Any, Final

from marketbell.model import Instant, Millis
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("search")

_SLIGHT: Final[Millis] = 30_000
"""A shorter step back is within what every span by time leaves room for."""
_KEPT: Final = 1_000


def in_order(transaction: Transaction, at: Instant, slack: Millis) -> bool:
    """Whether all that is kept before a row made around `at` was made before it, give or take `slack`."""
    values = {"low": at + slack, "high": at - slack}
    return transaction.row(_SQL["setback_over"], values) is None


def newest(transaction: Transaction) -> Instant:
    """When the last message or attempt was made, 0 if there is none."""
    row: Any = transaction.row(_SQL["newest"])
    return row[0]  # type: ignore[no-any-return]


def is_setback(expected: Instant, now: Instant) -> bool:
    """Whether a clock that should show `expected` was set back, and not just slightly."""
    return now < expected - _SLIGHT


def note(transaction: Transaction, low: Instant, high: Instant) -> None:
    """Keep that the time between these two was lived through twice; the last thousand are kept."""
    transaction.change(_SQL["setback_insert"], {"low": low, "high": high})
    transaction.change(_SQL["setbacks_delete"], {"kept": _KEPT})
