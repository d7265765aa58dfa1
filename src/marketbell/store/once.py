"""Once-only POSTs of the control plane: the mark and the answer stand in the effect's own transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from marketbell.model import Instant
from marketbell.store.base import Once, Repeated
from marketbell.store.marks import used_with_another_body
from marketbell.store.sealing import Box
from marketbell.store.transaction import Transaction

T = TypeVar("T")


def once(
    transaction: Transaction, mark: Once | None, now: Instant, make: Callable[[], T]
) -> T | Repeated:
    """
    What `make` makes, or how an earlier request with the same key was answered.

    Without a mark it is made every time. What `make` refuses leaves no mark. ConflictError if
    the key came before with another body, or made something that has no answer to repeat.
    """
    if mark is None:
        return make()
    idempotency = mark.idempotency
    found = transaction.marks.find(transaction, [idempotency.key], idempotency.auto, now)
    before = found.get(idempotency.key)
    if before is not None:
        body, _message_id, answer = before
        if body != idempotency.body or answer is None:
            raise used_with_another_body()
        return Repeated(answer)
    made = make()
    transaction.marks.put(
        transaction, [(idempotency, now, (idempotency.body, None, mark.render(made)))]
    )
    return made


def sealed(mark: Once, box: Box, purpose: bytes) -> Once:
    """The same mark, its answer kept as ciphertext, since it holds a secret."""

    def render(made: object) -> bytes:
        return box.seal(mark.render(made), purpose)

    return Once(mark.idempotency, render)
