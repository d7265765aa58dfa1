"""T1 on PostgreSQL: a batch of publications as columns of one statement, and its verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from marketbell.errors import (
    ConflictError,
    MarketbellError,
    NotFoundError,
    ReusedKeyError,
    StaleError,
    TakenError,
)
from marketbell.model import Claim, Instant, Message, Millis
from marketbell.store.base import Publication, Published
from marketbell.store.marks import bucket, used_with_another_body
from marketbell.store.repeating import first_answers
from marketbell.store.rows import encode_headers, encode_names
from marketbell.store.transaction import Transaction

_ABSENT: Final = 1
_CHANGED: Final = 2
_EVENT_ID_TAKEN: Final = 3
_REPEATED: Final = 4
_RELAYED: Final = 5
_REUSED: Final = 6
"""Why a message was refused, as `publish_messages` says it."""


class Publishing:
    """Publications that go into one statement: none has a mark or an eventId of another one."""

    def __init__(
        self,
        publications: Sequence[Publication],
        next_key: Callable[[Instant], int],
        payload_retention: Millis,
    ) -> None:
        self._publications = publications
        self._messages = [
            msgspec.structs.replace(
                publication.message, id=next_key(publication.message.created_at)
            )
            for publication in publications
        ]
        self._payload_retention = payload_retention

    def values(self) -> dict[str, Any]:
        """The parameters of the statement."""
        messages = self._messages
        return {
            "ids": [message.id for message in messages],
            "public_ids": [message.public_id for message in messages],
            "application_ids": [message.application_id for message in messages],
            "revisions": [publication.revision for publication in self._publications],
            "event_types": [message.event_type for message in messages],
            "event_ids": [message.event_id for message in messages],
            "channels": [encode_names(message.channels) for message in messages],
            "tags": [encode_names(message.tags) for message in messages],
            "occurred": [message.occurred_at for message in messages],
            "created": [message.created_at for message in messages],
            "expires": [message.payload_expires_at for message in messages],
            "deliver": [message.deliver_at for message in messages],
            "headers": [encode_headers(message.headers) for message in messages],
            "bodies": [message.payload for message in messages],
            **self._marks(),
            **self._births(),
            **self._seldom(),
        }

    def _marks(self) -> dict[str, Any]:
        marked = [
            (message, publication.idempotency)
            for message, publication in zip(self._messages, self._publications, strict=True)
            if publication.idempotency is not None
        ]
        return {
            "mark_ids": [message.id for message, _mark in marked],
            "mark_keys": [mark.key for _message, mark in marked],
            "mark_bodies": [mark.body for _message, mark in marked],
            "mark_buckets": [bucket(mark.auto, message.created_at) for message, mark in marked],
        }

    def _births(self) -> dict[str, Any]:
        born = [
            (message, birth)
            for message, publication in zip(self._messages, self._publications, strict=True)
            for birth in publication.births
        ]
        keys = [birth.order_key for _message, birth in born]
        return {
            "born_ids": [message.id for message, _birth in born],
            "born_endpoints": [birth.endpoint_id for _message, birth in born],
            "born_dues": [birth.due_at for _message, birth in born],
            "born_leases": [birth.lease_until for _message, birth in born],
            "born_ats": [message.created_at for message, _birth in born],
            "born_keys": keys if any(keys) else None,
        }

    def _seldom(self) -> dict[str, Any]:
        pairs = list(zip(self._messages, self._publications, strict=True))
        noted = [
            message
            for message in self._messages
            if message.payload_expires_at != message.created_at + self._payload_retention
        ]
        rows = [
            (message.id, *publication.outbox)
            for message, publication in pairs
            if publication.outbox is not None
        ]
        return {
            "aimed": [message.id for message, publication in pairs if publication.aimed],
            "noted": [message.id for message in noted],
            "noted_expiries": [message.payload_expires_at for message in noted],
            "outbox_ids": [row[0] for row in rows],
            "outbox_transactions": [row[1] for row in rows],
            "outbox_rows": [row[2] for row in rows],
        }

    def verdicts(
        self, refused: Sequence[int] | None, repeated: Callable[[Publication], Verdict]
    ) -> list[Verdict]:
        """What became of each, in order, by the statement's answer."""
        if not refused:
            return [
                _kept(message, publication)
                for message, publication in zip(self._messages, self._publications, strict=True)
            ]
        reasons = dict(zip(refused[::2], refused[1::2], strict=True))
        verdicts: list[Verdict] = []
        for message, publication in zip(self._messages, self._publications, strict=True):
            reason = reasons.get(message.id)
            if reason is None:
                verdicts.append(_kept(message, publication))
            elif reason == _REPEATED:
                verdicts.append(repeated(publication))
            elif reason == _REUSED:
                verdicts.append(used_with_another_body())
            else:
                verdicts.append(_refusal(reason, message))
        return verdicts


