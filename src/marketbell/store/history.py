"""One message or attempt, as it is and was; and how a delivery is made due again."""

from __future__ import annotations

from typing import Any, Final

from marketbell import ids
from marketbell.errors import ConflictError, GoneError, NotFoundError, no_such
from marketbell.model import (
    NEVER,
    Attempt,
    DeliveryState,
    Instant,
    Message,
    Outcome,
    Trigger,
)
from marketbell.store import keys
from marketbell.store.base import (
    AttemptRow,
    Once,
    Repeated,
)
from marketbell.store.configuration import find_endpoint_id, waits_of
from marketbell.store.once import once
from marketbell.store.resending import lock_before, make_due
from marketbell.store.rows import message_of
from marketbell.store.search_plane import Destination, Owner
from marketbell.store.statements import statements
from marketbell.store.transaction import Row, Transaction, Value

_SQL = statements("history")
_QUEUE = statements("queue")


_OWNERS: Final = {ids.ENDPOINT: "endpoint", ids.MESSAGE: "message", ids.ATTEMPT: "attempt"}


def owner(transaction: Transaction, public_id: str) -> Owner:
    """See Search.owner."""
    for prefix, kind in _OWNERS.items():
        if ids.is_id(prefix, public_id):
            values: dict[str, Value] = {"public_id": public_id, **keys.around(public_id)}
            row: Any = transaction.row(_SQL[f"owner_of_{kind}"], values)
            if row is not None:
                return Owner(**dict(zip(Owner.__struct_fields__, row, strict=True)))
            raise no_such(kind, public_id, "id")
    raise NotFoundError("Nothing has such an id.")


def message(transaction: Transaction, application_id: int, ref: str) -> Message:
    """See History.message."""
    return read_message(
        transaction, find_message_id(transaction, application_id, ref), content=True
    )


def attempt(transaction: Transaction, message_id: int, public_id: str) -> AttemptRow:
    """See Search.attempt."""
    values: dict[str, Value] = {"message_id": message_id, "public_id": public_id}
    values.update(keys.around(public_id))
    row: Any = transaction.row(_SQL["attempt_of_message"], values)
    if row is None:
        raise no_such("attempt", public_id, "id, and the message")
    return read_attempt(transaction, row[0], content=True)


def delivery_states(transaction: Transaction, message_id: int) -> dict[str, DeliveryState]:
    """See History.delivery_states."""
    rows: Any = transaction.rows(_SQL["delivery_states"], {"message_id": message_id})
    return {public_id: DeliveryState(state) for public_id, state in rows}


def destinations(transaction: Transaction, message_id: int) -> tuple[Destination, ...]:
    """See Search.destinations."""
    rows: Any = transaction.rows(_SQL["destinations"], {"message_id": message_id})
    return tuple(
        Destination(
            endpoint_public_id=public_id,
            state=DeliveryState(state),
            next_at=due_at if due_at is not None and due_at < NEVER else None,
        )
        for _key, public_id, state, due_at in sorted(rows)
    )


def resend(
    transaction: Transaction,
    application_id: int,
    message_ref: str,
    endpoint_ref: str,
    *,
    now: Instant,
    mark: Once | None = None,
) -> Repeated | None:
    """See History.resend; an endpoint that never had the message gets it, too."""
    return once(
        transaction,
        mark,
        now,
        lambda: _resend(transaction, application_id, message_ref, endpoint_ref, now),
    )


def _resend(
    transaction: Transaction, application_id: int, message_ref: str, endpoint_ref: str, now: Instant
) -> None:
    message_id = find_message_id(transaction, application_id, message_ref)
    endpoint_id = find_endpoint_id(transaction, application_id, endpoint_ref)
    pair = {"message_id": message_id, "endpoint_id": endpoint_id}
    facts: Any = transaction.row(_SQL["resend_facts"], pair)
    disabled, state, attempt_count, order_key, payload_kept = facts
    if disabled:
        raise ConflictError("The endpoint is disabled; enable it before a resend.")
    if not payload_kept:
        raise GoneError("The payload of this message is no longer kept; publish it anew.")
    if state == DeliveryState.SENDING:
        if attempt_count:
            raise ConflictError(
                "A retry of this delivery is under way or about to begin; resend it when that has ended."
            )
        return  # what is being sent has its whole schedule before it already
    lock_before(transaction, endpoint_id, [order_key])
    made = make_due(
        transaction,
        message_id,
        endpoint_id,
        state=None if state is None else DeliveryState(state),
        order_key=order_key,
        now=now,
    )
    if not made:  # an attempt of it has begun or ended just now
        _resend(transaction, application_id, message_ref, endpoint_ref, now)
        return
    transaction.change(_QUEUE["lane_lower"], {"endpoint_id": endpoint_id, "due_at": now})


def find_message_id(transaction: Transaction, application_id: int, ref: str) -> int:
    """The key of a message by public id or eventId. NotFoundError."""
    name = "message_id_by_event_id"
    near: dict[str, int] = {}
    if ids.is_id(ids.MESSAGE, ref):
        name = "message_id_by_public_id"
        near = keys.around(ref)
    row: Any = transaction.row(_SQL[name], {"application_id": application_id, "ref": ref, **near})
    if row is None:
        raise no_such("message", ref, "id or eventId, and the application")
    key: int = row[0]
    return key


def read_message(transaction: Transaction, message_id: int, *, content: bool) -> Message:
    """The message with this key."""
    row: Any = transaction.row(_SQL["message"], {"id": message_id, "with_content": content})
    return message_of(row)


def read_attempt(transaction: Transaction, attempt_id: int, *, content: bool) -> AttemptRow:
    """The attempt with this key."""
    row: Any = transaction.row(_SQL["attempt"], {"id": attempt_id, "with_content": content})
    return attempt_row_of(row)


def attempt_row_of(row: Row) -> AttemptRow:
    """An attempt from the columns of its message, its own, and where its delivery stands."""
    values: Any = row
    endpoint_public_id, due_at, dialect, retry_schedule = values[27:]
    return AttemptRow(
        attempt=_attempt_of(values[13:27]),
        message=message_of(values[:13]),
        endpoint_public_id=endpoint_public_id,
        next_at=due_at if due_at is not None and due_at < NEVER else None,
        dialect=dialect,
        retry_schedule=waits_of(retry_schedule),
    )


def _attempt_of(row: tuple[Any, ...]) -> Attempt:
    return Attempt(
        public_id=row[0],
        message_id=row[1],
        endpoint_id=row[2],
        claim_number=row[3],
        number=row[4],
        trigger=Trigger(row[5]),
        outcome=Outcome(row[6]),
        status_code=row[7],
        reason=row[8],
        response=row[9] or b"",
        url=row[10],
        address=row[11],
        started_at=row[12],
        duration=row[13],
    )
