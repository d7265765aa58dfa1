"""Once-only marks where many nodes write: one table, and an index over its keys that all of them see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from marketbell.model import Instant
from marketbell.store.base import Idempotency
from marketbell.store.marks import Mark, bucket, oldest_bucket
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("queue")


class SharedMarks:
    """
    The marks of a database with many writers.

    Of two requests with one key that come at the same time, the second is refused by the index
    when the first commits; it is run again and finds the mark.
    """

    def find(
        self, transaction: Transaction, keys: Sequence[bytes], auto: bool, now: Instant
    ) -> dict[bytes, Mark]:
        """See Marks.find."""
        values = {"bucket": oldest_bucket(auto, now), "keys": list(keys)}
        rows: Any = transaction.rows(_SQL["marks_find"], values)  # type: ignore[arg-type]
        return {key: (body, message_id, answer) for key, body, message_id, answer in rows}

    def put(
        self, transaction: Transaction, made: Sequence[tuple[Idempotency, Instant, Mark]]
    ) -> None:
        """See Marks.put."""
        kept = transaction.change_many(
            _SQL["mark_keep"],
            [
                (bucket(idempotency.auto, at), idempotency.key, idempotency.body, *mark[1:])
                for idempotency, at, mark in sorted(made, key=lambda one: one[0].key)
            ],
        )
        if kept < len(made):
            raise asyncpg.UniqueViolationError("another request has come with the same key")

    def drop(self, transaction: Transaction, now: Instant, limit: int) -> int:
        """See Marks.drop; there is no index beside the table."""
        return 0
