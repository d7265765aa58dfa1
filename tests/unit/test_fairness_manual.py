"""What is sent again on request stands with the retries, so that a replay keeps no first try waiting."""

from __future__ import annotations

import msgspec

from marketbell.delivery.fairness import Lanes, Places
from marketbell.model import Trigger
from support.lanes import NOW, make_claim, make_plan


def test_first_tries_go_before_a_replay() -> None:
    lanes = Lanes(Places(at_work=1_000), breaker_failures=10, breaker_rest=1_000)
    replayed = lanes.lane(make_plan(1, cap=100), None, NOW)
    fresh = lanes.lane(make_plan(2, cap=100), None, NOW)
    for lane in (replayed, fresh):
        lane.window.proven, lane.window.size = True, 100
    for _ in range(14):
        claim = msgspec.structs.replace(make_claim(1), trigger=Trigger.MANUAL)
        lanes.offer(replayed, claim, reserved=False)
    for _ in range(14):
        lanes.offer(fresh, make_claim(2), reserved=False)
    order = []
    while (turn := lanes.next(NOW)) is not None:
        order.append(turn[0].plan.endpoint.id)
    # Every eighth turn is a retry's, and so a replay is not starved either.
    assert order[:16].count(1) == 2
    assert order[16:] == [1] * 12