Verdict = Published | MarketbellError


def rounds(publications: Sequence[Publication]) -> list[list[int]]:
    """
    Their places in an order in which they can be kept: none with a mark, eventId or row of the outbox of its own round.

    No message of a batch has an earlier round than one before it: it may depend on that one's mark.
    """
    marks = [one.idempotency.key for one in publications if one.idempotency is not None]
    event_ids = [
        (one.message.application_id, one.message.event_id)
        for one in publications
        if one.message.event_id is not None
    ]
    rows = [one.outbox for one in publications if one.outbox is not None]
    if all(len(set(names)) == len(names) for names in (marks, event_ids, rows)):
        return [list(range(len(publications)))]
    turns: dict[object, int] = {}
    found: list[list[int]] = []
    for place, publication in enumerate(publications):
        names: list[object] = []
        if publication.idempotency is not None:
            names.append(publication.idempotency.key)
        if publication.message.event_id is not None:
            names.append((publication.message.application_id, publication.message.event_id))
        if publication.outbox is not None:
            names.append(("outbox", *publication.outbox))
        turn = max((turns.get(name, 0) for name in names), default=0)
        mark = publication.idempotency
        if mark is not None and mark.of_batch:
            turn = max(turn, turns.get(("batch", mark.body), 0))
            turns["batch", mark.body] = turn
        turns.update(dict.fromkeys(names, turn + 1))
        if turn == len(found):
            found.append([])
        found[turn].append(place)
    return found


def left_of(
    places: Sequence[int], publications: Sequence[Publication], verdicts: dict[int, Verdict]
) -> Sequence[int]:
    """Those of a round that are to be kept; those of a batch that an earlier round refused get its verdict."""
    reused = {
        mark.body
        for place, verdict in verdicts.items()
        if isinstance(verdict, ReusedKeyError)
        if (mark := publications[place].idempotency) is not None and mark.of_batch
    }
    if not reused:
        return places
    left = []
    for place in places:
        mark = publications[place].idempotency
        if mark is not None and mark.body in reused:
            verdicts[place] = used_with_another_body()
        else:
            left.append(place)
    return left


def repetition(transaction: Transaction, publication: Publication) -> Verdict:
    """How a request was answered that had the same mark."""
    mark = publication.idempotency
    assert mark is not None  # noqa: S101 - none without is said to be repeated
    now = publication.message.created_at
    (found,) = first_answers(transaction, transaction.marks, [mark], now)
    if found is None:  # it was dropped this very moment
        return StaleError("The first request with this idempotency-key is over.")
    return found


def _kept(message: Message, publication: Publication) -> Published:
    return Published(
        message=message,
        claims=tuple(
            [
                Claim(
                    message=message,
                    endpoint_id=birth.endpoint_id,
                    endpoint_revision=0,
                    claim_number=1,
                    attempt_count=0,
                    born_at=message.created_at,
                    due_at=birth.due_at,
                    lease_until=birth.lease_until,
                )
                for birth in publication.births
                if birth.lease_until
            ]
        ),
    )


def _refusal(reason: int, message: Message) -> MarketbellError:
    if reason == _ABSENT:
        return NotFoundError("The application has been deleted.")
    if reason == _CHANGED:
        return StaleError("The application has changed.")
    if reason == _EVENT_ID_TAKEN:
        return ConflictError(f"A message with the eventId {message.event_id!r} exists already.")
    return TakenError("Another node has this row of the outbox.")
