"""Once-only marks of requests: where they stand, how they are found, when they go."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from marketbell.errors import ReusedKeyError
from marketbell.model import Instant
from marketbell.store.base import Idempotency
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("queue")

_AUTO_BUCKET_MS = 5 * 60_000
_AUTO_BUCKETS = 4
"""The present bucket and those before it that cover 15 minutes."""
_NAMED_BUCKET_MS = 6 * 3_600_000
_NAMED_BUCKETS = 5
"""The present bucket and those before it that cover 24 hours."""

Mark: TypeAlias = tuple[bytes, int | None, bytes | None]
"""The digest of the body, the message that was made, or the answer that was given."""

_BITS: Final = (1 << 63) - 1
"""Those bits of a key by which it is found."""
_NAMED: Final = -1 << 63
"""The place of a key in the index is negative if it is a named one, so that the kinds stand apart."""
_TAIL: Final = struct.Struct(">8xq")
"""The last eight bytes of a key, as a number."""


def bucket(auto: bool, now: Instant) -> int:
    """
    Where a mark of now stands; greater than those of before.

    Buckets of keys that SDKs make are even, the others odd, so that each kind is dropped on its own.
    """
    return 2 * (now // _AUTO_BUCKET_MS) if auto else 2 * (now // _NAMED_BUCKET_MS) + 1


def oldest_bucket(auto: bool, now: Instant) -> int:
    """The bucket before which marks of a kind are over."""
    return bucket(auto, now) - 2 * ((_AUTO_BUCKETS if auto else _NAMED_BUCKETS) - 1)


class Marks(Protocol):
    """The marks of one database, as its transactions use them."""

    def find(
        self, transaction: Transaction, keys: Sequence[bytes], auto: bool, now: Instant
    ) -> dict[bytes, Mark]:
        """What earlier requests with these keys left."""

    def put(
        self, transaction: Transaction, made: Sequence[tuple[Idempotency, Instant, Mark]]
    ) -> None:
        """Keep marks, each with the instant of its request; its body's digest is the mark's own."""

    def drop(self, transaction: Transaction, now: Instant, limit: int) -> int:
        """
        Take marks that are over out of what finds them, looking at `limit` of all marks at most.

        How many it has looked at; none if no bucket is over. Fewer than `limit` once there is
        no more to do. Called once in a transaction.
        """


class IndexedMarks:
    """
    The marks of a database that one process writes; lives with its writing connection.

    Marks are kept in order of arrival. The index over their keys is a temporary table, filled
    when the file is opened (some 800,000 marks a second), so that a random key never costs a
    page of the durable log. It is a part of the writer's transactions, as the marks are.

    The index holds 63 bits of each key, those of its last eight bytes but the first, and beside
    them which kind it is of. What is found is compared with the whole key, so that no other
    request is ever answered with what is not its own. A key of its kind with the same 63 bits
    takes the place of the older one, whose request would be done again if it came again. With
    ten million keys in the index that befalls one new key in 9 * 10^11: at a thousand new keys
    a second, one in 29 years.
    """

    def __init__(self, transaction: Transaction, now: Instant) -> None:
        transaction.change(_SQL["mark_table"])
        self._live: set[int] = set()
        """Buckets that the index may hold something of; some may be ahead of a clock that was set back."""
        self._walks = {True: _Walk(0), False: _Walk(_NAMED)}
        self._dropped_in = transaction
        self._sequence = 0
        place: Any = -1
        while True:
            (place,) = transaction.row(_SQL["mark_bucket_after"], {"bucket": place}) or (None,)
            if place is None:
                break
            last: Any = transaction.row(_SQL["mark_last"], {"bucket": place})
            self._sequence = max(self._sequence, last[0])
            if place >= oldest_bucket(place % 2 == 0, now):
                transaction.change(_SQL["mark_load"], {"bucket": place})
                self._live.add(place)

    def find(
        self, transaction: Transaction, keys: Sequence[bytes], auto: bool, now: Instant
    ) -> dict[bytes, Mark]:
        """See Marks.find."""
        rows: Any = transaction.rows(
            _SQL["mark_find"], {"places": _places(keys, auto), "oldest": oldest_bucket(auto, now)}
        )
        asked = set(keys)
        return {
            key: (body, message_id, answer)
            for key, body, message_id, answer in rows
            if key in asked
        }

    def put(
        self, transaction: Transaction, made: Sequence[tuple[Idempotency, Instant, Mark]]
    ) -> None:
        """See Marks.put."""
        filled: dict[int, list[tuple[Idempotency, Mark]]] = {}
        for idempotency, at, mark in made:
            filled.setdefault(bucket(idempotency.auto, at), []).append((idempotency, mark))
        for place, marks in filled.items():
            first = self._sequence + 1
            self._sequence += len(marks)
            transaction.change_many(
                _SQL["idempotency_insert"],
                [
                    (place, sequence, idempotency.key, idempotency.body, message_id, answer)
                    for sequence, (idempotency, (_body, message_id, answer)) in enumerate(
                        marks, first
                    )
                ],
            )
            keys = [idempotency.key for idempotency, _mark in marks]
            places = _places(keys, auto=place % 2 == 0)
            transaction.change(
                _SQL["mark_insert"], {"places": places, "bucket": place, "first": first}
            )
        self._live.update(filled)
        for walk in self._walks.values():
            walk.over.difference_update(filled)

    def drop(self, transaction: Transaction, now: Instant, limit: int) -> int:
        """See Marks.drop."""
        left = limit
        self._dropped_in = transaction
        for auto, walk in self._walks.items():
            oldest = oldest_bucket(auto, now)
            walk.over = {place for place in walk.over if place < oldest}
            if walk.ended:
                # Not when it ended, for that step might have been rolled back.
                self._live -= walk.over
                walk.begin(())
            if not walk.over:
                walk.begin(place for place in self._of(auto) if place < oldest)
            if walk.over and left > 0:
                left -= walk.step(transaction, oldest, left)
        return limit - left

    def undone(self, transaction: Transaction) -> None:
        """Know that a transaction was rolled back: what it has dropped stands in the index again."""
        if transaction is self._dropped_in:
            for walk in self._walks.values():
                walk.begin(())

    def _of(self, auto: bool) -> list[int]:
        kind = 0 if auto else 1
        return [place for place in self._live if place % 2 == kind]


class _Walk:
    """A way through the places of one kind, once from end to end for buckets that are over."""

    def __init__(self, first: int) -> None:
        self._first = first
        self.begin(())

    def begin(self, over: Iterable[int]) -> None:
        """Go from the beginning; nowhere if no bucket is over."""
        self.over = set(over)
        """Buckets that were over when it began and to which nothing has come since."""
        self.ended = False
        self._next = self._first

    def step(self, transaction: Transaction, oldest: int, limit: int) -> int:
        """Pass so many marks and drop those of buckets before the oldest; how many it has passed."""
        end = self._first + _BITS
        part = {"first": self._next, "last": end, "limit": limit}
        passed: Any = transaction.row(_SQL["mark_part"], part)
        count, last = passed
        if count:
            part = {"first": self._next, "last": last, "oldest": oldest}
            transaction.change(_SQL["mark_drop"], part)
            self._next = last + 1
        self.ended = count < limit or last == end
        return int(count)


def _places(keys: Sequence[bytes], auto: bool) -> str:
    """Where keys of a kind stand in the index, as a JSON list; `mark_load` finds the same."""
    kind = 0 if auto else _NAMED
    tails = _TAIL.iter_unpack(b"".join(keys))
    return msgspec.json.encode([bits & _BITS | kind for (bits,) in tails]).decode()


def used_with_another_body() -> ReusedKeyError:
    """The refusal of a key that came before with another body."""
    return ReusedKeyError(
        "This idempotency-key was used before with another body; send a new key with a new request."
    )
