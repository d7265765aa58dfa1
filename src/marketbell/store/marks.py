"""Once-only marks of requests: where they stand, how they are found, when they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from marketbell.errors import ConflictError
from marketbell.model import Instant
from marketbell.store.base import Idempotency
from marketbell.store.statements import statements
from marketbell.store.transaction import Row, Transaction

_SQL = statements("sqlite", "queue")

_AUTO_BUCKET_MS = 5 * 60_000
_AUTO_BUCKETS = 4
"""The present bucket and those before it that cover 15 minutes."""
_NAMED_BUCKET_MS = 6 * 3_600_000
_NAMED_BUCKETS = 5
"""The present bucket and those before it that cover 24 hours."""
_FULL_MAX = 100

Mark: TypeAlias = tuple[bytes, int | None, bytes | None]
"""The digest of the body, the message that was made, or the answer that was given."""


def buckets(auto: bool, now: Instant) -> list[int]:
    """
    The buckets in which a key may stand, the present one first.

    Those of keys that SDKs make are even, the others odd, so that each kind is dropped on its own.
    """
    if auto:
        first = now // _AUTO_BUCKET_MS
        return [2 * (first - back) for back in range(_AUTO_BUCKETS)]
    first = now // _NAMED_BUCKET_MS
    return [2 * (first - back) + 1 for back in range(_NAMED_BUCKETS)]


class Marks:
    """
    The marks of one database; lives with its writing connection.

    Marks are kept in order of arrival. The index over their keys is a temporary table, filled
    when the file is opened (about a million marks a second), so that a random key never costs a
    page of the durable log: an index in the file took 15 us a message, this takes 4.
    """

    def __init__(self, transaction: Transaction, now: Instant) -> None:
        transaction.change(_SQL["mark_table"])
        self._full: dict[int, bool] = {}
        self._sequence = 0
        for bucket in buckets(True, now) + buckets(False, now):
            transaction.change(_SQL["mark_load"], {"bucket": bucket})
            last: Any = transaction.row(_SQL["mark_last"], {"bucket": bucket})
            self._sequence = max(self._sequence, last[0])

    def find(
        self, transaction: Transaction, keys: Sequence[bytes], auto: bool, now: Instant
    ) -> dict[bytes, Mark]:
        """What earlier requests with these keys left."""
        found: dict[bytes, Mark] = {}
        wanted = msgspec.json.encode([key.hex() for key in keys]).decode()
        for place, bucket in enumerate(buckets(auto, now)):
            if place and not self._holds(transaction, bucket):
                continue
            rows: Any = transaction.rows(_SQL["mark_find"], {"keys": wanted, "bucket": bucket})
            for key, body, message_id, answer in rows:
                found[key] = (body, message_id, answer)
        return found

    def put(
        self, transaction: Transaction, made: Sequence[tuple[Idempotency, Instant, Mark]]
    ) -> None:
        """Keep marks, each with the instant of its request; its body's digest is the mark's own."""
        rows: list[Row] = []
        index: list[Row] = []
        for idempotency, at, (_body, message_id, answer) in made:
            bucket = buckets(idempotency.auto, at)[0]
            self._sequence += 1
            self._full.pop(bucket, None)
            key = idempotency.key
            rows.append((bucket, self._sequence, key, idempotency.body, message_id, answer))
            index.append((bucket, key, self._sequence))
        transaction.change_many(_SQL["idempotency_insert"], rows)
        transaction.change_many(_SQL["mark_insert"], index)

    def drop(self, transaction: Transaction, now: Instant, limit: int) -> int:
        """Take up to `limit` marks of each kind that are over out of the index; how many."""
        dropped = 0
        for kind, auto in enumerate((True, False)):
            oldest: Any = transaction.row(_SQL["mark_oldest"], {"kind": kind})
            if oldest[0] is not None and oldest[0] < buckets(auto, now)[-1]:
                dropped += transaction.change(
                    _SQL["mark_drop"], {"bucket": oldest[0], "limit": limit}
                )
        return dropped

    def _holds(self, transaction: Transaction, bucket: int) -> bool:
        """Whether a past bucket holds anything; one that was empty stays so until it is written to."""
        holds = self._full.get(bucket)
        if holds is None:
            holds = transaction.row(_SQL["mark_bucket"], {"bucket": bucket}) is not None
            if len(self._full) > _FULL_MAX:
                self._full.clear()
            self._full[bucket] = holds
        return holds


def used_with_another_body() -> ConflictError:
    """The refusal of a key that came before with another body."""
    return ConflictError(
        "This idempotency-key was used before with another body; send a new key with a new request."
    )
