"""Who is served next: turns, limits, and that no lane with a claim is ever forgotten."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.lane import Lane
from marketbell.delivery.plan import Plan
from marketbell.model import NEVER, Claim
from support.lanes import NOW, make_claim, make_plan


def make_lanes(**places: float) -> Lanes:
    return Lanes(
        msgspec.convert(places, Places, strict=False), breaker_failures=5, breaker_rest=1_000
    )


def add(lanes: Lanes, plan: Plan, *, proven: bool = True, window: int | None = None) -> Lane:
    """A lane that has proved itself, with its window opened as far as its cap or as asked."""
    lane = lanes.lane(plan, None, NOW)
    if proven:
        lane.window.proven = True
        lane.window.size = plan.max_in_flight if window is None else window
    return lane


def offer(lanes: Lanes, lane: Lane, count: int = 1, *, attempts: int = 0) -> list[Claim]:
    claims = [make_claim(lane.plan.endpoint.id, attempts=attempts) for _ in range(count)]
    for claim in claims:
        lanes.offer(lane, claim, reserved=False)
    return claims


def take_all(lanes: Lanes, now: int = NOW) -> list[tuple[Lane, Claim]]:
    taken = []
    while (turn := lanes.next(now)) is not None:
        taken.append(turn)
    return taken


def finish(lanes: Lanes, turn: tuple[Lane, Claim], *, proven: bool = True) -> None:
    lanes.end(*turn, proven=proven, aged=False)


# -- turns --------------------------------------------------------------------------------


@given(stocks=st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_of_n_lanes_that_are_ready_each_has_a_turn_within_n_turns(stocks: list[int]) -> None:
    lanes = make_lanes(at_work=10_000, sockets=100_000)
    for endpoint_id, stock in enumerate(stocks):
        offer(lanes, add(lanes, make_plan(endpoint_id, cap=1_000)), stock)
    left = Counter(dict(enumerate(stocks)))
    since: Counter[int] = Counter()
    while (turn := lanes.next(NOW)) is not None:
        served = turn[0].plan.endpoint.id
        left[served] -= 1
        for endpoint_id in range(len(stocks)):
            since[endpoint_id] = (
                0 if endpoint_id == served or not left[endpoint_id] else since[endpoint_id] + 1
            )
            assert since[endpoint_id] < len(stocks)
    assert not +left


@given(newcomers=st.integers(1, 30), backlog=st.integers(50, 300))
def test_one_lane_with_a_great_backlog_does_not_make_the_others_wait(
    newcomers: int, backlog: int
) -> None:
    lanes = make_lanes(at_work=10_000, sockets=100_000)
    great = add(lanes, make_plan(0, cap=1_000))
    offer(lanes, great, backlog)
    small = [add(lanes, make_plan(number)) for number in range(1, newcomers + 1)]
    for lane in small:
        offer(lanes, lane)
    served = [
        turn[0] for turn in itertools.islice(iter(lambda: lanes.next(NOW), None), newcomers + 1)
    ]
    assert set(served) == {great, *small}


def test_first_tries_go_before_retries_and_every_eighth_turn_is_a_retrys() -> None:
    lanes = make_lanes(at_work=1_000)
    offer(lanes, add(lanes, make_plan(1, cap=500)), 200)
    offer(lanes, add(lanes, make_plan(2, cap=500)), 200, attempts=1)
    served = "".join("fr"[min(claim.attempt_count, 1)] for _lane, claim in take_all(lanes))
    assert served[:48] == "fffffffr" * 6
    assert served.count("f") == served.count("r") == 200
    assert "ffffffff" not in served


def test_within_one_lane_retries_are_not_starved_by_first_tries_that_never_end() -> None:
    lanes = make_lanes(at_work=1_000)
    lane = add(lanes, make_plan(1, cap=4))
    retries = offer(lanes, lane, 5, attempts=2)
    offer(lanes, lane, 3)
    order = []
    for _ in range(60):
        offer(lanes, lane)
        turn = lanes.next(NOW)
        assert turn is not None
        order.append(turn[1])
        finish(lanes, turn)
    places = [order.index(claim) for claim in retries]
    assert all(later - before <= 8 for before, later in itertools.pairwise([-1, *places]))


def test_a_retrys_turn_is_not_lost_to_a_lane_that_cannot_run() -> None:
    lanes = make_lanes(at_work=1_000)
    offer(lanes, add(lanes, make_plan(1, cap=100)), 100)
    for number in range(2, 6):
        full = add(lanes, make_plan(number, cap=1))
        full.in_flight = 1
        offer(lanes, full, attempts=1)
    offer(lanes, add(lanes, make_plan(9)), 1, attempts=1)
    served = [lanes.next(NOW) for _ in range(8)]
    assert any(turn is not None and turn[1].attempt_count for turn in served)


# -- limits -------------------------------------------------------------------------------


def test_no_more_are_begun_than_the_sockets_allow() -> None:
    lanes = make_lanes(sockets=10, at_work=1_000)
    for number in range(40):
        offer(lanes, add(lanes, make_plan(number)), 3)
    taken = take_all(lanes)
    assert len(taken) == lanes.in_flight == 10
    finish(lanes, taken[0])
    assert len(take_all(lanes)) == 1


def test_no_more_are_at_work_than_may_be_and_one_that_has_grown_old_makes_room() -> None:
    lanes = make_lanes(sockets=1_000, at_work=5)
    offer(lanes, add(lanes, make_plan(1, cap=100)), 50)
    assert len(take_all(lanes)) == 5
    lanes.age(1)
    assert len(take_all(lanes)) == 1
    assert (lanes.at_work, lanes.in_flight) == (5, 6)


def test_unproven_endpoints_have_one_request_each_and_share_half_of_the_sockets() -> None:
    lanes = make_lanes(sockets=20, at_work=1_000)
    hanging = [add(lanes, make_plan(number), proven=False) for number in range(30)]
    for lane in hanging:
        offer(lanes, lane, 1)
        assert lane.room() == 0
    taken = take_all(lanes)
    assert len(taken) == len({lane for lane, _claim in taken}) == 10
    well = add(lanes, make_plan(99))
    offer(lanes, well, 4)
    assert [lane for lane, _claim in take_all(lanes)] == [well, well]  # (20 - 12) // 4 is 2
    finish(lanes, taken[0], proven=False)
    assert [lane for lane, _claim in take_all(lanes)] == [hanging[10]]


def test_a_proven_lane_leaves_sockets_for_others_the_more_are_taken() -> None:
    lanes = make_lanes(sockets=100, at_work=1_000)
    offer(lanes, add(lanes, make_plan(1, cap=1_000)), 500)
    assert len(take_all(lanes)) == 20  # the twenty-first finds (100 - 20) // 4 others' places
    other = add(lanes, make_plan(2))
    offer(lanes, other)
    assert [lane for lane, _claim in take_all(lanes)] == [other]


@pytest.mark.parametrize(("sockets", "share"), [(1, 0.5), (2, 0.1), (3, 0.0)])
def test_at_least_one_unproven_request_may_go_out(sockets: int, share: float) -> None:
    lanes = make_lanes(sockets=sockets, unproven_share=share)
    offer(lanes, add(lanes, make_plan(1), proven=False))
    assert len(take_all(lanes)) == 1


def test_a_lane_is_not_served_above_its_rate_and_wakes_when_it_may_go_on() -> None:
    lanes = make_lanes()
    offer(lanes, add(lanes, make_plan(1, rate=3)), 7)
    assert len(take_all(lanes)) == 3
    assert lanes.wakes_at() == NOW + 1_000
    assert take_all(lanes, NOW + 999) == []
    assert len(take_all(lanes, NOW + 1_000)) == 3


def test_the_endpoints_of_an_application_share_its_rate() -> None:
    lanes = make_lanes()
    for number in (1, 2, 3):
        offer(lanes, add(lanes, make_plan(number, shared_rate=4)), 4)
    assert len(take_all(lanes)) == 4
    assert len(take_all(lanes, NOW + 1_000)) == 4


def test_an_endpoints_new_rate_is_not_taken_for_its_applications() -> None:
    lanes = make_lanes()
    lane = add(lanes, make_plan(1, shared_rate=4))
    add(lanes, make_plan(1, shared_rate=4, rate=4, revision=2))
    offer(lanes, lane, 8)
    assert len(take_all(lanes)) == 4


def test_a_rate_is_kept_over_a_change_of_something_else() -> None:
    lanes = make_lanes()
    lane = add(lanes, make_plan(1, rate=2))
    offer(lanes, lane, 5)
    assert len(take_all(lanes)) == 2
    lanes.lane(make_plan(1, rate=2, revision=2), None, NOW)
    assert take_all(lanes, NOW + 999) == []


def test_a_lane_that_waits_for_its_rate_goes_on_when_the_clock_was_set_back() -> None:
    lanes = make_lanes()
    offer(lanes, add(lanes, make_plan(1, rate=1)), 2)
    assert len(take_all(lanes)) == 1
    back = NOW - 3_600_000
    assert take_all(lanes, back) == []
    wakes_at = lanes.wakes_at()
    assert wakes_at is not None
    assert wakes_at <= back + 1_000
    assert len(take_all(lanes, wakes_at)) == 1


# -- births, room -------------------------------------------------------------------------


def test_a_place_is_promised_only_where_the_delivery_can_go_out_next() -> None:
    lanes = make_lanes(stock=3, stock_bytes=100)
    one, two, three, four = (add(lanes, make_plan(number)) for number in range(1, 5))
    assert lanes.reserve(one, 10, NOW)
    assert not lanes.reserve(two, 91, NOW)
    assert lanes.reserve(two, 90, NOW)
    assert not lanes.reserve(three, 1, NOW)
    lanes.withdraw(two, 90)
    assert lanes.reserve(two, 0, NOW)
    assert lanes.reserve(three, 0, NOW)
    assert not lanes.reserve(four, 0, NOW)
    lanes.withdraw(two, 0)
    lanes.withdraw(three, 0)
    lanes.withdraw(one, 10)
    assert (lanes.stock, lanes.stock_bytes, one.reserved) == (0, 0, 0)


def test_held_ordered_limited_and_backlogged_lanes_have_nothing_born_claimed() -> None:
    lanes = make_lanes()
    held = add(lanes, make_plan(1))
    held.held_until = NOW + 1
    backlogged = add(lanes, make_plan(2))
    backlogged.backlog = True
    ordered = add(lanes, make_plan(3, ordered=True))
    limited = add(lanes, make_plan(4, rate=5))
    for lane in (held, backlogged, ordered, limited):
        assert not lanes.reserve(lane, 1, NOW)
    assert lanes.reserve(held, 1, NOW + 1)


def test_an_unproven_lane_has_room_for_one_and_a_proven_one_for_eight_windows() -> None:
    lanes = make_lanes()
    lane = add(lanes, make_plan(1, cap=4), proven=False)
    assert lane.room() == 1
    lane.window.succeed()
    assert lane.room() == 16
    offer(lanes, lane, 3)
    assert lane.room() == 13
    for _ in range(5):
        lane.breaker.fail(NOW)
    assert lane.room() < 1


def answer(lane: Lane, took: int) -> None:
    """Its answers have taken so long for a while."""
    for _ in range(50):
        lane.answered(took)


@pytest.mark.parametrize(
    ("took", "windows"), [(0, 8), (60, 8), (100, 5), (200, 3), (900, 2), (9_000, 2)]
)
def test_the_longer_a_lanes_answers_take_the_less_of_it_waits_in_memory(
    took: int, windows: int
) -> None:
    lanes = make_lanes()
    lane = add(lanes, make_plan(1, cap=10))
    lane.took = took
    assert lanes.room_of(lane) == 10 * windows
    assert lane.slow == (took > 1_000)


def test_one_long_answer_makes_no_lane_slow_and_some_short_ones_make_it_quick_again() -> None:
    lane = add(make_lanes(), make_plan(1))
    lane.answered(5_000)
    said = [lane.slow]
    lane.answered(5_000)
    said.append(lane.slow)
    answer(lane, 5)
    assert [*said, lane.slow] == [False, True, False]
    assert lane.room() == 8 * 8


def test_a_rate_limited_lane_holds_what_it_may_begin_in_four_seconds() -> None:
    lanes = make_lanes()
    limited = add(lanes, make_plan(1, cap=64, rate=2))
    shared = add(lanes, make_plan(2, cap=64, rate=50, shared_rate=3, application_id=2))
    swift = add(lanes, make_plan(3, cap=8, rate=1_000))
    assert [lanes.room_of(lane) for lane in (limited, shared, swift)] == [8, 12, 64]
    offer(lanes, limited, 8)
    assert lanes.room_of(limited) == 0
    assert len(take_all(lanes)) == 2  # what is under way does not count
    assert lanes.room_of(limited) == 2


@given(count=st.integers(1, 20), paces=st.lists(st.sampled_from((0, 100, 5_000)), min_size=1))
def test_when_some_lanes_take_what_they_may_there_is_room_for_another(
    count: int, paces: list[int]
) -> None:
    lanes = make_lanes()
    for number in range(count):
        lane = add(lanes, make_plan(number, cap=1_000))
        answer(lane, paces[number % len(paces)])
        while lanes.room_of(lane) > 0:
            lanes.offer(lane, make_claim(number), reserved=False)
    another = add(lanes, make_plan(count))
    assert lanes.reserve(another, 10, NOW)


@given(count=st.integers(1, 600))
def test_slow_lanes_that_have_more_than_one_claim_leave_a_quarter_to_the_others(count: int) -> None:
    lanes = make_lanes(stock=1_000, stock_bytes=1_000_000)
    for number in range(count):
        lane = add(lanes, make_plan(number, cap=64))
        answer(lane, 5_000)
        while lanes.room_of(lane) > 0:
            lanes.offer(lane, make_claim(number), reserved=False)
        assert lane.held == 1 or lanes.free >= 250
        assert lane.held == 1 or lanes.room_of(add(lanes, make_plan(1_000, cap=64))) >= 62


def test_large_payloads_are_counted_as_the_places_whose_bytes_they_take() -> None:
    lanes = make_lanes(stock=1_000, stock_bytes=1_000_000)
    lane = add(lanes, make_plan(1, cap=64))
    lanes.offer(lane, make_claim(1, size=600_000), reserved=False)
    assert (lanes.free, lanes.room()) == (400, 275)
    assert lanes.room_of(lane) == 99
    assert lanes.room_of(add(lanes, make_plan(2, cap=64))) == 100


def test_shedding_keeps_the_oldest_claims() -> None:
    lanes = make_lanes()
    lane = add(lanes, make_plan(1))
    first, retries = offer(lanes, lane, 3), offer(lanes, lane, 2, attempts=1)
    shed = lanes.shed(lane, 4)
    assert shed == [retries[1]]
    assert set(lanes.shed(lane, 1)) == set(first[1:]) | {retries[0]}
    assert list(lane.waiting()) == [first[0]]
    assert lanes.shed(lane, 0) == [first[0]]
    assert (lanes.stock, lanes.stock_bytes) == (0, 0)
    assert lanes.next(NOW) is None


def test_claims_are_given_back_before_their_lease_ends() -> None:
    lanes = make_lanes()
    lane = add(lanes, make_plan(1))
    for lease in (5, 10, 15):
        lanes.offer(lane, make_claim(1, lease_until=NOW + lease), reserved=False)
    lanes.offer(lane, make_claim(1, attempts=1, lease_until=NOW + 7), reserved=False)
    assert sorted(claim.lease_until - NOW for claim in lanes.shed_late(NOW + 10)) == [5, 7]
    assert (lanes.stock, lane.stock) == (2, 2)


def test_an_older_plan_does_not_replace_a_newer_one() -> None:
    lanes = make_lanes()
    lane = lanes.lane(make_plan(1, revision=5, cap=3), None, NOW)
    assert lanes.lane(make_plan(1, revision=4, cap=9), None, NOW) is lane
    assert lane.plan.endpoint.revision == 5
    lanes.lane(make_plan(1, revision=6, cap=2), None, NOW)
    assert (lane.plan.endpoint.revision, lane.window.cap) == (6, 2)


def test_lanes_at_rest_are_forgotten_and_those_with_anything_in_memory_are_not() -> None:
    lanes = make_lanes()
    add(lanes, make_plan(1, application_id=1, shared_rate=3))
    waiting = add(lanes, make_plan(2, application_id=2, shared_rate=3))
    backlogged = add(lanes, make_plan(3))
    promised = add(lanes, make_plan(4))
    rests, paused = add(lanes, make_plan(5)), add(lanes, make_plan(6, paused=True))
    backlogged.backlog = True
    offer(lanes, waiting)
    assert lanes.reserve(promised, 1, NOW)
    rests.held_until, paused.held_until = NOW + 2, NEVER
    lanes.forget_idle(NOW + 1)
    assert set(lanes.by_endpoint) == {2, 3, 4, 5}


# -- nobody is forgotten ------------------------------------------------------------------


def test_lanes_without_a_socket_go_on_when_the_one_brought_back_has_nothing_left() -> None:
    lanes = make_lanes(sockets=2, at_work=1_000)
    stalled = [add(lanes, make_plan(number), proven=False) for number in range(4)]
    for lane in stalled:
        offer(lanes, lane)
    (turn,) = take_all(lanes)
    lanes.shed(stalled[1], 0)
    finish(lanes, turn, proven=False)
    assert [lane for lane, _claim in take_all(lanes)] == [stalled[2]]


def test_a_claim_offered_to_a_lane_without_a_socket_is_served_though_nothing_else_ends() -> None:
    lanes = make_lanes(sockets=2, at_work=1_000)
    one, other = (add(lanes, make_plan(number), proven=False) for number in (1, 2))
    offer(lanes, one)
    offer(lanes, other)
    (turn,) = take_all(lanes)
    lanes.shed(other, 0)
    finish(lanes, turn, proven=False)
    assert take_all(lanes) == []
    (claim,) = offer(lanes, other)
    assert take_all(lanes) == [(other, claim)]


def test_a_lane_behind_one_that_waits_for_its_rate_gets_the_free_socket() -> None:
    lanes = make_lanes(sockets=2, at_work=1_000)
    busy, limited, free = (
        add(lanes, plan, proven=False)
        for plan in (make_plan(1), make_plan(2, rate=1), make_plan(3))
    )
    assert limited.own_rate is not None
    limited.own_rate.start(NOW)
    for lane in (busy, limited, free):
        offer(lanes, lane)
    (turn,) = take_all(lanes)
    finish(lanes, turn, proven=False)
    assert [lane for lane, _claim in take_all(lanes)] == [free]
