"""T3: attempts are kept and their deliveries moved, in one transaction; what else moves a delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from marketbell.model import NEVER, Attempt, DeliveryState, Instant, Outcome, Trigger
from marketbell.store.base import Result
from marketbell.store.operational_plane import ANNOUNCED_AFTER
from marketbell.store.statements import statements
from marketbell.store.tally import ACCEPTED, BORN, DELIVERED, ENDED, FAILED, REFUSED
from marketbell.store.telling import may_tell, tell_exhausted, tell_failing, tell_recovered
from marketbell.store.transaction import Row, Transaction

_SQL = statements("queue")

_ACCEPTED: Final = Outcome.ACCEPTED
_MANUAL: Final = Trigger.MANUAL
_DELIVERED: Final = DeliveryState.DELIVERED
_PENDING: Final = DeliveryState.PENDING
_FAILED: Final = DeliveryState.FAILED
_MAY_BE_NEWS: Final = ANNOUNCED_AFTER - 1
"""From this count of attempts on the next one may be something to tell an operator."""


class RecordWork:
    """The results of one caller, as a share of a transaction; never refused, never withdrawn."""

    __slots__ = ("bounded", "future", "queued_at", "results", "rows", "size")

    def __init__(self, results: Sequence[Result], future: asyncio.Future[None]) -> None:
        self.results = results
        self.future = future
        self.rows = 2 * len(results)
        self.size = 0
        self.bounded = False
        self.queued_at = 0.0

    def succeed(self) -> None:
        """Tell the caller that its results are on disk."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell the caller that they are not, or may not be: it records them again."""
        if not self.future.done():
            self.future.set_exception(error)


def record(transaction: Transaction, works: Iterable[RecordWork]) -> None:
    """Record every result of `works`, as `Queue.record` promises it."""
    results = _keep([result for work in works for result in work.results], transaction)
    accepted: list[tuple[int, Instant]] = []
    refused: list[tuple[int, Instant]] = []
    delivered: dict[tuple[int, int], Result] = {}
    again: list[Row] = []
    holds: dict[int, Instant] = {}
    special: list[Result] = []
    for result in results:
        attempt, verdict = result.attempt, result.verdict
        message_id, endpoint_id = attempt.message_id, attempt.endpoint_id
        if attempt.outcome is _ACCEPTED:
            accepted.append((endpoint_id, attempt.started_at))
        elif attempt.outcome.counted:
            refused.append((endpoint_id, attempt.started_at))
        if verdict is None:
            continue
        if verdict.state is _DELIVERED:
            delivered[message_id, endpoint_id] = result
        elif verdict.state is _PENDING:
            again.append((verdict.due_at, message_id, endpoint_id, result.claim.claim_number))
        if verdict.hold_until:
            holds[endpoint_id] = max(holds.get(endpoint_id, 0), verdict.hold_until)
        if is_special(result):
            special.append(result)
    transaction.tally.add_each(accepted, ACCEPTED)
    transaction.tally.add_each(refused, REFUSED)
    if delivered:
        _deliver(transaction, delivered)
    if again:
        _wait(transaction, again)
    if special:
        follow_up(transaction, special)
    for endpoint_id, until in sorted(holds.items()):
        transaction.change(_SQL["lane_hold"], {"endpoint_id": endpoint_id, "until": until})


def _keep(results: list[Result], transaction: Transaction) -> list[Result]:
    """Keep the attempts; the results among them that were not recorded before."""
    rows = [_attempt_row(result.attempt) for result in results]
    kept = transaction.change_many(_SQL["attempt_insert"], rows)
    if kept == len(results):
        return results
    last: Any = transaction.row(_SQL["attempt_last"])
    before = last[0] - kept  # numbers are given one after the other
    fresh: dict[str, Result] = {}
    for result in results:
        public_id = result.attempt.public_id
        number: Any = transaction.row(_SQL["attempt_kept"], {"public_id": public_id})
        if number[0] > before:
            fresh.setdefault(public_id, result)
    return list(fresh.values())


