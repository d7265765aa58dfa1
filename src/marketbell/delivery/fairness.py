"""Who is served next: round robin over lanes, first tries before retries, room left for everyone. No I/O."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable

from marketbell.delivery.lane import RETRY_TURN, Lane
from marketbell.delivery.limits import Places
from marketbell.delivery.pacing import LONGEST_WAIT, Breaker, RateLimits
from marketbell.delivery.plan import Plan
from marketbell.model import Claim, Instant, Millis, Trigger

__all__ = ("Lanes", "Places")


class Lanes:
    """The lanes of one node and the turn of each; the dispatcher asks it who is next."""

    def __init__(self, places: Places, *, breaker_failures: int, breaker_rest: Millis) -> None:
        self.places = places
        self._breaker = (breaker_failures, breaker_rest)
        self.by_endpoint: dict[int, Lane] = {}
        self._limits = RateLimits()
        self._first: deque[Lane] = deque()
        self._retries: deque[Lane] = deque()
        self._newcomers: OrderedDict[Lane, None] = OrderedDict()
        """Unproven lanes that have a claim and no socket, those that have waited longest first."""
        self._crowded: OrderedDict[Lane, None] = OrderedDict()
        """Proven ones: they have requests at work already, and their ends bring them back."""
        self._unproven_max = max(1, int(places.sockets * places.unproven_share))
        self._newcomers_max = max(8, places.stock // 16)
        self._each = max(1, places.stock_bytes // places.stock)
        """Bytes that make a place."""
        self.active: dict[Lane, None] = {}
        """Those with claims in memory, at work or promised; and those that had, until someone drops them."""
        self._waking: list[tuple[Instant, int]] = []
        self._turn = 1
        self.changes = 0
        """How many changes of endpoints there have been."""
        self.in_flight = 0
        self.unproven_in_flight = 0
        self.at_work = 0
        self.stock = 0
        """Claims in memory and births promised, at work or not."""
        self.stock_bytes = 0

    # -- lanes --------------------------------------------------------------------------

    def lane(self, plan: Plan, failing_since: Instant | None, now: Instant) -> Lane:
        """The lane of an endpoint, made if it is new, changed if the plan is newer."""
        lane = self.by_endpoint.get(plan.endpoint.id)
        if lane is None:
            lane = self.by_endpoint[plan.endpoint.id] = Lane(
                plan, Breaker(*self._breaker), failing_since
            )
            lane.held_until = plan.endpoint.held_until
            self._set_rates(lane)
        elif lane.plan is not plan and lane.plan.endpoint.revision <= plan.endpoint.revision:
            # What is kept counts, as enabling it again ends its run, unless more has been learnt since.
            if not lane.taught:
                lane.failing_since = failing_since
                lane.held_until = plan.endpoint.held_until
            lane.plan, lane.route = plan, None
            lane.window.set_cap(plan.max_in_flight)
            self._set_rates(lane)
        lane.touched = now
        return lane

    def _set_rates(self, lane: Lane) -> None:
        endpoint, owner = lane.plan.endpoint, lane.plan.application
        lane.own_rate = self._limits.limit(lane.own_rate, endpoint.throttle_rate, endpoint.slot)
        shared = self._limits.shared(owner.id, owner.throttle_rate, endpoint.slot)
        lane.rate = tuple(limit for limit in (lane.own_rate, shared) if limit is not None)

    def change(self, lane: Lane) -> list[Claim]:
        """Its endpoint has changed: take back the claims that wait; the caller releases them."""
        self.changes += 1
        lane.changed = self.changes
        lane.held_until = 0
        lane.taught = False
        return self.shed(lane, 0)

    def of(self, slots: Collection[int]) -> list[Lane]:
        """The lanes in these slots."""
        return [lane for lane in self.by_endpoint.values() if lane.plan.endpoint.slot in slots]

    def took(self, slots: Collection[int], now: Instant) -> None:
        """
        These slots were another node's until now: what that one has sent in the last second counts.

        How much it was is not known, so each rate limit begins as if it had just been used up.
        """
        self._limits.took(slots, now)

    def forget(self, lane: Lane) -> None:
        """Drop a lane that has nothing in memory; it begins anew when it is needed."""
        self.by_endpoint.pop(lane.plan.endpoint.id, None)

    def forget_idle(self, before: Instant) -> None:
        """Drop lanes that nothing has touched since then; they begin anew when they are needed."""
        gone = [
            endpoint_id
            for endpoint_id, lane in self.by_endpoint.items()
            if lane.touched < before
            and lane.idle
            and not lane.backlog
            and (lane.held_until <= before or lane.plan.endpoint.paused)
        ]
        for endpoint_id in gone:
            del self.by_endpoint[endpoint_id]
        if gone:
            self._limits.keep({lane.plan.application.id for lane in self.by_endpoint.values()})

    # -- what comes in ------------------------------------------------------------------

    def reserve(self, lane: Lane, size: int, now: Instant) -> bool:
        """Promise a place to a delivery about to be born; whether it may be born claimed."""
        places = self.places
        if (
            lane.plan.order_by is not None
            or lane.backlog
            or lane.held_until > now
            or lane.rate
            or self.stock >= places.stock
            or self.stock_bytes + size > places.stock_bytes
            or self.room_of(lane) <= 0
        ):
            return False
        lane.reserved += 1
        self.active[lane] = None
        self.stock += 1
        self.stock_bytes += size
        return True

    def withdraw(self, lane: Lane, size: int) -> None:
        """A promised delivery was not born."""
        lane.reserved -= 1
        self.stock -= 1
        self.stock_bytes -= size

    def offer(self, lane: Lane, claim: Claim, *, reserved: bool) -> None:
        """A claim that waits for its turn."""
        if reserved:
            lane.reserved -= 1
        else:
            self.active[lane] = None
            self.stock += 1
            self.stock_bytes += len(claim.message.payload)
        # What is sent again on request stands with the retries: a replay keeps no first try waiting.
        later = claim.attempt_count or claim.trigger is Trigger.MANUAL
        (lane.retries if later else lane.first).append(claim)
        if not lane.queued:
            self._queue(lane)

    @property
    def free(self) -> int:
        """Places for claims that nobody has; where bytes are scarcer than places, those tell."""
        places = self.places
        return min(places.stock - self.stock, (places.stock_bytes - self.stock_bytes) // self._each)

    def room(self) -> int:
        """How many more claims the node may ask for."""
        return self.free - self.places.for_births

    def room_of(self, lane: Lane) -> int:
        """How many more claims a lane may have; none if unproven ones wait for a socket already."""
        if not lane.window.proven and self.crowded:
            return 0
        held = lane.held
        share = self.places.share(self.free, slow=lane.slow) - held
        return min(lane.room(), share if held else max(1, share))

    @property
    def ready(self) -> bool:
        """Whether any lane stands in line for its turn."""
        return bool(self._first or self._retries)

    @property
    def crowded(self) -> bool:
        """Whether so many unproven lanes wait for a socket that more would take the others' memory."""
        return len(self._newcomers) >= self._newcomers_max

    # -- whose turn it is ---------------------------------------------------------------

    def next(self, now: Instant) -> tuple[Lane, Claim] | None:
        """The next claim to send; its place is taken. None if nothing may begin now."""
        if self._waking:
            self._wake(now)
        places, first, retries = self.places, self._first, self._retries
        while self.in_flight < places.sockets and self.at_work < places.at_work:
            if first and (not retries or self._turn % RETRY_TURN):
                lane = first.popleft()
            elif retries:
                lane = retries.popleft()
            elif self._newcomers and self.unproven_in_flight < self._unproven_max:
                lane = self._newcomers.popitem(last=False)[0]
            else:
                return None
            lane.queued = False
            if not (lane.first or lane.retries) or lane.in_flight >= lane.window.size:
                continue  # the end of one of its requests brings it back
            if (lane.in_flight or not lane.window.proven) and not self._has_socket(lane):
                lane.queued = True
                (self._crowded if lane.window.proven else self._newcomers)[lane] = None
                continue
            if lane.rate and not self._start(lane, now):
                continue
            return lane, self._take(lane, now)
        return None

    def _take(self, lane: Lane, now: Instant) -> Claim:
        """Give its next claim a place; it has its next turn after all that wait."""
        self._turn += 1
        if lane.retries:
            claim = lane.pop()
        else:
            lane.turn += 1
            claim = lane.first.pop(0)
        lane.touched = now
        # As `begin_again` and `_queue` have it, without the calls.
        lane.in_flight += 1
        self.in_flight += 1
        self.at_work += 1
        if not lane.window.proven:
            self.unproven_in_flight += 1
        if lane.first:
            lane.queued = True
            self._first.append(lane)
        elif lane.retries:
            lane.queued = True
            self._retries.append(lane)
        return claim

    def _start(self, lane: Lane, now: Instant) -> bool:
        """Count a start of a lane that has rate limits; if they do not allow it now, it is woken when they do."""
        free_at = max(rate.free_at(now) for rate in lane.rate)
        if free_at > now:
            lane.waking = True
            heapq.heappush(self._waking, (free_at, lane.plan.endpoint.id))
            return False
        for rate in lane.rate:
            rate.start(now)
        return True

    def _has_socket(self, lane: Lane) -> bool:
        if not lane.window.proven:
            return self.unproven_in_flight < self._unproven_max
        # The more sockets are taken, the fewer one lane may have: there is always one for another.
        return not lane.in_flight or lane.in_flight < (self.places.sockets - self.in_flight) // 4

    def begin_again(self, lane: Lane, claim: Claim, now: Instant) -> bool:
        """A claim whose request has ended goes out once more at once, unless a rate limit is used up; whether it does."""
        if lane.rate and (lane.waking or not self._start(lane, now)):
            return False
        self.stock += 1
        self.stock_bytes += len(claim.message.payload)
        lane.in_flight += 1
        self.in_flight += 1
        self.at_work += 1
        if not lane.window.proven:
            self.unproven_in_flight += 1
        return True

    def _queue(self, lane: Lane) -> None:
        if not lane.queued and not lane.waking and (lane.first or lane.retries):
            lane.queued = True
            (self._first if lane.first else self._retries).append(lane)

    def _wake(self, now: Instant) -> None:
        # Later than a rate limit can ask for: the clock was set back, so look at them all again.
        while self._waking and not now < self._waking[0][0] <= now + LONGEST_WAIT:
            lane = self.by_endpoint.get(heapq.heappop(self._waking)[1])
            if lane is not None:
                lane.waking = False
                self._queue(lane)

    def wakes_at(self) -> Instant | None:
        """When the next rate-limited lane may go on."""
        return self._waking[0][0] if self._waking else None

    @property
    def resting(self) -> int:
        """Claims in memory whose lanes wait for a rate limit: only time brings them on."""
        lanes = {self.by_endpoint.get(endpoint_id) for _at, endpoint_id in self._waking}
        return sum(lane.stock for lane in lanes if lane is not None and lane.waking)

    # -- what ends ----------------------------------------------------------------------

    def age(self, count: int) -> None:
        """So many requests at work have grown old: they wait on their receivers now."""
        self.at_work -= count

    def end(self, lane: Lane, claim: Claim, *, proven: bool, aged: bool) -> None:
        """A request has ended; `proven` is what the lane was when it began."""
        lane.in_flight -= 1
        self.in_flight -= 1
        self.stock -= 1
        self.stock_bytes -= len(claim.message.payload)
        if not aged:
            self.at_work -= 1
        if not proven:
            self.unproven_in_flight -= 1
        if self._crowded and lane.queued and lane in self._crowded:
            del self._crowded[lane]
            lane.queued = False
        if lane.first or lane.retries:
            self._queue(lane)
        if self._newcomers and self.unproven_in_flight < self._unproven_max:
            self._bring_back(self._newcomers)
        if self._crowded:
            self._bring_back(self._crowded)

    def _bring_back(self, stalled: OrderedDict[Lane, None]) -> None:
        """Give the first that still has a claim its turn again."""
        while stalled:
            lane = stalled.popitem(last=False)[0]
            lane.queued = False
            self._queue(lane)
            if lane.queued:
                return

    def shed(self, lane: Lane, keep: int) -> list[Claim]:
        """Take back claims of a lane beyond `keep`; the caller releases them."""
        shed: list[Claim] = []
        for ring in (lane.first, lane.retries):
            while len(ring) > max(0, keep):
                shed.append(ring.pop())
            keep -= len(ring)
        self.drop(shed)
        return shed

    def shed_late(self, before: Instant, lanes: Iterable[Lane] | None = None) -> list[Claim]:
        """Take back waiting claims, of these lanes or of all, whose lease ends before then; the caller releases them."""
        shed: list[Claim] = []
        for lane in self.active if lanes is None else lanes:
            for ring in (lane.first, lane.retries):
                while ring and ring[0].lease_until < before:
                    shed.append(ring.pop(0))
        self.drop(shed)
        return shed

    def drop(self, claims: Iterable[Claim]) -> None:
        """Claims that have left memory without having been sent."""
        for claim in claims:
            self.stock -= 1
            self.stock_bytes -= len(claim.message.payload)
