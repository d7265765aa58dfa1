"""T2 on SQLite: the right to make the next attempts, taken fairly over lanes, and given back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from marketbell.errors import MarketbellError
from marketbell.ids import ATTEMPT, new_id
from marketbell.model import (
    NEVER,
    Application,
    Claim,
    DeliveryState,
    Endpoint,
    Instant,
    Outcome,
    Trigger,
)
from marketbell.store.base import Cancelled, Claimed, ClaimRequest
from marketbell.store.configuration import public_id_of
from marketbell.store.recording import finish
from marketbell.store.rows import message_of
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("queue")

_log = logging.getLogger(__name__)

LANES_AT_ONCE: Final = 200
LOST_AT_ONCE: Final = 500
SECOND_LOOK_MS: Final = 1000
"""When a lane that had more than its room is looked at again, should nobody ask for it before."""
UNREADABLE_MS: Final = 60_000
"""When an endpoint that could not be read is tried again."""
LOST_REASON: Final = "claim lost: the request may or may not have been sent"
"""What the attempt of a claim says whose lease has run out."""

Lookup = Callable[[Transaction, int], tuple[Application, Endpoint]]


def claim(transaction: Transaction, request: ClaimRequest, endpoint: Lookup) -> Claimed:
    """One claim, as `Queue.claim` promises it."""
    leases_now = request.now if request.leases_now is None else request.leases_now
    ended = transaction.rows(_SQL["leases_ended"], {"now": leases_now, "limit": LOST_AT_ONCE})
    lost = _end_leases(transaction, ended, request.now, request.lost_max)
    taking = _Taking(transaction, request, endpoint)
    for endpoint_id in request.lanes:
        taking.visit(endpoint_id)
    if not taking.full():
        due = transaction.rows(_SQL["lanes_due"], {"now": request.now, "limit": LANES_AT_ONCE})
        for row in due:
            taking.visit(row[0])  # type: ignore[arg-type]
            if taking.full():
                break
    next_row = transaction.row(_SQL["lane_next_at"])
    next_at: Any = next_row[0] if next_row else None
    if lost == LOST_AT_ONCE:  # there may be more
        next_at = request.now
    return Claimed(
        claims=tuple(taking.claims),
        endpoints=tuple(taking.endpoints),
        backlog=frozenset(taking.backlog),
        next_at=None if next_at is None or next_at >= NEVER else next_at,
        lost=lost,
    )


def lose_all(transaction: Transaction, now: Instant, lost_max: int) -> int:
    """Turn every claim into a lost one; for the moment at which none can be alive."""
    total = 0
    while True:
        found = transaction.rows(_SQL["leases_all"], {"limit": LOST_AT_ONCE})
        total += _end_leases(transaction, found, now, lost_max)
        if len(found) < LOST_AT_ONCE:
            return total


def release(transaction: Transaction, claims: Sequence[Claim]) -> None:
    """Give claims back: due as before."""
    lanes: dict[int, Instant] = {}
    for given in sorted(claims, key=lambda one: (one.message.id, one.endpoint_id)):
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

    def __init__(self, transaction: Transaction, request: ClaimRequest, lookup: Lookup) -> None:
        self._transaction = transaction
        self._request = request
        self._lookup = lookup
        self._visited: set[int] = set()
        self._bytes = 0
        self.claims: list[Claim] = []
        self.endpoints: list[tuple[Application, Endpoint]] = []
        self.backlog: set[int] = set()

    def full(self) -> bool:
        """Whether all that was asked for is taken."""
        request = self._request
        return len(self.claims) >= request.limit or (
            self._bytes >= request.bytes_max and bool(self.claims)
        )

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
            due, more = self._due(endpoint_id, room)
            if due and not self._can_read(endpoint_id, revision):
                self._set_lane(endpoint_id, request.now + UNREADABLE_MS)
                return
            self._take(endpoint_id, revision, due)
        if more:
            self.backlog.add(endpoint_id)
            self._set_lane(endpoint_id, request.now + SECOND_LOOK_MS)
            return
        next_row: Any = self._transaction.row(
            _SQL["delivery_next_due"], {"endpoint_id": endpoint_id}
        )
        if next_row[0] is None:
            self._transaction.change(_SQL["lane_empty"], {"endpoint_id": endpoint_id})
        else:
            self._set_lane(endpoint_id, next_row[0])

    def _set_lane(self, endpoint_id: int, next_at: Instant) -> None:
        self._transaction.change(_SQL["lane_set"], {"endpoint_id": endpoint_id, "next_at": next_at})

    def _due(self, endpoint_id: int, room: int) -> tuple[list[Any], bool]:
        """Up to `room` due deliveries, as many as the bytes allow, and whether there are more."""
        found: list[Any] = []
        size, bytes_max = self._bytes, self._request.bytes_max
        for row in self._transaction.each(
            _SQL["deliveries_due"],
            {"endpoint_id": endpoint_id, "now": self._request.now, "limit": room + 1},
        ):
            if len(found) == room or (size >= bytes_max and (found or self.claims)):
                return found, True
            body: Any = row[12]
            size += len(body or b"")
            found.append(row)
        return found, False

    def _can_read(self, endpoint_id: int, revision: int) -> bool:
        """Whether the node has this revision of the endpoint or is given it with the claims."""
        if self._request.known.get(endpoint_id) == revision:
            return True
        try:
            self.endpoints.append(self._lookup(self._transaction, endpoint_id))
        except MarketbellError as error:
            # One endpoint whose secret no key opens must not keep all others from being served.
            _log.error(
                "an endpoint cannot be read; its deliveries wait",
                extra={
                    "endpoint": public_id_of(self._transaction, endpoint_id),
                    "reason": str(error),
                },
            )
            return False
        return True

    def _take(self, endpoint_id: int, revision: int, rows: Sequence[Any]) -> None:
        """Claim these deliveries; one whose payload is gone is cancelled."""
        request = self._request
        taken: list[tuple[int, int, int, int]] = []
        for row in rows:
            message = message_of(row)
            claim_number, attempt_count, born_at, due_at, trigger, order_key = row[13:]
            if not message.payload:
                state = DeliveryState.CANCELLED.value
                finish(self._transaction, message.id, endpoint_id, state, request.now)
                self._transaction.changes.append(Cancelled(1))
                continue
            self._bytes += len(message.payload)
            taken.append((request.lease_until, claim_number + 1, message.id, endpoint_id))
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
        self._transaction.change_many(_SQL["delivery_claim"], taken)


def _end_leases(transaction: Transaction, rows: Sequence[Any], now: Instant, lost_max: int) -> int:
    """
    Each ended lease leaves an attempt with outcome `unknown`; its delivery is due again.

    When the request was sent, if it was, is not known: the attempt stands at the time of the finding.
    """
    lanes: dict[int, Instant] = {}
    for message_id, endpoint_id, claim_number, lost_count, trigger in rows:
        transaction.change(
            _SQL["attempt_insert"],
            (
                new_id(ATTEMPT, now),
                message_id,
                endpoint_id,
                claim_number,
                0,
                trigger,
                Outcome.UNKNOWN.value,
                0,
                LOST_REASON,
                None,
                "",
                "",
                now,
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
