"""T2 on SQLite: the right to make the next attempts, taken fairly over lanes, and given back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from marketbell.ids import new_id
from marketbell.model import NEVER, Application, Claim, Endpoint, Instant, Outcome, Trigger
from marketbell.store.base import Claimed, ClaimRequest
from marketbell.store.recording import finish
from marketbell.store.rows import message_of
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("sqlite", "queue")

_LANES_AT_ONCE = 200
_LOST_AT_ONCE = 500
_SECOND_LOOK_MS = 1000
"""When a lane that had more than its room is looked at again, should nobody ask for it before."""

Lookup = Callable[[Transaction, int], tuple[Application, Endpoint]]


def claim(transaction: Transaction, request: ClaimRequest, endpoint: Lookup) -> Claimed:
    """One claim, as `Queue.claim` promises it."""
    lost = _end_leases(
        transaction,
        transaction.rows(_SQL["leases_ended"], {"now": request.now, "limit": _LOST_AT_ONCE}),
        request.now,
        request.lost_max,
    )
    taking = _Taking(transaction, request)
    for endpoint_id in request.lanes:
        taking.visit(endpoint_id)
    if not taking.full():
        due = transaction.rows(_SQL["lanes_due"], {"now": request.now, "limit": _LANES_AT_ONCE})
        for row in due:
            taking.visit(row[0])  # type: ignore[arg-type]
            if taking.full():
                break
    taking.write()
    next_row = transaction.row(_SQL["lane_next_at"])
    next_at: Any = next_row[0] if next_row else None
    return Claimed(
        claims=tuple(taking.claims),
        endpoints=tuple(
            endpoint(transaction, endpoint_id)
            for endpoint_id, revision in taking.revisions.items()
            if request.known.get(endpoint_id) != revision
        ),
        backlog=frozenset(taking.backlog),
        next_at=None if next_at is None or next_at >= NEVER else next_at,
        lost=lost,
    )


def lose_all(transaction: Transaction, now: Instant, lost_max: int) -> int:
    """Turn every claim into a lost one; for the moment at which none can be alive."""
    total = 0
    while True:
        found = transaction.rows(_SQL["leases_all"], {"limit": _LOST_AT_ONCE})
        total += _end_leases(transaction, found, now, lost_max)
        if len(found) < _LOST_AT_ONCE:
            return total


def release(transaction: Transaction, claims: Sequence[Claim]) -> None:
    """Give claims back: due as before."""
    lanes: dict[int, Instant] = {}
    for given in claims:
        changed = transaction.change(
            _SQL["delivery_release"],
            {
                "due_at": given.due_at,
                "message_id": given.message.id,
                "endpoint_id": given.endpoint_id,
                "claim_number": given.claim_number,
            },
        )
        if changed:
            first = lanes.get(given.endpoint_id, given.due_at)
            lanes[given.endpoint_id] = min(first, given.due_at)
    lower_lanes(transaction, lanes)


def lower_lanes(transaction: Transaction, lanes: Mapping[int, Instant]) -> None:
    """Let lanes fall due at these times, where they would have been later."""
    for endpoint_id, due_at in sorted(lanes.items()):
        transaction.change(_SQL["lane_lower"], {"endpoint_id": endpoint_id, "due_at": due_at})


class _Taking:
    """One claim in the making."""

    def __init__(self, transaction: Transaction, request: ClaimRequest) -> None:
        self._transaction = transaction
        self._request = request
        self._visited: set[int] = set()
        self._taken: list[tuple[int, int, int, int]] = []
        self._bytes = 0
        self.claims: list[Claim] = []
        self.revisions: dict[int, int] = {}
        self.backlog: set[int] = set()

    def full(self) -> bool:
        """Whether all that was asked for is taken."""
        return len(self.claims) >= self._request.limit or self._bytes >= self._request.bytes_max

    def visit(self, endpoint_id: int) -> None:
        """Take what the lane's room allows, and set when it is next to be looked at."""
        if endpoint_id in self._visited:
            return
        self._visited.add(endpoint_id)
        request = self._request
        row: Any = self._transaction.row(_SQL["lane_live"], {"endpoint_id": endpoint_id})
        if row is None:
            return
        revision, _application_id, held_until = row
        if held_until > request.now:
            self._set_lane(endpoint_id, request.now)
            return
        room = min(
            request.rooms.get(endpoint_id, request.new_room), request.limit - len(self.claims)
        )
        more = room <= 0
        if room > 0:
            more = self._take(endpoint_id, revision, room)
        if more:
            self.backlog.add(endpoint_id)
            self._set_lane(endpoint_id, request.now + _SECOND_LOOK_MS)
            return
        next_row: Any = self._transaction.row(
            _SQL["delivery_next_due"], {"endpoint_id": endpoint_id}
        )
        if next_row[0] is None:
            self._transaction.change(_SQL["lane_empty"], {"endpoint_id": endpoint_id})
        else:
            self._set_lane(endpoint_id, next_row[0])

    def write(self) -> None:
        """Write the claims that were taken."""
        self._transaction.change_many(_SQL["delivery_claim"], self._taken)

    def _set_lane(self, endpoint_id: int, next_at: Instant) -> None:
        self._transaction.change(_SQL["lane_set"], {"endpoint_id": endpoint_id, "next_at": next_at})

    def _take(self, endpoint_id: int, revision: int, room: int) -> bool:
        """Claim up to `room`; whether more is due."""
        request = self._request
        rows: Any = self._transaction.rows(
            _SQL["deliveries_due"],
            {"endpoint_id": endpoint_id, "now": request.now, "limit": room + 1},
        )
        for row in rows[:room]:
            if self._bytes >= request.bytes_max:
                return True
            message = message_of(row)
            self._bytes += len(message.payload)
            claim_number, attempt_count, born_at, due_at, trigger, order_key = row[11:]
            if not message.payload:
                finish(self._transaction, message.id, endpoint_id, "cancelled", request.now)
                continue
            self._taken.append((request.lease_until, claim_number + 1, message.id, endpoint_id))
            self.claims.append(
                Claim(
                    message=message,
                    endpoint_id=endpoint_id,
                    endpoint_revision=revision,
                    claim_number=claim_number + 1,
                    attempt_count=attempt_count,
                    born_at=born_at,
                    due_at=due_at,
                    lease_until=request.lease_until,
                    trigger=Trigger(trigger),
                    order_key=order_key,
                )
            )
            self.revisions[endpoint_id] = revision
        return len(rows) > room


def _end_leases(transaction: Transaction, rows: Sequence[Any], now: Instant, lost_max: int) -> int:
    """Each ended lease leaves an attempt with outcome `unknown`; its delivery is due again."""
    lanes: dict[int, Instant] = {}
    for message_id, endpoint_id, claim_number, lost_count, lease_until in rows:
        transaction.change(
            _SQL["attempt_insert"],
            (
                new_id("atmpt_", now),
                message_id,
                endpoint_id,
                claim_number,
                0,
                Trigger.SCHEDULED.value,
                Outcome.UNKNOWN.value,
                0,
                "claim lost: the request may or may not have been sent",
                None,
                "",
                "",
                min(now, lease_until),
                0,
            ),
        )
        parked = lost_count + 1 >= lost_max
        transaction.change(
            _SQL["lease_lost"],
            {
                "due_at": NEVER + now if parked else now,
                "lost_count": lost_count + 1,
                "message_id": message_id,
                "endpoint_id": endpoint_id,
            },
        )
        if not parked:
            lanes[endpoint_id] = now
    lower_lanes(transaction, lanes)
    return len(rows)
