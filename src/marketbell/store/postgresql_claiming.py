"""T2 on PostgreSQL: one statement that looks which lanes are due and claims from them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeVar

from marketbell.errors import MarketbellError, UnavailableError
from marketbell.ids import ATTEMPT, new_id
from marketbell.model import (
    NEVER,
    SLOTS,
    Application,
    Claim,
    DeliveryState,
    Endpoint,
    Instant,
    Trigger,
)
from marketbell.store.base import Cancelled, Claimed, ClaimRequest
from marketbell.store.batch import DataFault
from marketbell.store.claiming import (
    LANES_AT_ONCE,
    LOST_AT_ONCE,
    LOST_REASON,
    SECOND_LOOK_MS,
    UNREADABLE_MS,
    release,
)
from marketbell.store.configuration import application_of, endpoint_with
from marketbell.store.recording import finish
from marketbell.store.rows import message_of
from marketbell.store.sealing import Box
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Row, Transaction

T = TypeVar("T")

_HOT = statements("hot")
_QUEUE = statements("queue")

_log = logging.getLogger(__name__)

_ENDPOINT_COLUMNS: Final = 26
_APPLICATION_COLUMNS: Final = 16


class Database(Protocol):
    """What a claim asks of the connection that it is made on."""

    def query(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        """The rows of a statement that is a transaction of its own."""

    def transact(self, run: Callable[[Transaction], T]) -> T:
        """Run a function in a transaction of its own."""

    def next_key(self, at: Instant) -> int:
        """A new key of an attempt."""


class ClaimWork:
    """A claim, which shares no transaction; its answer is the caller's."""

    __slots__ = (
        "bounded",
        "box",
        "error",
        "future",
        "queued_at",
        "request",
        "rows",
        "size",
        "value",
    )

    def __init__(self, request: ClaimRequest, box: Box, future: asyncio.Future[Claimed]) -> None:
        self.request = request
        self.box = box
        self.future = future
        self.bounded = False
        self.rows = 1
        self.size = 0
        self.queued_at = 0.0
        self.value: Claimed | None = None
        self.error: MarketbellError | None = None

    def run(self, database: Database) -> None:
        """Claim; what goes wrong is told to the caller alone."""
        self.error = None
        try:
            self.value = claim(database, self.request, self.box)
        except MarketbellError as error:
            self.error = error
        except DataFault as fault:
            self.error = UnavailableError(f"The store refused it: {fault}")
        except Exception as error:
            self.error = UnavailableError(f"The store failed: {error!r}")

    def succeed(self) -> None:
        """Answer with the claims, or with what went wrong."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)  # type: ignore[arg-type]

    def fail(self, error: Exception) -> None:
        """Answer with the store's error."""
        if not self.future.done():
            self.future.set_exception(error)


def claim(database: Database, request: ClaimRequest, box: Box) -> Claimed:
    """
    One claim, as `Queue.claim` promises it: one statement.

    A second reads endpoints that the node does not know. Where claims have run out there are two
    more: one ends them, and then the claim is made anew.
    """
    values = wanted(request)
    *rows, last = database.query(_HOT["claim"], values)
    lost: Any = last[-1]
    if lost:
        lost = _lose(database, request, values, lost)
        *rows, last = database.query(_HOT["claim"], {**values, "lost_limit": 0})
    backlog: Any = last[-3]
    next_at: Any = last[-2]
    taken = _Taken(request, frozenset(backlog))
    taken.add(rows)
    try:
        taken.read_endpoints(database, box)
        taken.finish_gone(database)
    except (MarketbellError, DataFault) as error:
        taken.leave(error)
    if lost == LOST_AT_ONCE:  # there may be more
        next_at = request.now
    return Claimed(
        claims=tuple(taken.claims),
        endpoints=tuple(taken.endpoints),
        backlog=taken.backlog,
        next_at=None if next_at is None or next_at >= NEVER else next_at,
        lost=lost,
        unread=tuple(taken.unread),
    )


def wanted(request: ClaimRequest) -> dict[str, Any]:
    """What the statement that claims is given."""
    rooms = request.rooms
    known = sorted({*rooms, *request.lanes})
    return {
        "now": request.now,
        "leases_now": request.now if request.leases_now is None else request.leases_now,
        "lease_until": request.lease_until,
        "limit": request.limit,
        "bytes": request.bytes_max,
        "second_look": request.now + SECOND_LOOK_MS,
        "lanes": list(dict.fromkeys(request.lanes)),
        "known": known,
        "rooms": [rooms.get(lane, request.new_room) for lane in known],
        "new_room": request.new_room,
        "node": request.node_id,
        "owned": None if _all(request.slots) else bits_of(request.slots or ()),
        "lanes_limit": LANES_AT_ONCE,
        "lost_limit": LOST_AT_ONCE,
    }


def lose_slots(
    transaction: Transaction, slots: Collection[int], *, now: Instant, lost_max: int, limit: int
) -> int:
    """Turn claims in these slots into lost ones, up to a number; how many there were."""
    next_key = transaction.publisher.keys.next
    values: Any = {
        **_losses(next_key, now, lost_max, limit),
        "leases_now": None,
        "owned": bits_of(slots),
    }
    row: Any = transaction.row(_HOT["lose_claims"], values)
    return int(row[0])


