"""What operators are to be told is noted here, inside the transaction that it tells of."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marketbell import ids
from marketbell.model import DeliveryState, Instant, Trigger, Verdict
from marketbell.store.base import Result
from marketbell.store.operational_plane import ANNOUNCED_AFTER, Notice, NoticeKind
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL: Final = statements("operational")
_ENCODE = msgspec.json.Encoder()


def tell_of_endpoint(
    transaction: Transaction,
    kind: NoticeKind,
    endpoint_id: int,
    *,
    now: Instant,
    failing_since: Instant | None = None,
    by_server: bool = False,
) -> None:
    """Note what happened to an endpoint."""
    facts = {"failing_since": failing_since, "by_server": by_server}
    _tell(transaction, kind, endpoint_id, now, facts)


def failing_since(transaction: Transaction, endpoint_id: int) -> Instant | None:
    """Since when an endpoint has only failed."""
    row: Any = transaction.row(_SQL["lane_failing_since"], {"endpoint_id": endpoint_id})
    return row[0] if row else None


def may_tell(result: Result, verdict: Verdict) -> bool:
    """
    Whether an attempt may be news to an operator, by what is in memory: nearly none is.

    A delivery that was never announced as failing, and succeeds or fails as one of its first,
    is no news; nor is a claim's end that moves nothing.
    """
    count = result.claim.attempt_count
    if verdict.state is DeliveryState.PENDING:
        return count == ANNOUNCED_AFTER - 1 and result.attempt.number == ANNOUNCED_AFTER
    return count >= ANNOUNCED_AFTER or result.claim.trigger is Trigger.MANUAL


def tell_failing(transaction: Transaction, result: Result) -> None:
    """Note that a delivery has failed for the fourth time, if that moved it and was not told before."""
    claim = result.claim
    values = {
        "message_id": claim.message.id,
        "endpoint_id": claim.endpoint_id,
        "claim_number": claim.claim_number,
        "attempt_count": ANNOUNCED_AFTER,
    }
    if transaction.row(_SQL["failure_stands"], values) is not None:
        _announce(transaction, NoticeKind.FAILING, result)


def tell_exhausted(transaction: Transaction, result: Result) -> None:
    """Note that a delivery has failed for good."""
    _announce(transaction, NoticeKind.EXHAUSTED, result)


def tell_recovered(transaction: Transaction, result: Result) -> None:
    """Note that a delivery has succeeded, if it had been announced as failing."""
    pair = {"message_id": result.claim.message.id, "endpoint_id": result.claim.endpoint_id}
    if transaction.change(_SQL["announced_delete"], pair):
        _tell_attempt(transaction, NoticeKind.RECOVERED, result)


def _announce(transaction: Transaction, kind: NoticeKind, result: Result) -> None:
    if _tell_attempt(transaction, kind, result):
        pair = {"message_id": result.claim.message.id, "endpoint_id": result.claim.endpoint_id}
        transaction.change(_SQL["announced_insert"], pair)


def _tell_attempt(transaction: Transaction, kind: NoticeKind, result: Result) -> bool:
    message, attempt = result.claim.message, result.attempt
    facts = {
        "message": message.public_id,
        "event_id": message.event_id,
        "attempt": attempt.public_id,
        "status_code": attempt.status_code,
        "attempted_at": attempt.started_at,
    }
    return _tell(transaction, kind, result.claim.endpoint_id, attempt.started_at, facts)


def _tell(
    transaction: Transaction,
    kind: NoticeKind,
    endpoint_id: int,
    now: Instant,
    facts: dict[str, Any],
) -> bool:
    """Keep a notice, if there is anyone to be told; whether there is."""
    row: Any = transaction.row(_SQL["notice_names"], {"endpoint_id": endpoint_id})
    if row is None:
        return False
    organization, application, application_uid, endpoint, endpoint_uid = row
    notice = Notice(
        kind=kind,
        application=application,
        application_uid=application_uid,
        endpoint=endpoint,
        endpoint_uid=endpoint_uid,
        **facts,
    )
    transaction.change(
        _SQL["notice_insert"],
        {
            "public_id": ids.new_id(ids.NOTICE, now),
            "organization": organization,
            "body": _ENCODE.encode(notice),
        },
    )
    return True
