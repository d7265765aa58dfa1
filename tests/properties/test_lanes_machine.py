"""Lanes under every event that a node knows: the sums are right and nobody is forgotten."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.lane import Lane
from marketbell.model import Claim
from support.lanes import NOW, make_claim, make_plan


class Request:
    """One request under way in the machine below."""

    def __init__(self, lane: Lane, claim: Claim) -> None:
        self.lane = lane
        self.claim = claim
        self.proven = lane.window.proven
        self.aged = False


class LanesMachine(RuleBasedStateMachine):
    """The real lanes against sums that are counted afresh, under every event that a node knows."""

    lanes_known = Bundle("lanes_known")

    @initialize(
        sockets=st.integers(1, 12),
        at_work=st.integers(1, 12),
        share=st.sampled_from((0.0, 0.3, 0.5, 1.0)),
    )
    def begin(self, sockets: int, at_work: int, share: float) -> None:
        self.lanes = Lanes(
            Places(
                at_work=at_work, sockets=sockets, unproven_share=share, stock=60, stock_bytes=600
            ),
            breaker_failures=4,
            breaker_rest=500,
        )
        self.real = self.wall = NOW
        self.waiting: dict[int, list[Claim]] = {}
        self.promised: list[tuple[Lane, int]] = []
        self.flying: list[Request] = []
        self.revisions: Counter[int] = Counter()
        self.starts: dict[object, list[int]] = {}

    # -- events -------------------------------------------------------------------------

    @rule(
        target=lanes_known,
        endpoint_id=st.integers(1, 8),
        cap=st.integers(1, 6),
        rate=st.sampled_from((None, None, 1, 3)),
        ordered=st.booleans(),
    )
    def know(self, endpoint_id: int, cap: int, rate: int | None, ordered: bool) -> int:
        self.revisions[endpoint_id] += 1
        self.lanes.lane(
            make_plan(
                endpoint_id,
                application_id=endpoint_id % 3,
                shared_rate=4 if endpoint_id % 3 == 0 else None,
                revision=self.revisions[endpoint_id],
                cap=cap,
                rate=rate,
                ordered=ordered,
            ),
            None,
            self.wall,
        )
        return endpoint_id

    def lane(self, endpoint_id: int) -> Lane | None:
        return self.lanes.by_endpoint.get(endpoint_id)

    @rule(
        endpoint_id=lanes_known,
        attempts=st.integers(0, 1),
        size=st.integers(0, 20),
        count=st.integers(1, 4),
        lease=st.integers(-100, 5_000),
    )
    def offer(self, endpoint_id: int, attempts: int, size: int, count: int, lease: int) -> None:
        lane = self.lane(endpoint_id)
        if lane is None:
            return
        for _ in range(count):
            claim = make_claim(
                endpoint_id, attempts=attempts, size=size, lease_until=self.wall + lease
            )
            self.lanes.offer(lane, claim, reserved=False)
            self.waiting.setdefault(endpoint_id, []).append(claim)

    @rule(endpoint_id=lanes_known, size=st.integers(0, 20))
    def reserve(self, endpoint_id: int, size: int) -> None:
        lane = self.lane(endpoint_id)
        if lane is not None and self.lanes.reserve(lane, size, self.wall):
            assert self.lanes.stock <= self.lanes.places.stock
            assert self.lanes.stock_bytes <= self.lanes.places.stock_bytes
            self.promised.append((lane, size))

    @precondition(lambda self: self.promised)
    @rule(born=st.booleans(), data=st.data())
    def settle(self, born: bool, data: st.DataObject) -> None:
        lane, size = self.promised.pop(data.draw(st.integers(0, len(self.promised) - 1)))
        if born:
            endpoint_id = lane.plan.endpoint.id
            claim = make_claim(endpoint_id, size=size, lease_until=self.wall + 3_000)
            self.lanes.offer(lane, claim, reserved=True)
            self.waiting.setdefault(endpoint_id, []).append(claim)
        else:
            self.lanes.withdraw(lane, size)

    @rule(times=st.integers(1, 3))
    def take_some(self, times: int) -> None:
        for _ in range(times):
            self.take()

    @rule()
    def take_all(self) -> None:
        while self.take():
            pass
        self.nobody_waits_who_could_run()

    def take(self) -> bool:
        turn = self.lanes.next(self.wall)
        if turn is None:
            return False
        lane, claim = turn
        endpoint_id = lane.plan.endpoint.id
        self.waiting[endpoint_id].remove(claim)
        assert lane.in_flight <= lane.window.size
        assert self.lanes.in_flight <= self.lanes.places.sockets
        assert self.lanes.at_work <= self.lanes.places.at_work
        self.start(lane)
        self.flying.append(Request(lane, claim))
        return True

    def start(self, lane: Lane) -> None:
        for limit in lane.rate:
            starts = self.starts.setdefault(limit, [])
            starts.append(self.real)
            assert sum(1 for start in starts if start > self.real - 1_000) <= limit.rate

    def pick(self, data: st.DataObject) -> Request:
        return self.flying[data.draw(st.integers(0, len(self.flying) - 1))]

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), what=st.sampled_from(("succeed", "answer", "fall_silent")))
    def end(self, data: st.DataObject, what: str) -> None:
        self.end_one(self.pick(data), what)

    def end_one(self, request: Request, what: str) -> None:
        self.flying.remove(request)
        self.lanes.end(request.lane, request.claim, proven=request.proven, aged=request.aged)
        getattr(request.lane.window, what)()
        if what == "succeed":
            request.lane.breaker.succeed()
        elif request.lane.breaker.fail(self.wall):
            request.lane.window.narrow()

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        request = self.pick(data)
        self.flying.remove(request)
        self.lanes.end(request.lane, request.claim, proven=request.proven, aged=request.aged)
        if self.lanes.begin_again(request.lane, request.claim, self.wall):
            self.start(request.lane)
            self.flying.append(Request(request.lane, request.claim))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def grow_old(self, data: st.DataObject) -> None:
        request = self.pick(data)
        if not request.aged:
            request.aged = True
            self.lanes.age(1)

    @rule(endpoint_id=lanes_known, keep=st.integers(0, 3))
    def shed(self, endpoint_id: int, keep: int) -> None:
        lane = self.lane(endpoint_id)
        if lane is not None:
            self.gone(self.lanes.shed(lane, keep))
            assert lane.stock <= keep

    @rule(ahead=st.integers(0, 4_000))
    def shed_late(self, ahead: int) -> None:
        self.gone(self.lanes.shed_late(self.wall + ahead))

    def gone(self, claims: list[Claim]) -> None:
        for claim in claims:
            self.waiting[claim.endpoint_id].remove(claim)

    @rule(endpoint_id=consumes(lanes_known), rest=st.integers(0, 3_000))
    def forget(self, endpoint_id: int, rest: int) -> None:
        before = {lane for lane in self.lanes.by_endpoint.values() if not lane.idle}
        self.lanes.forget_idle(self.wall - rest)
        assert before <= set(self.lanes.by_endpoint.values())

    @rule(passed=st.integers(0, 1_500), back=st.sampled_from((0, 0, 0, 1, 700, 3_600_000)))
    def let_time_pass(self, passed: int, back: int) -> None:
        self.real += passed
        self.wall += passed - back

    # -- what always holds --------------------------------------------------------------

    @invariant()
    def counters_are_the_sums_of_what_there_is(self) -> None:
        lanes = self.lanes
        waiting = [claim for claims in self.waiting.values() for claim in claims]
        flying = [request.claim for request in self.flying]
        assert lanes.in_flight == len(flying)
        assert lanes.at_work == sum(1 for request in self.flying if not request.aged)
        assert lanes.unproven_in_flight == sum(1 for r in self.flying if not r.proven)
        assert lanes.stock == len(waiting) + len(flying) + len(self.promised)
        assert lanes.stock_bytes == sum(
            len(claim.message.payload) for claim in waiting + flying
        ) + sum(size for _lane, size in self.promised)
        for endpoint_id, lane in lanes.by_endpoint.items():
            own = self.waiting.get(endpoint_id, [])
            assert sorted(c.message.id for c in lane.waiting()) == sorted(c.message.id for c in own)
            assert lane.in_flight == sum(1 for r in self.flying if r.lane is lane)
            assert lane.reserved == sum(1 for promised, _size in self.promised if promised is lane)

    def nobody_waits_who_could_run(self) -> None:
        """After all turns are taken, each claim that waits has something that will bring it back."""
        lanes, places = self.lanes, self.lanes.places
        if lanes.in_flight >= places.sockets or lanes.at_work >= places.at_work:
            assert self.flying
            return
        unproven_max = max(1, int(places.sockets * places.unproven_share))
        for endpoint_id, claims in self.waiting.items():
            lane = self.lane(endpoint_id)
            if not claims or lane is None:
                assert not claims
                continue
            if lane.waking:
                wakes_at = lanes.wakes_at()
                assert wakes_at is not None
                assert wakes_at <= self.wall + 1_000
            elif lane.in_flight == 0:
                assert not lane.window.proven
                assert lanes.unproven_in_flight >= unproven_max

    def teardown(self) -> None:
        """Whatever happened, all that waits is taken once requests end and time passes."""
        if not hasattr(self, "lanes"):
            return
        left = sum(len(claims) for claims in self.waiting.values())
        for _ in range(left + 3):
            while self.take():
                pass
            for request in list(self.flying):
                self.end_one(request, "succeed")
            self.real += 1_000
            self.wall += 1_000
        assert not any(self.waiting.values())


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
