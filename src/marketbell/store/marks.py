"""Once-only marks of requests: where they stand, how they are found, when they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from marketbell.errors import ConflictError
from marketbell.model import Instant
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("sqlite", "queue")

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


class Marks:
    """Finds marks; remembers which buckets are empty, so that young ones cost one look only."""

    def __init__(self) -> None:
        self._full: dict[int, bool] = {}

    def find(
        self, transaction: Transaction, keys: Sequence[bytes], auto: bool, now: Instant
    ) -> dict[bytes, Mark]:
        """What earlier requests with these keys left."""
        found: dict[bytes, Mark] = {}
        wanted = msgspec.json.encode([key.hex() for key in keys]).decode()
        for place, bucket in enumerate(buckets(auto, now)):
            if place and not self._holds(transaction, bucket):
                continue
            rows: Any = transaction.rows(
                _SQL["idempotency_find"], {"keys": wanted, "bucket": bucket}
            )
            for key, body, message_id, answer in rows:
                found[key] = (body, message_id, answer)
        return found

    def wrote(self, bucket: int) -> None:
        """A mark was put into this bucket, which may be a past one when the clock was set back."""
        self._full.pop(bucket, None)

    def _holds(self, transaction: Transaction, bucket: int) -> bool:
        """Whether a past bucket holds anything; one that was empty stays so until it is written to."""
        holds = self._full.get(bucket)
        if holds is None:
            row = transaction.row(_SQL["idempotency_bucket"], {"bucket": bucket})
            holds = row is not None
            if len(self._full) > 100:
                self._full.clear()
            self._full[bucket] = holds
        return holds


def used_with_another_body() -> ConflictError:
    """The refusal of a key that came before with another body."""
    return ConflictError(
        "This idempotency-key was used before with another body; send a new key with a new request."
    )
