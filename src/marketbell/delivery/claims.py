"""When and how much to claim: a hint is enough to ask, and the store's own times are the truth."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from marketbell.clock import Clock, Timer
from marketbell.delivery.fairness import Lanes
from marketbell.delivery.fitness import Work
from marketbell.delivery.lane import Lane
from marketbell.delivery.leases import Leases
from marketbell.delivery.rooms import Revisions, Rooms
from marketbell.delivery.tenure import ALL, Owned
from marketbell.errors import OutcomeUnknownError, StoreError
from marketbell.model import NEVER, Application, Claim, Endpoint, Instant, Millis
from marketbell.store.base import Claimed, ClaimRequest, Queue

_log = logging.getLogger(__name__)

_AT_ONCE = 1_000
"""Claims of one call at most."""
_LANES_AT_ONCE = 200
_LOST_STEP: Millis = 1_000
"""Claims that run out within so short a time are looked for together."""
_PAUSE: Millis = 250
"""How long, in real time, before the store is asked again that could not, or that there was no room for."""


class Claims:
    """Asks the store for claims, one call at a time, whenever there is room and something is due."""

    def __init__(
        self,
        queue: Queue,
        lanes: Lanes,
        clock: Clock,
        *,
        leases: Leases,
        owned: Owned,
        lost_max: int,
        look: Millis,
        may_claim: Callable[[], bool],
        on_claimed: Callable[[Sequence[tuple[Application, Endpoint]], Sequence[Claim], int], None],
    ) -> None:
        self._queue = queue
        self._lanes = lanes
        self._clock = clock
        self._leases = leases
        self._owned = owned
        self._lost_max = lost_max
        self._look = look
        self._may_claim = may_claim
        self._on_claimed = on_claimed
        self._next_at: Instant = NEVER
        self._feed: dict[int, Lane] = {}
        """Lanes that have a backlog and room for some of it."""
        self._others_first = False
        """Whether those that were asked for by name have left nothing for others that are due."""
        self._lost: deque[Instant] = deque()
        """When claims run out that this node does not know of; rising."""
        self._unsent: list[Claim] = []
        self._releasing: list[Claim] = []
        self.asking: frozenset[int] = frozenset()
        """The slots that the call under way may bring claims of."""
        self._bell = asyncio.Event()
        self._timer: tuple[Instant, Timer] | None = None
        self._task: asyncio.Task[None] | None = None
        self.busy = False
        """Whether a call is under way."""
        self._away = False
        """Whether the store could not when it was last asked; that is said once."""
        self._stopping = False

    @property
    def idle(self) -> bool:
        """Whether nothing is being claimed and nothing is due that there is room for."""
        return not (self.busy or self._bell.is_set() or self._unsent or self._wanted())

    # -- hints --------------------------------------------------------------------------

    def expect(self, due_at: Instant) -> None:
        """Something falls due then."""
        if due_at < self._next_at:
            self._next_at = due_at
            self.look()
            if not (self.busy or self._bell.is_set()):  # else it is set afterwards
                self._set_timer()

    def poll(self) -> None:
        """Something may be due that nobody told of: claim, unless that goes on or could not be just now."""
        if not (self.busy or self._away):
            self.expect(self._clock.now())

    def expect_lost(self, lease_until: Instant) -> None:
        """Claims that nobody may know of, because their commit's answer was lost, run out then."""
        at = lease_until - lease_until % -_LOST_STEP
        if not self._lost or self._lost[-1] < at:
            self._lost.append(at)
            self._set_timer()

    def expect_backlog(self, lane: Lane) -> None:
        """A lane has more that is due than it has room for, or may not hold claims from birth."""
        lane.backlog = True
        self.consider(lane)

    def give_back(self, claims: Sequence[Claim]) -> None:
        """Claims that will not be sent."""
        if not claims:
            return
        self._unsent.extend(claims)
        self._bell.set()

    def consider(self, lane: Lane) -> None:
        """A lane may have room again: if it has a backlog, and has run down to half, it is fed."""
        if lane.backlog and 2 * self._lanes.room_of(lane) > lane.run_down:
            self._feed[lane.plan.endpoint.id] = lane
        self.look()

    def look(self) -> None:
        """Look whether to claim now."""
        if not self.busy and not self._bell.is_set() and self._wanted():
            self._bell.set()

    def given_back(self) -> set[int]:
        """Endpoints that have claims which are to be given back and are not yet."""
        return {claim.endpoint_id for claim in (*self._unsent, *self._releasing)}

    # -- the loop -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin, on the running loop; the first look is at once."""
        self._next_at = self._clock.now()
        self._bell.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Claim nothing more; what was to be given back is."""
        self._stopping = True
        self._bell.set()
        if self._task is not None:
            await self._task
        await self._give_back()  # what came back while the last call was under way
        if self._timer is not None:
            self._timer[1].cancel()

    async def _run(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            self.busy = True
            try:
                await self._give_back()
                while not self._stopping and self._may_claim() and self._wanted():
                    if not await self._claim():
                        break
                if not self._has_room:
                    self._owned.fitness.leave_off(Work.CLAIMS)
            except Exception:
                # Nobody else would notice that nothing is claimed any more. What was, comes back.
                _log.exception("claiming broke off; it goes on")
                self.expect(self._clock.now() + int(_PAUSE * self._clock.speed))
            self.busy = False
            if self._stopping:
                return
            self._set_timer()

    async def _give_back(self) -> None:
        if not self._unsent:
            return
        unsent, self._unsent = self._unsent, []
        self._releasing = unsent
        try:
            await self._queue.release(unsent)
        except StoreError as error:
            if not self._away:
                count = len(unsent)
                _log.warning("claims not released", extra={"count": count, "reason": str(error)})
            self._away = True
            self._unsent[:0] = unsent
        else:
            self.expect(min(claim.due_at for claim in unsent))
        finally:
            self._releasing = []

    async def _claim(self) -> bool:
        now, changes = self._clock.now(), self._lanes.changes
        slots = self._owned.slots
        self._next_at = NEVER
        if not slots:
            self._feed.clear()
            if self._owned.fitness.fit:
                self._owned.fitness.leave_off(Work.CLAIMS)
                return False  # else it is asked for nothing, to see whether it answers again
        lanes = () if self._others_first else self._fed(now)
        limit = max(1, min(_AT_ONCE, self._lanes.room()))
        self.asking = slots
        by_endpoint = self._lanes.by_endpoint
        places = self._lanes.places
        request = ClaimRequest(
            now=now,
            leases_now=self._leases.now(),
            lease_until=self._leases.until(),
            limit=limit,
            bytes_max=max(1, places.stock_bytes // 8 * 7 - self._lanes.stock_bytes),
            rooms=Rooms(self._lanes, now),
            new_room=0 if self._lanes.crowded else 1,
            lanes=lanes,
            lost_max=self._lost_max,
            known=Revisions(by_endpoint),
            slots=None if slots is ALL else slots,
            node_id=self._owned.node_id,
        )
        try:
            with self._owned.fitness.asking(Work.CLAIMS):
                claimed = await self._queue.claim(request)
        except StoreError as error:
            if not self._away:
                _log.error("the store does not give claims", extra={"reason": str(error)})
            self._away = True
            if isinstance(error, OutcomeUnknownError):
                self.expect_lost(self._leases.until())
            self.expect(now + int(_PAUSE * self._clock.speed))
            return False
        finally:
            self.asking = frozenset()
        if self._away:
            _log.warning("the store gives claims again")
        self._away = False
        more = claimed.next_at is not None and claimed.next_at <= now
        self._others_first = more and bool(lanes) and len(claimed.claims) >= limit
        self._take(self._still_ours(claimed, slots), lanes, changes)
        if claimed.unread:
            self.give_back(claimed.unread)
            self.expect(now + int(_PAUSE * self._clock.speed))
        return not claimed.unread

    def _still_ours(self, claimed: Claimed, asked: frozenset[int]) -> Claimed:
        """What was claimed without that of slots that were lost meanwhile, which is given back."""
        slots = self._owned.slots
        if slots is asked:
            return claimed
        of = {endpoint.id: endpoint.slot for _application, endpoint in claimed.endpoints}
        for endpoint_id in {claim.endpoint_id for claim in claimed.claims} - of.keys():
            lane = self._lanes.by_endpoint.get(endpoint_id)
            of[endpoint_id] = -1 if lane is None else lane.plan.endpoint.slot
        self.give_back([claim for claim in claimed.claims if of[claim.endpoint_id] not in slots])
        return msgspec.structs.replace(
            claimed,
            claims=tuple(claim for claim in claimed.claims if of[claim.endpoint_id] in slots),
            endpoints=tuple(pair for pair in claimed.endpoints if pair[1].slot in slots),
        )

    def _take(self, claimed: Claimed, asked: Sequence[int], changes: int) -> None:
        if claimed.next_at is not None:
            self._next_at = min(self._next_at, claimed.next_at)
        by_endpoint = self._lanes.by_endpoint
        for endpoint_id in asked:
            if endpoint_id not in claimed.backlog and endpoint_id in by_endpoint:
                by_endpoint[endpoint_id].backlog = False
        claims = claimed.claims
        if changes != self._lanes.changes:
            # An endpoint that has changed since is to be read again.
            stale = {
                claim.endpoint_id
                for claim in claims
                if (lane := by_endpoint.get(claim.endpoint_id)) and lane.changed > changes
            }
            self.give_back([claim for claim in claims if claim.endpoint_id in stale])
            claims = tuple(claim for claim in claims if claim.endpoint_id not in stale)
        self._on_claimed(claimed.endpoints, claims, claimed.lost)
        for endpoint_id in claimed.backlog:
            lane = by_endpoint.get(endpoint_id)
            if lane is not None:
                lane.backlog = True
                self.consider(lane)

    def _fed(self, now: Instant) -> tuple[int, ...]:
        """Lanes to visit by name, those that have waited longest first."""
        found: list[int] = []
        while self._feed and len(found) < _LANES_AT_ONCE:
            endpoint_id = next(iter(self._feed))
            lane = self._feed.pop(endpoint_id)
            if lane.held_until <= now and self._lanes.room_of(lane) > 0:
                found.append(endpoint_id)
        return tuple(found)

    @property
    def _has_room(self) -> bool:
        """Whether there is room for so much that it is worth asking for: for little, if none has its turn."""
        stock = self._lanes.places.stock
        least = min(_AT_ONCE, stock // 4) if self._lanes.ready else max(1, stock // 64)
        return self._lanes.room() >= least

    def _wanted(self) -> bool:
        return self._has_room and (bool(self._feed) or self._next_at <= self._clock.now())

    def _set_timer(self) -> None:
        now, speed = self._clock.now(), self._clock.speed
        at = min(self._next_at, now + int(self._look * speed), *islice(self._lost, 1))
        if at <= now or self._unsent:
            # It waits for room, which calls by itself, or for the store, which does not.
            at = now + int(_PAUSE * speed)
        if self._timer is not None:
            if now < self._timer[0] <= at:
                return
            self._timer[1].cancel()
        self._timer = (at, self._clock.call_at(at, self._ring))

    def _ring(self) -> None:
        now = self._clock.now()
        self._timer = None
        while self._lost and self._lost[0] <= now:
            self._lost.popleft()
        self._next_at = min(self._next_at, now)
        self._bell.set()
