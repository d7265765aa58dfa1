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

_SQL = statements("queue")

_AUTO_BUCKET_MS = 5 * 60_000
_AUTO_BUCKETS = 4
"""The present bucket and those before it that cover 15 minutes."""
_NAMED_BUCKET_MS = 6 * 3_600_000
_NAMED_BUCKETS = 5
"""The present bucket and those before it that cover 24 hours."""

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


def bucket(auto: bool, now: Instant) -> int:
    """The present one of them."""
    return 2 * (now // _AUTO_BUCKET_MS) if auto else 2 * (now // _NAMED_BUCKET_MS) + 1


class Marks:
    """
    The marks of one database; lives with its writing connection.

    Marks are kept in order of arrival. The index over their keys is a temporary table, filled
    when the file is opened (about a million marks a second), so that a random key never costs a
    page of the durable log: an index in the file took 15 us a message, this takes 4.
    """

    def __init__(self, transaction: Transaction, now: Instant) -> None:
        transaction.change(_SQL["mark_table"])
        self._live: set[int] = set()
        """Buckets that the index may hold something of; some may be ahead of a clock that was set back."""
        self._sequence = 0
        bucket: Any = -1
        while True:
            (bucket,) = transaction.row(_SQL["mark_bucket_after"], {"bucket": bucket}) or (None,)
            if bucket is None:
                break
            last: Any = transaction.row(_SQL["mark_last"], {"bucket": bucket})
            self._sequence = max(self._sequence, last[0])
            if bucket >= _oldest(bucket % 2 == 0, now):
                transaction.change(_SQL["mark_load"], {"bucket": bucket})
                self._live.add(bucket)

    def find(
        self, transaction: Transaction, keys: Sequence[bytes], auto: bool, now: Instant
    ) -> dict[bytes, Mark]:
        """What earlier requests with these keys left."""
        found: dict[bytes, Mark] = {}
        wanted = msgspec.json.encode([key.hex() for key in keys]).decode()
        oldest = _oldest(auto, now)
        for bucket in sorted(self._of(auto)):
            if bucket < oldest:
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
        sequence = self._sequence
        for idempotency, at, (_body, message_id, answer) in made:
            place = bucket(idempotency.auto, at)
            sequence += 1
            self._live.add(place)
            key = idempotency.key
            rows.append((place, sequence, key, idempotency.body, message_id, answer))
            index.append((place, key, sequence))
        self._sequence = sequence
        transaction.change_many(_SQL["idempotency_insert"], rows)
        transaction.change_many(_SQL["mark_insert"], index)

    def drop(self, transaction: Transaction, now: Instant, limit: int) -> int:
        """Take up to `limit` marks of each kind that are over out of the index; how many."""
        dropped = 0
        for auto in (True, False):
            bucket = min(self._of(auto), default=None)
            if bucket is None or bucket >= _oldest(auto, now):
                continue
            changed = transaction.change(_SQL["mark_drop"], {"bucket": bucket, "limit": limit})
            if not changed:
                self._live.discard(bucket)
            dropped += changed
        return dropped

    def _of(self, auto: bool) -> list[int]:
        kind = 0 if auto else 1
        return [bucket for bucket in self._live if bucket % 2 == kind]


def _oldest(auto: bool, now: Instant) -> int:
    """The bucket before which marks of a kind are over."""
    return buckets(auto, now)[-1]


def used_with_another_body() -> ConflictError:
    """The refusal of a key that came before with another body."""
    return ConflictError(
        "This idempotency-key was used before with another body; send a new key with a new request."
    )
