"""What operators are to be told is noted here, inside the transaction that it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from marketbell import ids
from marketbell.model import DeliveryState, Instant, Trigger
from marketbell.store.base import Result
from marketbell.store.operational_plane import ANNOUNCED_AFTER, Notice, NoticeKind
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL: Final = statements("operational")
_ENCODE = msgspec.json.Encoder()

_Names: TypeAlias = tuple[str, str, str | None, str, str | None]
"""Organization, application and endpoint, with what the operator calls these two."""


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
    names = _names(transaction, endpoint_id)
    if names is not None:
        _tell(transaction, kind, names, now, facts)


def failing_since(transaction: Transaction, endpoint_id: int) -> Instant | None:
    """Since when an endpoint has only failed."""
    row: Any = transaction.row(_SQL["lane_failing_since"], {"endpoint_id": endpoint_id})
    return row[0] if row else None


def may_tell(result: Result, state: DeliveryState) -> bool:
    """
    Whether an attempt may be news to an operator, by what is in memory: nearly none is.

    A delivery that was never announced as failing, and succeeds or fails as one of its first,
    is no news; nor is a claim's end that moves nothing.
    """
    count = result.claim.attempt_count
    if state is DeliveryState.PENDING:
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
        _announce(transaction, NoticeKind.FAILING, [result])


def tell_exhausted(transaction: Transaction, results: Sequence[Result]) -> None:
    """Note that deliveries have failed for good."""
    _announce(transaction, NoticeKind.EXHAUSTED, results)


def tell_recovered(transaction: Transaction, result: Result) -> None:
    """Note that a delivery has succeeded, if it had been announced as failing."""
    pair = {"message_id": result.claim.message.id, "endpoint_id": result.claim.endpoint_id}
    if transaction.change(_SQL["announced_delete"], pair):
        names = _names(transaction, result.claim.endpoint_id)
        if names is not None:
            _tell_attempt(transaction, NoticeKind.RECOVERED, result, names)


def _announce(transaction: Transaction, kind: NoticeKind, results: Sequence[Result]) -> None:
    """Tell of deliveries that fail, and keep of which; what there is to know of endpoints is read once."""
    known = {
        endpoint_id: _names(transaction, endpoint_id)
        for endpoint_id in {result.claim.endpoint_id for result in results}
    }
    for result in results:
        names = known[result.claim.endpoint_id]
        if names is not None:
            _tell_attempt(transaction, kind, result, names)
            pair = {"message_id": result.claim.message.id, "endpoint_id": result.claim.endpoint_id}
            transaction.change(_SQL["announced_insert"], pair)


def _names(transaction: Transaction, endpoint_id: int) -> _Names | None:
    """The names of an endpoint whose organization has an endpoint of its own that is to be told."""
    row: Any = transaction.row(_SQL["notice_names"], {"endpoint_id": endpoint_id})
    return None if row is None else tuple(row)


def _tell_attempt(
    transaction: Transaction, kind: NoticeKind, result: Result, names: _Names
) -> None:
    message, attempt = result.claim.message, result.attempt
    facts = {
        "message": message.public_id,
        "event_id": message.event_id,
        "attempt": attempt.public_id,
        "status_code": attempt.status_code,
        "attempted_at": attempt.started_at,
    }
    _tell(transaction, kind, names, attempt.started_at, facts)


def _tell(
    transaction: Transaction,
    kind: NoticeKind,
    names: _Names,
    now: Instant,
    facts: dict[str, Any],
) -> None:
    """Keep a notice."""
    organization, application, application_uid, endpoint, endpoint_uid = names
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
