"""What a node asks a store for that could not: not more than it has room for, and whom that says something of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from marketbell.delivery.claims import Claims
from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.fitness import Fitness
from marketbell.delivery.leases import Leases
from marketbell.delivery.tenure import Tenure
from marketbell.errors import UnavailableError
from marketbell.model import Claim
from marketbell.store.base import Claimed, ClaimRequest
from marketbell.store.postgresql_claiming import ClaimWork
from marketbell.store.sealing import Box
from marketbell.testing import FakeClock
from support.eventually import eventually
from support.lanes import NOW, make_claim, make_plan

BOUND_S = 10.0


class Away:
    """A store that gives no claims."""

    def __init__(self) -> None:
        self.asked = 0

    async def claim(self, _request: ClaimRequest) -> Claimed:
        self.asked += 1
        raise UnavailableError("It is away.")


async def test_a_node_that_has_no_room_any_more_is_not_unfit_for_a_claim_that_failed() -> None:
    clock, queue = FakeClock(still=True), Away()
    fitness = Fitness(clock.monotonic, BOUND_S)
    tenure = Tenure(clock.monotonic, 1, fitness)
    tenure.renew(frozenset({0}), float("inf"))
    lanes = Lanes(Places(stock=8), breaker_failures=5, breaker_rest=1_000)
    claims = Claims(
        queue,  # type: ignore[arg-type]
        lanes,
        clock,
        leases=Leases(clock, 60_000),
        owned=tenure,
        lost_max=20,
        look=1_000,
        may_claim=lambda: True,
        on_claimed=lambda *_: None,
    )
    claims.start()
    await eventually(lambda: bool(queue.asked) and not claims.busy)
    lane = lanes.lane(make_plan(1, cap=8), None, clock.now())
    for _ in range(8):  # messages are born claimed meanwhile
        lanes.offer(lane, make_claim(1), reserved=False)
    asked = queue.asked
    for _ in range(20):
        clock.advance(1_000)
        await eventually(lambda: not claims.busy)
        for _ in range(5):
            await asyncio.sleep(0)
    assert queue.asked == asked
    assert fitness.look()
    await claims.stop()


class Slow:
    """A store that answers the first claim when it is let to, with one claim, and keeps what comes back."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.released: list[Claim] = []

    async def claim(self, _request: ClaimRequest) -> Claimed:
        first = not self.asked.is_set()
        self.asked.set()
        await self.answer.wait()
        claims = (make_claim(1),) if first else ()
        return Claimed(claims=claims, endpoints=(), backlog=frozenset(), next_at=None, lost=0)

    async def release(self, claims: Sequence[Claim]) -> None:
        self.released += claims


async def test_what_comes_back_while_a_claim_is_under_way_at_the_stop_is_released() -> None:
    clock, queue = FakeClock(still=True), Slow()
    lanes = Lanes(Places(), breaker_failures=5, breaker_rest=1_000)
    lane = lanes.lane(make_plan(1, cap=8), None, clock.now())
    claims = Claims(
        queue,  # type: ignore[arg-type]
        lanes,
        clock,
        leases=Leases(clock, 60_000),
        owned=Tenure.sole(),
        lost_max=20,
        look=1_000,
        may_claim=lambda: True,
        on_claimed=lambda *_: None,
    )
    claims.start()
    await queue.asked.wait()
    claims.give_back(lanes.change(lane))  # so what is being claimed is out of date
    stopped = asyncio.create_task(claims.stop())
    await asyncio.sleep(0)
    queue.answer.set()
    await stopped
    assert len(queue.released) == 1
    later = make_claim(1)
    claims.give_back([later])
    await claims.stop()
    assert queue.released[1:] == [later]


class Full:
    """A store with a backlog of these endpoints that never ends, and others that are due; it keeps what it is asked."""

    def __init__(self, *backlog: int) -> None:
        self.asked: list[ClaimRequest] = []
        self._backlog = backlog

    async def claim(self, request: ClaimRequest) -> Claimed:
        self.asked.append(request)
        named = request.lanes[:1]
        return Claimed(
            claims=tuple(make_claim(one) for one in named for _ in range(request.limit)),
            endpoints=(),
            backlog=frozenset(request.lanes),
            next_at=request.now + (0 if named else 5_000),
            lost=0,
        )


def claims_of(queue: object, lanes: Lanes, clock: FakeClock) -> Claims:
    def take(_endpoints: object, claims: Sequence[Claim], _lost: int) -> None:
        for claim in claims:
            lanes.offer(lanes.by_endpoint[claim.endpoint_id], claim, reserved=False)

    return Claims(
        queue,  # type: ignore[arg-type]
        lanes,
        clock,
        leases=Leases(clock, 60_000),
        owned=Tenure.sole(),
        lost_max=20,
        look=1_000,
        may_claim=lambda: True,
        on_claimed=take,
    )


async def test_after_known_backlogs_that_left_nothing_others_that_are_due_are_asked_for() -> None:
    clock, queue = FakeClock(still=True), Full(1)
    lanes = Lanes(Places(stock=64), breaker_failures=5, breaker_rest=1_000)
    lane = lanes.lane(make_plan(1, cap=64), None, clock.now())
    lane.window.proven, lane.window.size = True, 64
    claims = claims_of(queue, lanes, clock)
    claims.expect_backlog(lane)
    claims.start()
    while len(queue.asked) < 5:
        await eventually(lambda: lanes.room() <= 0 and not claims.busy)
        while (turn := lanes.next(clock.now())) is not None:
            lanes.end(*turn, proven=True, aged=False)
        claims.consider(lane)
        await eventually(lambda: lanes.room() <= 0)
    assert [list(request.lanes) for request in queue.asked] == [[1], [], [1], [], [1]]
    await claims.stop()


async def test_little_room_is_asked_for_only_when_no_lane_has_its_turn() -> None:
    clock, queue = FakeClock(still=True), Full()
    lanes = Lanes(Places(stock=1_024), breaker_failures=5, breaker_rest=1_000)
    busy, waiting = (lanes.lane(make_plan(number), None, clock.now()) for number in (1, 2))
    busy.window.proven = waiting.window.proven = True
    for _ in range(800):
        lanes.offer(busy, make_claim(1), reserved=False)
    claims = claims_of(queue, lanes, clock)
    claims.expect_backlog(waiting)
    claims.start()
    assert lanes.ready
    for _ in range(20):
        await asyncio.sleep(0)
    assert not queue.asked
    assert lanes.next(clock.now()) is not None
    assert lanes.next(clock.now()) is None  # its window is full
    claims.look()
    await eventually(lambda: bool(queue.asked))
    assert (list(queue.asked[0].lanes), queue.asked[0].limit) == ([2], 96)
    await claims.stop()


async def test_whatever_goes_wrong_with_a_claim_is_told_to_its_caller_alone() -> None:
    class Broken:
        def query(self, *_: object) -> list[tuple[object, ...]]:
            raise KeyError("what")

    request = ClaimRequest(now=NOW, lease_until=NOW + 1, limit=1, rooms={})
    future: asyncio.Future[Claimed] = asyncio.get_running_loop().create_future()
    work = ClaimWork(request, Box([bytes(32)]), future)
    work.run(Broken())  # type: ignore[arg-type]
    work.succeed()
    with pytest.raises(UnavailableError, match="what"):
        await future
