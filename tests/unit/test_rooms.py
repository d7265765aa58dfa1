"""What a store is told of a node's lanes: all that are busy, and no more for lanes that are not."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.lane import Lane
from marketbell.delivery.rooms import Revisions, Rooms
from support.lanes import NOW, make_claim, make_plan

NAMED_IDLE = 200


def make_lanes() -> Lanes:
    return Lanes(Places(), breaker_failures=5, breaker_rest=1_000)


def add(lanes: Lanes, endpoint_id: int, *, proven: bool = True) -> Lane:
    lane = lanes.lane(make_plan(endpoint_id, cap=8), None, NOW)
    lane.window.proven = proven
    lane.window.size = 8 if proven else 1
    return lane


def offer(lanes: Lanes, lane: Lane) -> None:
    lanes.offer(lane, make_claim(lane.plan.endpoint.id), reserved=False)


def send_all(lanes: Lanes) -> None:
    while (turn := lanes.next(NOW)) is not None:
        lanes.end(*turn, proven=turn[0].window.proven, aged=False)


def test_a_lane_that_is_busy_is_named_with_the_room_it_has_when_it_is_asked_for() -> None:
    lanes = make_lanes()
    busy, promised, new = (add(lanes, number, proven=number == 1) for number in (1, 2, 3))
    offer(lanes, busy)
    assert lanes.reserve(promised, 10, NOW)
    rooms = Rooms(lanes, NOW)
    assert dict(rooms) == {1: 63, 2: 0}
    assert rooms.get(3) == 1  # it knows of it, and it is as one of which nothing is known
    assert rooms.get(4) is None
    offer(lanes, busy)
    assert rooms[1] == 62
    busy.held_until = NOW + 1
    assert rooms[1] == 0
    lanes.withdraw(promised, 10)
    lanes.forget(promised)
    assert rooms.get(2, 5) == 5
    assert len(rooms) == 2
    assert dict(Revisions(lanes.by_endpoint)) == {
        number: lane.plan.endpoint.revision for number, lane in ((1, busy), (3, new))
    }


def test_lanes_that_were_busy_are_named_for_a_while_and_then_no_more() -> None:
    lanes = make_lanes()
    made = [add(lanes, number) for number in range(NAMED_IDLE + 300)]
    for lane in made:
        offer(lanes, lane)
    assert len(Rooms(lanes, NOW)) == len(made)
    send_all(lanes)
    offer(lanes, made[0])
    named = set(Rooms(lanes, NOW))
    assert len(named) == NAMED_IDLE + 1
    assert {0, len(made) - 1} <= named
    assert len(lanes.active) == len(named)


@settings(max_examples=40)
@given(st.integers(0, 1 << 32))
def test_whoever_is_not_named_has_room_for_as_much_as_a_new_lane(seed: int) -> None:
    chance = random.Random(seed)
    lanes = make_lanes()
    made = [add(lanes, number, proven=chance.random() < 0.5) for number in range(NAMED_IDLE + 30)]
    promised: list[Lane] = []
    for _ in range(20):
        for lane in chance.sample(made, chance.choice((1, 40, len(made)))):
            if chance.random() < 0.5:
                offer(lanes, lane)
            elif lanes.reserve(lane, 10, NOW):
                promised.append(lane)
        while promised and chance.random() < 0.9:
            lanes.withdraw(promised.pop(), 10)
        if chance.random() < 0.5:
            send_all(lanes)
        for lane in chance.sample(made, 20):
            lanes.shed(lane, chance.randrange(2))
        rooms = Rooms(lanes, NOW)
        new_room = 0 if lanes.crowded else 1
        named = set(rooms)
        assert all(rooms[number] >= new_room for number in lanes.by_endpoint.keys() - named)
        assert named >= {number for number, lane in lanes.by_endpoint.items() if not lane.idle}
