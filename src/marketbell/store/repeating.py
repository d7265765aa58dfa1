"""Messages that came before: how their requests were answered, found by their marks."""

from __future__ import annotations

from collections.abc import Sequence

from marketbell.errors import ConflictError, MarketbellError, NotFoundError
from marketbell.model import Instant, Message
from marketbell.store.base import Idempotency, Published
from marketbell.store.marks import Mark, Marks, used_with_another_body
from marketbell.store.rows import message_of
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("queue")


def first_answers(
    transaction: Transaction, marks: Marks, asked: Sequence[Idempotency], now: Instant
) -> list[Published | MarketbellError | None]:
    """How requests with these marks were answered before, in order; None for one that is new."""
    found: dict[bytes, Mark] = {}
    for auto in (True, False):
        keys = [one.key for one in asked if one.auto is auto]
        if keys:
            found.update(marks.find(transaction, keys, auto, now))
    return [
        first_answer(transaction, one, found[one.key]) if one.key in found else None
        for one in asked
    ]


def first_answer(
    transaction: Transaction, asked: Idempotency, mark: Mark
) -> Published | MarketbellError:
    """What a request gets whose key left this mark before."""
    body, message_id, _answer = mark
    if body != asked.body:
        return used_with_another_body()
    if message_id is None:
        return ConflictError("This idempotency-key was used for something else.")
    message = _message(transaction, message_id)
    if message is None:
        return NotFoundError("The message of this idempotency-key is no longer kept.")
    return Published(message=message, repeated=True)


def _message(transaction: Transaction, message_id: int) -> Message | None:
    row = transaction.row(_SQL["message_by_id"], {"id": message_id})
    return None if row is None else message_of(row)
