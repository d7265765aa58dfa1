"""What a step of a task does, with its position, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marketbell.model import DeliveryState, Instant
from marketbell.store.expunging import remove_payload
from marketbell.store.resending import lock_before, make_due
from marketbell.store.statements import statements
from marketbell.store.task_plane import ParkedPlace, Step, Task, TaskKind, TaskStatus
from marketbell.store.transaction import Transaction

_SQL = statements("tasks")
_QUEUE = statements("queue")


def take_step(
    transaction: Transaction, task: Task, step: Step, *, now: Instant, due_at: Instant
) -> bool:
    """See Tasks.take_step."""
    claim = {"id": task.id, "claim_number": task.claim_number, "position": task.position}
    if transaction.row(_SQL["task_claimed"], claim) is None:
        return False
    if task.kind is TaskKind.PURGE_CONTENT:
        made = _purge(transaction, step.message_ids, now)
    else:
        made = _make_due(transaction, task, step.message_ids, now)
    status = TaskStatus.FINISHED if step.finished else TaskStatus.RUNNING
    transaction.change(
        _SQL["task_step"],
        {
            "id": task.id,
            "position": step.position,
            "looked": step.looked,
            "made": made,
            "skipped": len(step.message_ids) - made,
            "status": status.value,
            "due_at": due_at,
            "now": now,
        },
    )
    return True


def _make_due(
    transaction: Transaction, task: Task, message_ids: Sequence[int], now: Instant
) -> int:
    """How many deliveries were made due; a pair that is unfinished already is left as it is."""
    of_endpoint = {"endpoint_id": task.endpoint_id}
    if not message_ids or transaction.row(_SQL["endpoint_may_send"], of_endpoint) is None:
        return 0
    endpoint_id: int = task.endpoint_id  # type: ignore[assignment]
    hurries = task.selection.state is DeliveryState.PENDING
    made = 0
    pairs: list[Any] = [
        transaction.row(_SQL["pair"], {"message_id": message_id, **of_endpoint})
        for message_id in message_ids
    ]
    lock_before(transaction, endpoint_id, [pair[1] for pair in pairs] if hurries else [])
    for message_id, pair in zip(message_ids, pairs, strict=True):
        written, order_key, payload_kept, deliver_at = pair
        state = None if written is None else DeliveryState(written)
        if not payload_kept or state is DeliveryState.SENDING:
            continue
        if state is DeliveryState.PENDING and not hurries:
            continue
        made += make_due(
            transaction,
            message_id,
            endpoint_id,
            state=state,
            order_key=order_key,
            now=now,
            due_at=max(now, deliver_at or now),
        )
    if made:
        transaction.change(_QUEUE["lane_lower"], {**of_endpoint, "due_at": now})
    return made


def _purge(transaction: Transaction, message_ids: Sequence[int], now: Instant) -> int:
    """How many payloads were removed; what waits to be sent of them is cancelled."""
    return sum(remove_payload(transaction, key, now=now) for key in message_ids)


def redrive_parked(
    transaction: Transaction, organization: str, place: ParkedPlace, *, now: Instant, limit: int
) -> tuple[int, ParkedPlace | None]:
    """See Tasks.redrive_parked."""
    rows: Any = transaction.rows(
        _SQL["parked_after"],
        {
            "organization": organization,
            "lost_count": place.lost_count,
            "message_id": place.message_id,
            "endpoint_id": place.endpoint_id,
            "limit": limit,
        },
    )
    driven = 0
    transaction.lock_lanes([row[2] for row in rows if row[4]])
    for _lost_count, message_id, endpoint_id, _order_key, ours in rows:
        if not ours:
            continue
        pair = {"message_id": message_id, "endpoint_id": endpoint_id}
        transaction.change(_SQL["parked_redrive"], {**pair, "now": now})
        transaction.change(_QUEUE["lane_lower"], {"endpoint_id": endpoint_id, "due_at": now})
        driven += 1
    if len(rows) < limit:
        return driven, None
    return driven, ParkedPlace(*rows[-1][:3])
