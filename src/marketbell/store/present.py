"""What the store knows of the present: figures for metrics, and what an operator should look at."""

from __future__ import annotations

import itertools
from typing import Any, Final

from marketbell.model import Instant
from marketbell.store.base import Ages, Gauges, Waiting
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("retention")

_WAITING_MAX: Final = 10_000
_LANES_MAX: Final = 1_000
"""Lanes that are looked at for what has been due longest."""


def failing_since(transaction: Transaction, before: Instant, limit: int) -> tuple[int, ...]:
    """See Retention.failing_since; the longest failing first."""
    rows: Any = transaction.rows(_SQL["failing_since"], {"before": before, "limit": limit})
    return tuple(row[0] for row in rows)


def gauges(transaction: Transaction, sizes: tuple[int, int], *, now: Instant) -> Gauges:
    """See Retention.gauges."""
    oldest: Any = transaction.row(_SQL["oldest_pending"], {"now": now, "limit": _LANES_MAX})
    parked: Any = transaction.row(_SQL["parked"])
    file_bytes, log_bytes = sizes
    return Gauges(
        oldest_due=oldest[0], parked=parked[0], file_bytes=file_bytes, log_bytes=log_bytes
    )


def waiting(transaction: Transaction, ages: Ages, *, now: Instant) -> Waiting:
    """See Retention.waiting."""
    before = now - ages.payloads
    deliveries = _until(transaction, "deliveries_waiting", before)
    keys = _until(transaction, "keys_waiting", before)
    first = min(deliveries[:1] + keys[:1], default=None)
    since = None if first is None else first + ages.payloads
    return Waiting(deliveries=len(deliveries), keys=len(keys), since=since)


def _until(transaction: Transaction, name: str, before: Instant) -> list[Instant]:
    rows: Any = transaction.each(_SQL[name], {"limit": _WAITING_MAX})
    return [at for (at,) in itertools.takewhile(lambda row: row[0] <= before, rows)]
