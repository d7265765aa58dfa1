"""What a node asks a store for that could not: not more than it has room for, and whom that says something of."""

from __future__ import annotations

import asyncio

import pytest

from marketbell.delivery.claims import Claims
from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.fitness import Fitness
from marketbell.delivery.leases import Leases
from marketbell.delivery.tenure import Tenure
from marketbell.errors import UnavailableError
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