def _losses(
    next_key: Callable[[Instant], int], now: Instant, lost_max: int, count: int
) -> dict[str, Any]:
    return {
        "now": now,
        "lost_max": lost_max,
        "reason": LOST_REASON,
        "ids": [next_key(now) for _ in range(count)],
        "public_ids": [new_id(ATTEMPT, now) for _ in range(count)],
    }


def _all(slots: Collection[int] | None) -> bool:
    return slots is None or len(slots) == SLOTS


def bits_of(slots: Collection[int]) -> bytes:
    """One bit for each slot, the lowest of a byte first, as `get_bit` counts them."""
    bits = bytearray(SLOTS // 8)
    for slot in slots:
        bits[slot >> 3] |= 1 << (slot & 7)
    return bytes(bits)


def _lose(database: Database, request: ClaimRequest, values: dict[str, Any], count: int) -> int:
    """End leases that have run out, so many at most."""
    losses = _losses(database.next_key, request.now, request.lost_max, count)
    lost: Any = database.query(_HOT["lose_claims"], {**values, **losses})[0][0]
    return int(lost)


class _Taken:
    """What a claim brought."""

    def __init__(self, request: ClaimRequest, backlog: frozenset[int]) -> None:
        self._request = request
        self.claims: list[Claim] = []
        self.endpoints: list[tuple[Application, Endpoint]] = []
        self.backlog = backlog
        self.unread: list[Claim] = []
        self._gone: list[tuple[int, int]] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Deliveries that were claimed, and those that cannot be made any more."""
        lease_until = self._request.lease_until
        row: Any
        for row in rows:
            claim_number, attempt_count, born_at, due_at, trigger, order_key, endpoint_id = row[
                13:20
            ]
            if claim_number is None:
                self._gone.append((row[0], endpoint_id))
                continue
            self.claims.append(
                Claim(
                    message=message_of(row),
                    endpoint_id=endpoint_id,
                    endpoint_revision=row[20],
                    claim_number=claim_number,
                    attempt_count=attempt_count,
                    born_at=born_at,
                    due_at=due_at,
                    lease_until=lease_until,
                    trigger=Trigger(trigger),
                    order_key=order_key,
                )
            )

    def read_endpoints(self, database: Database, box: Box) -> None:
        """Those that the node does not have in this revision; claims of one that cannot be read go back."""
        known = self._request.known
        wanted = {
            claim.endpoint_id: None
            for claim in self.claims
            if known.get(claim.endpoint_id) != claim.endpoint_revision
        }
        if not wanted:
            return
        missing = dict(wanted)
        for row in database.query(_HOT["endpoints_with_owners"], {"endpoint_ids": list(wanted)}):
            endpoint_id: Any = row[0]
            try:
                self.endpoints.append(_owner_and_endpoint(row, box, self._request.now))
            except MarketbellError as error:
                # One endpoint whose secret no key opens must not keep all others from being served.
                _log.error(
                    "an endpoint cannot be read; its deliveries wait",
                    extra={"endpoint": row[1], "reason": str(error)},
                )
            else:
                del missing[endpoint_id]
        if missing:
            self._give_back(database, missing)

    def leave(self, error: Exception) -> None:
        """What is claimed is: of what can be sent the caller is told, the rest it is to give back."""
        known = self._request.known
        read = {endpoint.id for _application, endpoint in self.endpoints}
        claims, self.claims = self.claims, []
        for claim in claims:
            there = known.get(claim.endpoint_id) == claim.endpoint_revision
            (self.claims if there or claim.endpoint_id in read else self.unread).append(claim)
        self.backlog -= {claim.endpoint_id for claim in self.unread}
        count = len(self.unread)
        _log.warning("a claim broke off", extra={"unread": count, "reason": str(error)})

    def finish_gone(self, database: Database) -> None:
        """Cancel deliveries whose payload is gone."""
        if not self._gone:
            return
        gone, now = self._gone, self._request.now

        def cancel(transaction: Transaction) -> None:
            for message_id, endpoint_id in sorted(gone):
                finish(transaction, message_id, endpoint_id, DeliveryState.CANCELLED.value, now)
            transaction.changes.append(Cancelled(len(gone)))

        database.transact(cancel)

    def _give_back(self, database: Database, endpoints: Collection[int]) -> None:
        back = [claim for claim in self.claims if claim.endpoint_id in endpoints]
        self.claims = [claim for claim in self.claims if claim.endpoint_id not in endpoints]
        self.backlog -= frozenset(endpoints)
        again_at = self._request.now + UNREADABLE_MS

        def give_back(transaction: Transaction) -> None:
            release(transaction, back)
            for endpoint_id in sorted(endpoints):
                transaction.change(
                    _QUEUE["lane_set"], {"endpoint_id": endpoint_id, "next_at": again_at}
                )

        self.unread = back
        database.transact(give_back)
        self.unread = []


def _owner_and_endpoint(row: Any, box: Box, now: Instant) -> tuple[Application, Endpoint]:
    owner = _ENDPOINT_COLUMNS + _APPLICATION_COLUMNS
    kinds, sealed, expiries = row[owner:]
    secrets = zip(kinds or (), sealed or (), expiries or (), strict=True)
    return (
        application_of(row[_ENDPOINT_COLUMNS:owner]),
        endpoint_with(box, row[:_ENDPOINT_COLUMNS], secrets, now),
    )