def _deliver(transaction: Transaction, of: Mapping[tuple[int, int], Result]) -> None:
    """End what was delivered, and count those that had not ended before."""
    unfinished: Any = transaction.rows_many(_SQL["delivery_unfinished"], of)
    transaction.change_many(_SQL["delivery_delivered"], of)
    finished: list[Row] = []
    accepted: list[tuple[int, Instant]] = []
    for message_id, endpoint_id, attempt_count, claim_number in unfinished:
        result = of[message_id, endpoint_id]
        finished.append((message_id, endpoint_id, attempt_count + 1, claim_number, _end(result)))
        accepted.append((endpoint_id, result.claim.message.created_at))
    transaction.tally.add_each(accepted, DELIVERED)
    transaction.change_many(_SQL["finished_delivered"], finished)


def _wait(transaction: Transaction, again: Iterable[Row]) -> None:
    """Let these be due again, and their lanes with them."""
    waiting: Any = transaction.rows_many(_SQL["delivery_again"], again)
    lanes: dict[int, Instant] = {}
    for endpoint_id, due_at in waiting:
        lanes[endpoint_id] = min(lanes.get(endpoint_id, NEVER), due_at)
    for endpoint_id, due_at in sorted(lanes.items()):
        transaction.change(_SQL["lane_lower"], {"endpoint_id": endpoint_id, "due_at": due_at})


def finish(
    transaction: Transaction, message_id: int, endpoint_id: int, state: str, now: Instant
) -> None:
    """End a delivery without an attempt, so that its key goes on; nothing happens if it has ended before."""
    row: Any = transaction.row(
        _SQL["delivery_cancel"], {"message_id": message_id, "endpoint_id": endpoint_id}
    )
    if row is None:
        return
    attempt_count, claim_number, order_key = row
    pair = {"message_id": message_id, "endpoint_id": endpoint_id}
    was: Any = transaction.row(_SQL["delivery_was"], pair)
    _finish(
        transaction,
        (message_id, endpoint_id, state, attempt_count, claim_number, now),
        accepted_at=now if was is None else was[0],
    )
    if order_key is not None:
        go_on(transaction, endpoint_id, order_key)


def revive(
    transaction: Transaction, message_id: int, endpoint_id: int, now: Instant, *, due_at: Instant
) -> None:
    """
    Make a delivery due that is not unfinished: it has ended, or never was; the caller lowers the
    lane.

    It has its whole schedule before it and stands outside of any order; whatever claim of it is
    still under way elsewhere is an older one.
    """
    pair = {"message_id": message_id, "endpoint_id": endpoint_id}
    was: Any = transaction.row(_SQL["delivery_was"], pair)
    transaction.change(_SQL["delivery_revive"], {**pair, "now": now, "due_at": due_at})
    accepted_at, ended = was
    if ended is None:
        transaction.tally.add(endpoint_id, accepted_at, BORN)
    else:
        transaction.tally.add(endpoint_id, accepted_at, ENDED[ended], -1)


def _finish(transaction: Transaction, row: Row, *, accepted_at: Instant) -> None:
    """Keep that a delivery has ended, and count it as what it is from now on."""
    kept: Any = transaction.row(_SQL["finished_insert"], row)
    transaction.tally.add(row[1], accepted_at, ENDED[kept[0]])  # type: ignore[arg-type]


def go_on(transaction: Transaction, endpoint_id: int, order_key: bytes) -> None:
    """Let the first unfinished delivery of a key have its turn, unless the key waits for a failed one."""
    transaction.lock_keys([(endpoint_id, order_key)])
    row: Any = transaction.row(
        _SQL["order_next"], {"endpoint_id": endpoint_id, "order_key": order_key}
    )
    if row is None:
        return
    message_id, due_at, lost_count = row
    if due_at < NEVER or lost_count:
        return
    transaction.change(
        _SQL["delivery_unblock"], {"message_id": message_id, "endpoint_id": endpoint_id}
    )
    transaction.change(_SQL["lane_lower"], {"endpoint_id": endpoint_id, "due_at": due_at - NEVER})


