"""The loop of the data plane: accept, take turns, send, decide, record, and claim what is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from marketbell.clock import Clock
from marketbell.delivery.acceptance import Acceptor
from marketbell.delivery.claims import Claims
from marketbell.delivery.fairness import Lanes
from marketbell.delivery.handover import Handover
from marketbell.delivery.intake import Acceptance, Keep, Verdicts
from marketbell.delivery.lane import Lane
from marketbell.delivery.leases import Leases
from marketbell.delivery.limits import DispatchLimits
from marketbell.delivery.plan import Planner
from marketbell.delivery.recorder import Recorder, first_due
from marketbell.delivery.sender import Sender
from marketbell.delivery.sending import Sending, UnderWay, Witness
from marketbell.delivery.settling import Settling
from marketbell.delivery.tenure import Owned, Tenure
from marketbell.delivery.waking import Waker
from marketbell.model import Application, Claim, Endpoint, Instant, Millis
from marketbell.store.base import Change, Queue, Result

_TICK_S = 0.05
_LANES_MAX = 20_000
_LANE_REST: Millis = 60_000
_FORGET_S = 1.0
"""Where there are so many lanes, looking through them takes milliseconds."""
_READ_S = 0.001
_REST: Millis = 60_000
"""How long, in real time, before an endpoint is looked at again that cannot be sent to at all."""

_log = logging.getLogger(__name__)


class Dispatcher:
    """
    Delivers what a store keeps.

    It owns its memory of lanes alone; the store is asked to claim when there is room, and told
    of every attempt. Killed at any instant, it loses nothing that was accepted: claims come
    back with their leases, or at the next start.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        sender: Sender,
        planner: Planner,
        lanes: Lanes,
        clock: Clock,
        witness: Witness,
        limits: DispatchLimits,
        owned: Owned | None = None,
        hint: Callable[[Collection[int] | None], None] = lambda _slots: None,
    ) -> None:
        self._queue, self._hint = queue, hint
        self._owned = owned = owned or Tenure.sole()
        self._sender = sender
        self._planner = planner
        self._lanes = lanes
        self._clock = clock
        self._monotonic = clock.monotonic
        self._witness = witness
        self._limits = limits
        self._leases = Leases(clock, limits.lease)
        self._under_way = UnderWay(witness, self._pump_soon)
        self._ticker: asyncio.TimerHandle | None = None
        self._waker = Waker(clock, self._pump)
        self._pump_due = self._closing = False
        self._forget_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._read_clocks(clock.monotonic())
        self.recorder = Recorder(queue, fitness=owned.fitness, on_recorded=self._recorded)
        self.claims = Claims(
            queue,
            lanes,
            clock,
            leases=self._leases,
            owned=owned,
            lost_max=limits.lost_claims_max,
            look=limits.look,
            may_claim=lambda: not (self._closing or self.recorder.behind),
            on_claimed=self._claimed,
        )
        self._settling = Settling(
            queue,
            self._under_way,
            sender,
            lanes=lanes,
            claims=self.claims,
            recorder=self.recorder,
            clock=clock,
            leases=self._leases,
            limits=limits,
        )
        self._acceptor = Acceptor(
            queue, planner, lanes, self.claims, clock, leases=self._leases, owned=owned, hint=hint
        )
        self.handover = Handover(
            lanes, planner, self.claims, self.recorder, clock, owned=owned, go_on=self._pump_soon
        )

    # -- the way in ---------------------------------------------------------------------

    async def accept(self, acceptances: Sequence[Acceptance], keep: Keep | None = None) -> Verdicts:
        """See Intake.accept."""
        verdicts = await self._acceptor.accept(acceptances, keep)
        self._pump_soon()
        return verdicts

    def wake(self) -> None:
        """See Intake.wake; other nodes are told to look too."""
        self._hint(None)
        self.claims.expect(self._clock.now())

    def forget(self, change: Change) -> None:
        """
        An application or endpoint has changed: its plan is made anew when it is next needed.

        Claims of a changed endpoint that wait are given back: they come again as it is now.
        """
        if change.endpoint_id is not None:
            self._planner.forget(change.endpoint_id)
            lane = self._lanes.by_endpoint.get(change.endpoint_id)
            if lane is not None:
                self.claims.give_back(self._lanes.change(lane))
                lane.route = None  # what went by it is not repeated as it was
        self.claims.expect(self._clock.now())

    # -- sending ------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """
        Begin what may begin at the end of the loop's turn, in one run.

        Answers are read in one run, sends made in another: the same work in turns of a few
        hundred kilobytes of code each would find the processor's caches cold.
        """
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Settle and tell of all that has ended, and begin all that may begin now."""
        self._pump_due = False
        self._read_clocks(self._monotonic())
        self._settle()
        if self._closing:
            self._give_back_waiting()
        elif self._holds and len(self.recorder) < self._limits.unrecorded_max:
            lanes, begin, now = self._lanes, self._begin, self._now
            while (turn := lanes.next(now)) is not None:
                begin(*turn)
            self._waker.set(lanes.wakes_at(), now)  # when a rate limit allows the next start
        self._under_way.tell()
        self.claims.look()
        if self._ticker is None and (self._under_way or self._lanes.stock):
            self._ticker = self._loop.call_later(_TICK_S, self._tick)

    def _settle(self) -> None:
        for sending in self._settling.settle():  # whose kept connections had died
            lane, claim = sending.lane, sending.claim
            if self._as_it_was(sending) and self._lanes.begin_again(lane, claim, self._now):
                self._begin(lane, claim, fresh=True)
            else:
                self.claims.give_back([claim])

    def _as_it_was(self, sending: Sending) -> bool:
        """Whether one that has ended may be repeated: nothing about its endpoint, or here, has changed since."""
        lane = sending.lane
        return (
            not self._closing
            and sending.route is lane.route
            and lane.held_until <= self._now
            and lane.plan.endpoint.slot in self._owned.slots
        )

    def _read_clocks(self, monotonic: float) -> None:
        """Look what time it is, on each axis, and whether this node may still send; good for a millisecond."""
        self._now = self._clock.now()
        self._leases_now = self._leases.now()
        self._holds = self._owned.holds
        self._read_again_s = monotonic + _READ_S

    def _begin(self, lane: Lane, claim: Claim, *, fresh: bool = False) -> None:
        monotonic = self._monotonic()
        if monotonic >= self._read_again_s:
            self._read_clocks(monotonic)
        route = lane.route
        if route is None:
            route = lane.route = self._sender.route(lane.plan)
        ends_by = self._leases_now + route.within
        if ends_by >= claim.lease_until or not self._holds:
            self._not_begun(lane, claim)
            if route.within >= self._leases.length:  # a new claim would be no better
                self._wait(lane, claim, "no lease is long enough for their time-out")
            else:
                self.claims.give_back([claim, *self._lanes.shed_late(ends_by, (lane,))])
        elif not route.plan.installed:
            self._not_begun(lane, claim)
            self._wait(lane, claim, "their dialect is not installed")
        else:
            sending = Sending(route, monotonic, lane, claim, self._now, self._under_way)
            sending.fresh = fresh
            self._under_way.add(sending)
            self._sender.send(sending)

    def _not_begun(self, lane: Lane, claim: Claim) -> None:
        """The place that it was given is free."""
        self._lanes.end(lane, claim, proven=lane.window.proven, aged=False)
        if lane.backlog:
            self.claims.consider(lane)

    def _wait(self, lane: Lane, claim: Claim, why: str) -> None:
        """Hold an endpoint that cannot be sent to: no attempt is made and no step used up."""
        _log.error(
            f"deliveries wait: {why}",
            extra={"endpoint": lane.plan.endpoint.public_id, "reason": lane.plan.fault},
        )
        self._settling.rest(lane, self._clock.now() + int(_REST * self._clock.speed))
        self.claims.give_back([claim, *self._lanes.shed(lane, 0)])

    # -- what the store says ------------------------------------------------------------

    def _recorded(self, results: Sequence[Result]) -> None:
        due_at = first_due(results)
        if due_at is not None:
            self.claims.expect(due_at)
        self._pump_soon()

    def _claimed(
        self, endpoints: Sequence[tuple[Application, Endpoint]], claims: Sequence[Claim], lost: int
    ) -> None:
        now = self._clock.now()
        for application, endpoint in endpoints:
            self._lanes.lane(self._planner.plan(application, endpoint), endpoint.failing_since, now)
        resting: set[Lane] = set()
        for claim in claims:
            lane = self._lanes.by_endpoint[claim.endpoint_id]
            lane.touched = now
            self._lanes.offer(lane, claim, reserved=False)
            if lane.held_until > now:  # since the store was asked
                resting.add(lane)
        for lane in resting:
            self.claims.give_back(self._lanes.shed(lane, 0))
        if lost:
            self._witness.lost_claims(lost)
        self._pump_soon()

    # -- time ---------------------------------------------------------------------------

    def _tick(self) -> None:
        """Every 50 ms while anything is under way: requests grow old, claims near their lease's end."""
        self._ticker = None
        before = self._monotonic() - self._lanes.places.young / 1000
        self._lanes.age(self._under_way.grown_old(before))
        now = self._clock.now()
        late = self._lanes.shed_late(self._leases.now() + self._leases.length // 4)
        if late:
            self.claims.give_back(late)
        many = len(self._lanes.by_endpoint) > _LANES_MAX
        if many and not self.claims.busy and self._monotonic() >= self._forget_at:
            self._forget_at = self._monotonic() + _FORGET_S
            self._lanes.forget_idle(now - int(_LANE_REST * self._clock.speed))
            self._planner.keep(self._lanes.by_endpoint.keys())
        self._pump()

    # -- the end ------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests begun and not ended."""
        return self._lanes.in_flight

    @property
    def oldest_waiting(self) -> Instant | None:
        """When the first of the claims fell due that wait in memory; they are few thousands at most."""
        waiting = (claim.due_at for lane in self._lanes.active for claim in lane.waiting())
        return min(waiting, default=None)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or could be, so that only time can bring work."""
        return (
            not self._under_way
            and not self._pump_due
            and self._lanes.stock == self._lanes.resting
            and not len(self.recorder)
            and self.recorder.idle
            and self.claims.idle
        )

    def start(self) -> None:
        """Begin to claim and to record, on the running loop."""
        self.recorder.start()
        self.claims.start()

    def begin_no_more(self) -> None:
        """
        No attempt is begun and nothing claimed from now on; what waits is given back.

        Messages are accepted still, and their deliveries are born pending. `drain` ends the rest.
        """
        self._closing = self._acceptor.closing = True
        self._give_back_waiting()

    def _give_back_waiting(self) -> None:
        lanes = self._lanes
        self.claims.give_back([claim for lane in lanes.active for claim in lanes.shed(lane, 0)])

    async def drain(self, timeout_s: float) -> int:
        """
        Stop: nothing new is begun, unsent claims are given back, what is in flight may end.

        After `timeout_s` what is still in flight is broken off. Claims of which no byte was sent
        are given back too; the others stay with their leases and become lost ones. How many
        those were.
        """
        self.begin_no_more()
        await self.claims.stop()
        self._give_back_waiting()  # what had been asked for
        deadline = self._clock.monotonic() + timeout_s
        await self.claims.stop()
        while self._under_way and self._clock.monotonic() < deadline:
            await self.recorder.moved(min(0.25, deadline - self._clock.monotonic()))
        self._settle()
        broken = self._under_way.all()
        unsent = [sending.claim for sending in broken if sending.connection is None]
        for sending in broken:
            self._settling.end(sending)
            sending.cancel()
        self._under_way.tell()
        if self._ticker is not None:
            self._ticker.cancel()
        self._waker.cancel()
        self.claims.give_back(unsent)
        left_s = max(1.0, deadline - self._clock.monotonic())
        await asyncio.gather(self.recorder.stop(left_s), self.claims.stop())
        return len(broken) - len(unsent)
