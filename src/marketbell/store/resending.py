"""How one delivery is made due again, whoever asks for it: a person's resend, or a task's step."""

from __future__ import annotations

from collections.abc import Collection

from marketbell.model import DeliveryState, Instant
from marketbell.store.recording import go_on, revive
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("history")


def lock_before(
    transaction: Transaction, endpoint_id: int, order_keys: Collection[bytes | None]
) -> None:
    """
    Lock what `make_due` changes beside these deliveries of an endpoint.

    In the order in which a claim does: the lane before its deliveries, and keys before the lane.
    """
    transaction.lock_keys([(endpoint_id, key) for key in order_keys if key is not None])
    transaction.lock_lanes([endpoint_id])


def make_due(
    transaction: Transaction,
    message_id: int,
    endpoint_id: int,
    *,
    state: DeliveryState | None,
    order_key: bytes | None,
    now: Instant,
    due_at: Instant | None = None,
) -> bool:
    """
    Make a delivery due now, or at `due_at` if it was not unfinished, outside of any order.

    The caller has locked by `lock_before`, and lowers the lane. False if it has been claimed or has
    ended since the caller looked: then nothing was done.

    `state` and `order_key` are those of the pair's unfinished delivery, None if it has none. One
    that is being sent must not be given.
    """
    pair = {"message_id": message_id, "endpoint_id": endpoint_id}
    if state is DeliveryState.PENDING:
        if not transaction.change(_SQL["delivery_due_now"], {**pair, "now": now}):
            return False
        if order_key is not None:
            go_on(transaction, endpoint_id, order_key)
    else:
        revive(transaction, message_id, endpoint_id, now, due_at=now if due_at is None else due_at)
    return True