def is_special(result: Result) -> bool:
    """Whether more may follow from an attempt than that its delivery has ended or is due again."""
    verdict, claim = result.verdict, result.claim
    return verdict is not None and (
        verdict.state is _FAILED
        or claim.order_key is not None
        or claim.trigger is _MANUAL
        or claim.attempt_count >= _MAY_BE_NEWS
    )


def follow_up(transaction: Transaction, results: Sequence[Result]) -> None:
    """What follows from attempts for keys and for operators, and from last failures at all."""
    ended = _fail(transaction, [one for one in results if _state(one) is _FAILED])
    for result in results:
        claim, state = result.claim, _state(result)
        key = claim.order_key
        if state is _DELIVERED:
            _follow_success(transaction, result)
        elif state is _PENDING:
            if may_tell(result, state):
                tell_failing(transaction, result)
        elif key is not None and _triple(result) in ended:
            if result.hold_key:
                values = (claim.endpoint_id, key, claim.message.id)
                transaction.change(_SQL["key_hold"], values)
            else:
                go_on(transaction, claim.endpoint_id, key)


def _fail(transaction: Transaction, results: Sequence[Result]) -> set[tuple[int, int, int]]:
    """End what has failed for good, count it and tell of it; which deliveries that moved."""
    if not results:
        return set()
    of: dict[tuple[int, int, int], Result] = {}
    for result in results:
        of.setdefault(_triple(result), result)
    failed: list[Result] = []
    first: list[Row] = []
    counted: list[tuple[int, Instant]] = []
    ended: Any = transaction.rows_many(_SQL["delivery_failed"], of)
    for message_id, endpoint_id, attempt_count, claim_number in ended:
        result = of[message_id, endpoint_id, claim_number]
        failed.append(result)
        count, accepted_at = attempt_count + 1, result.claim.message.created_at
        if result.claim.trigger is _MANUAL:
            row = (message_id, endpoint_id, _FAILED, count, claim_number, _end(result))
            _finish(transaction, row, accepted_at=accepted_at)
        else:  # only what was made due again can have ended before
            first.append((message_id, endpoint_id, count, claim_number, _end(result)))
            counted.append((endpoint_id, accepted_at))
    transaction.change_many(_SQL["finished_failed"], first)
    transaction.tally.add_each(counted, FAILED)
    tell_exhausted(transaction, failed)
    return set(map(_triple, failed))


def _follow_success(transaction: Transaction, result: Result) -> None:
    claim = result.claim
    message_id, endpoint_id, key = claim.message.id, claim.endpoint_id, claim.order_key
    if key is not None:
        go_on(transaction, endpoint_id, key)
    if may_tell(result, _DELIVERED):
        tell_recovered(transaction, result)
    if claim.trigger is _MANUAL:
        held: Any = transaction.row(
            _SQL["key_held_by"], {"endpoint_id": endpoint_id, "message_id": message_id}
        )
        if held is not None:
            transaction.change(
                _SQL["key_release"], {"endpoint_id": endpoint_id, "order_key": held[0]}
            )
            go_on(transaction, endpoint_id, held[0])


def _state(result: Result) -> DeliveryState | None:
    return None if result.verdict is None else result.verdict.state


def _triple(result: Result) -> tuple[int, int, int]:
    claim = result.claim
    return claim.message.id, claim.endpoint_id, claim.claim_number


def _end(result: Result) -> Instant:
    return result.attempt.started_at + result.attempt.duration


def _attempt_row(attempt: Attempt) -> Row:
    return (
        attempt.public_id,
        attempt.message_id,
        attempt.endpoint_id,
        attempt.claim_number,
        attempt.number,
        attempt.trigger,
        attempt.outcome,
        attempt.status_code,
        attempt.reason,
        attempt.response or None,
        attempt.url,
        attempt.address,
        attempt.started_at,
        attempt.duration,
    )
