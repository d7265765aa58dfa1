"""What a person takes out of history: payloads of messages and answers of receivers."""

from __future__ import annotations

from typing import Any, Final

from marketbell.errors import NotFoundError, no_such
from marketbell.model import DeliveryState, Instant
from marketbell.store import keys
from marketbell.store.base import Announced, Cancelled, Change, Once, Repeated
from marketbell.store.history import find_message_id
from marketbell.store.once import once
from marketbell.store.recording import finish, go_on
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("history")
_QUEUE = statements("queue")
_RETENTION = statements("retention")

EXPUNGED: Final = b"EXPUNGED"
"""What stands in the place of an answer that was taken out."""


def expunge_payload(
    transaction: Transaction, application_id: int, ref: str, *, now: Instant
) -> None:
    """See Search.expunge_payload; keys that wait for the message go on."""
    remove_payload(transaction, find_message_id(transaction, application_id, ref), now=now)


def remove_payload(transaction: Transaction, message_id: int, *, now: Instant) -> bool:
    """The same by key, as tasks do it; whether there was a payload."""
    of_it = {"message_id": message_id}
    deliveries: Any = transaction.rows(_RETENTION["deliveries_of_message"], of_it)
    for endpoint_id, state, _off, application_id in deliveries:
        told: Announced = Cancelled(1)
        if state == DeliveryState.PENDING:
            finish(transaction, message_id, endpoint_id, DeliveryState.CANCELLED.value, now)
        else:
            # If its claim waits in memory, it is given back with the endpoint's others and, when it
            # is claimed anew, found to have no payload.
            told = Change(application_id, endpoint_id)
            if told in transaction.changes:
                continue
        transaction.changes.append(told)
    keys: Any = transaction.rows(_RETENTION["keys_held_by_message"], of_it)
    for endpoint_id, order_key, _off in keys:
        key = {"endpoint_id": endpoint_id, "order_key": order_key}
        transaction.change(_QUEUE["key_release"], key)
        go_on(transaction, endpoint_id, order_key)
    return bool(transaction.change(_RETENTION["payload_delete"], (message_id,)))


def expunge_payloads(
    transaction: Transaction,
    application_id: int,
    refs: tuple[str, ...],
    *,
    now: Instant,
    mark: Once | None = None,
) -> dict[str, bool] | Repeated:
    """See Search.expunge_payloads."""
    return once(transaction, mark, now, lambda: _expunge(transaction, application_id, refs, now))


def _expunge(
    transaction: Transaction, application_id: int, refs: tuple[str, ...], now: Instant
) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for ref in refs:
        try:
            expunge_payload(transaction, application_id, ref, now=now)
        except NotFoundError:
            found[ref] = False
        else:
            found[ref] = True
    return found


def expunge_response(transaction: Transaction, message_id: int, public_id: str) -> None:
    """See Search.expunge_response."""
    values: dict[str, Value] = {
        "message_id": message_id,
        "public_id": public_id,
        "response": EXPUNGED,
        **keys.around(public_id),
    }
    if not transaction.change(_SQL["response_set"], values):
        raise no_such("attempt", public_id, "id, and the message")
