"""Messages, deliveries and attempts on SQLite, as they are and were; and how one is made due again."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marketbell import ids
from marketbell.errors import ConflictError, GoneError, NotFoundError
from marketbell.model import (
    NEVER,
    Attempt,
    DeliveryState,
    Instant,
    Message,
    Millis,
    Outcome,
    Trigger,
)
from marketbell.store.base import (
    AttemptFilter,
    AttemptRow,
    MessageFilter,
    Once,
    Page,
    Repeated,
    Slice,
)
from marketbell.store.configuration import find_endpoint_id
from marketbell.store.once import once
from marketbell.store.paging import Span, span_of_ids
from marketbell.store.recording import go_on
from marketbell.store.rows import message_of
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("sqlite", "history")
_QUEUE = statements("sqlite", "queue")

_ENCODE = msgspec.json.Encoder()


class _Kind(msgspec.Struct, frozen=True):
    """How rows of one kind are found by their time."""

    table: str
    prefix: str
    slack: Millis
    """How much later than it was made a row may be committed, and still be found by its time."""


_MESSAGES: Final = _Kind("message", ids.MESSAGE, 60_000)
_ATTEMPTS: Final = _Kind("attempt", ids.ATTEMPT, 600_000)


def message(transaction: Transaction, application_id: int, ref: str) -> Message:
    """See History.message."""
    return _message(transaction, _message_id(transaction, application_id, ref), content=True)


def messages(
    transaction: Transaction, application_id: int, which: MessageFilter, page: Page
) -> Slice[Message]:
    """See History.messages; a filter by time reads only that time's messages, and a minute around."""
    span = _span(transaction, _MESSAGES, which, page)
    rows: Any = transaction.rows(
        _SQL[f"messages_{span.way}"],
        {"application_id": application_id, **_filter(which), **span.values},
    )
    return span.slice(rows, lambda row: _message(transaction, row[0], content=which.with_content))


def attempts(
    transaction: Transaction, application_id: int, which: AttemptFilter, page: Page
) -> Slice[AttemptRow]:
    """See History.attempts. ValueError if neither a message nor an endpoint is named."""
    if which.message_id is None and which.endpoint_id is None:
        raise ValueError("attempts are listed by message or by endpoint")
    span = _span(transaction, _ATTEMPTS, which, page)
    of = "endpoint" if which.message_id is None else "message"
    rows: Any = transaction.rows(
        _SQL[f"attempts_of_{of}_{span.way}"],
        {
            "application_id": application_id,
            "message_id": which.message_id,
            "endpoint_id": which.endpoint_id,
            "succeeded": which.succeeded,
            "status_code_class": which.status_code_class,
            **_filter(which),
            **span.values,
        },
    )
    return span.slice(rows, lambda row: _attempt(transaction, row[0], content=which.with_content))


def delivery_states(transaction: Transaction, message_id: int) -> dict[str, DeliveryState]:
    """See History.delivery_states."""
    rows: Any = transaction.rows(_SQL["delivery_states"], {"message_id": message_id})
    return {public_id: DeliveryState(state) for public_id, state in rows}


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
    message_id = _message_id(transaction, application_id, message_ref)
    endpoint_id = find_endpoint_id(transaction, application_id, endpoint_ref)
    pair = {"message_id": message_id, "endpoint_id": endpoint_id}
    facts: Any = transaction.row(_SQL["resend_facts"], pair)
    disabled, state, order_key, payload_kept = facts
    if disabled:
        raise ConflictError("The endpoint is disabled; enable it before a resend.")
    if not payload_kept:
        raise GoneError("The payload of this message is no longer kept; publish it anew.")
    if state == DeliveryState.SENDING:
        return
    if state == DeliveryState.PENDING:
        transaction.change(_SQL["delivery_due_now"], {**pair, "now": now})
        if order_key is not None:
            go_on(transaction, endpoint_id, order_key)
    else:
        transaction.change(_SQL["delivery_revive"], {**pair, "now": now})
    transaction.change(_QUEUE["lane_lower"], {"endpoint_id": endpoint_id, "due_at": now})


def _message_id(transaction: Transaction, application_id: int, ref: str) -> int:
    name = "message_id_by_event_id"
    if ids.is_id(ids.MESSAGE, ref):
        name = "message_id_by_public_id"
    row: Any = transaction.row(_SQL[name], {"application_id": application_id, "ref": ref})
    if row is None:
        raise NotFoundError("There is no such message.")
    key: int = row[0]
    return key


def _message(transaction: Transaction, message_id: int, *, content: bool) -> Message:
    row: Any = transaction.row(_SQL["message"], {"id": message_id, "with_content": content})
    return message_of(row)


def _attempt(transaction: Transaction, attempt_id: int, *, content: bool) -> AttemptRow:
    row: Any = transaction.row(_SQL["attempt"], {"id": attempt_id, "with_content": content})
    endpoint_public_id, state, due_at = row[25:]
    return AttemptRow(
        attempt=_attempt_of(row[11:25]),
        message=message_of(row[:11]),
        endpoint_public_id=endpoint_public_id,
        delivery_state=DeliveryState(state),
        next_at=due_at if due_at is not None and due_at < NEVER else None,
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


def _filter(which: MessageFilter | AttemptFilter) -> dict[str, Value]:
    types = which.event_types
    return {
        "event_types": None if types is None else _ENCODE.encode(sorted(types)).decode(),
        "channel": which.channel,
        "tag": which.tag,
        "since": which.since,
        "until": which.until,
    }


def _span(
    transaction: Transaction, kind: _Kind, which: MessageFilter | AttemptFilter, page: Page
) -> Span[int]:
    """
    The span of a page, newest first, between two instants, so that no rows of other times are read.

    Keys rise in order of commits and public ids in order of making. What was made before
    `since - slack` was committed before anything of `since`, and likewise at the other end.
    """
    position = _SQL[f"{kind.table}_position"]
    span = span_of_ids(transaction, position, kind.prefix, page, descending=True)
    low, high = span.low, span.high
    if which.since is not None:
        start = ids.smallest_at(kind.prefix, which.since - kind.slack)
        row: Any = transaction.row(_SQL[f"{kind.table}_before"], {"public_id": start})
        low = low if row is None else max(low, row[0])
    if which.until is not None:
        end = ids.smallest_at(kind.prefix, which.until + kind.slack)
        row = transaction.row(position, {"public_id": end})
        high = high if row is None else min(high, row[0])
    return msgspec.structs.replace(span, low=low, high=high)
