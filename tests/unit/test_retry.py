"""What follows from an attempt: the three schedules to the millisecond, 410, Retry-After, horizons."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.delivery.retry import THROTTLING, Ended, decide, next_due, parse_retry_after
from marketbell.dialects import ovoko, sellercenter, standard
from marketbell.dialects.base import Schedule, Signal
from marketbell.model import DeliveryState, Outcome, Verdict
from marketbell.testing import FakeClock

NOW = 1_767_225_600_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
RETRY_AFTER_MAX = 6 * HOUR
NONE: frozenset[Signal] = frozenset()
EVERY = standard.EVERY_SIGNAL

instants = st.integers(min_value=0, max_value=1 << 42)
spreads = st.floats(min_value=0, max_value=1, exclude_max=True)
statuses = st.integers(min_value=0, max_value=599)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    return Schedule(
        waits=tuple(draw(st.lists(st.integers(0, 40 * DAY), max_size=12))),
        repeat_last=draw(st.booleans()),
        horizon=draw(st.none() | st.integers(0, 60 * DAY)),
        jitter=draw(st.sampled_from((0.0, 0.1, 0.2, 0.5))),
    )


def ended(
    *,
    outcome: Outcome = Outcome.REJECTED,
    status: int = 500,
    retry_after: str | None = None,
    ended_at: int = NOW,
    born_at: int = NOW,
    attempt_count: int = 0,
) -> Ended:
    return Ended(
        outcome=outcome,
        status=status,
        retry_after=retry_after,
        ended_at=ended_at,
        born_at=born_at,
        attempt_count=attempt_count,
    )


def judge(
    what: Ended,
    schedule: Schedule,
    honours: frozenset[Signal] = NONE,
    *,
    spread: float = 0.5,
    retry_after_max: int = RETRY_AFTER_MAX,
) -> Verdict:
    return decide(
        what, schedule=schedule, honours=honours, retry_after_max=retry_after_max, spread=spread
    )


def walk(
    schedule: Schedule,
    *,
    attempt_takes: int = 0,
    late_by: int = 0,
    honours: frozenset[Signal] = NONE,
) -> list[int]:
    """When each attempt of an ever failing delivery begins, counted from its birth."""
    clock = FakeClock(NOW, still=True)
    started: list[int] = []
    while True:
        started.append(clock.now() - NOW)
        clock.advance(attempt_takes)
        verdict = judge(
            ended(ended_at=clock.now(), attempt_count=len(started) - 1), schedule, honours
        )
        if verdict.state is DeliveryState.FAILED:
            return started
        assert verdict.state is DeliveryState.PENDING
        clock.advance_to(verdict.due_at + late_by)


# -- the documents' clocks ----------------------------------------------------------------


def test_ovoko_resends_after_7_35_and_175_seconds_and_then_gives_up() -> None:
    assert walk(ovoko.SCHEDULE) == [0, 7_000, 42_000, 217_000]


@given(takes=st.integers(0, 60_000), late=st.integers(0, 60_000), spread=spreads)
def test_ovokos_waits_begin_at_the_end_of_the_attempt_that_failed(
    takes: int, late: int, spread: float
) -> None:
    started = walk(ovoko.SCHEDULE, attempt_takes=takes, late_by=late)
    waited = [later - before for before, later in itertools.pairwise(started)]
    assert waited == [takes + wait + late for wait in (7_000, 35_000, 175_000)]
    verdict = judge(ended(), ovoko.SCHEDULE, spread=spread)
    assert verdict.due_at == NOW + 7_000


def test_sellercenter_makes_37_retries_the_last_after_29_days_18_hours_and_46_minutes() -> None:
    started = walk(sellercenter.SCHEDULE)
    assert len(started) == 38
    assert started[-1] == 42_886 * MINUTE == 29 * DAY + 18 * HOUR + 46 * MINUTE
    minutes = [(later - before) // MINUTE for before, later in itertools.pairwise(started)]
    assert minutes == [1, 5, 10, 30, 60, 120, 300, 600] + [1440] * 29


@given(takes=st.integers(0, 30_000), late=st.integers(0, 10_000))
def test_sellercenter_never_tries_after_30_days_nor_stops_a_day_before(
    takes: int, late: int
) -> None:
    started = walk(sellercenter.SCHEDULE, attempt_takes=takes, late_by=late)
    assert started[-1] - late <= 30 * DAY < started[-1] + takes + DAY
    assert len(started) == 38


def test_the_standard_schedule_is_seven_resends_and_then_fails() -> None:
    started = walk(standard.SCHEDULE, honours=EVERY)
    waits = [later - before for before, later in itertools.pairwise(started)]
    assert waits == [
        5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR,
    ]  # fmt: skip


@given(failures=st.integers(1, 7), spread=spreads)
def test_the_standard_wait_is_spread_by_a_fifth_to_either_side(
    failures: int, spread: float
) -> None:
    wait = standard.SCHEDULE.waits[failures - 1]
    due_at = next_due(
        standard.SCHEDULE, failures=failures, ended_at=NOW, born_at=NOW, spread=spread
    )
    assert due_at is not None
    assert round(wait * 0.8) <= due_at - NOW <= round(wait * 1.2)


def test_jitter_reaches_both_ends_of_its_range() -> None:
    def wait(spread: float) -> int:
        due_at = next_due(standard.SCHEDULE, failures=2, ended_at=0, born_at=0, spread=spread)
        assert due_at is not None
        return due_at

    assert wait(0.0) == 240_000
    assert wait(0.5) == 300_000
    assert wait(1 - 2**-53) == 360_000


# -- what the step depends on -------------------------------------------------------------


@given(schedule=schedules(), failures=st.integers(1, 100), ended_at=instants, spread=spreads)
def test_an_attempt_is_never_due_before_its_wait_is_over(
    schedule: Schedule, failures: int, ended_at: int, spread: float
) -> None:
    due_at = next_due(
        schedule, failures=failures, ended_at=ended_at, born_at=ended_at, spread=spread
    )
    if due_at is not None:
        wait = schedule.waits[min(failures, len(schedule.waits)) - 1]
        assert due_at - ended_at >= int(wait * (1 - schedule.jitter))
        assert due_at - ended_at <= wait * (1 + schedule.jitter) + 1
        if not schedule.jitter:
            assert due_at == ended_at + wait


@given(
    schedule=schedules(),
    horizon=st.integers(0, 60 * DAY),
    failures=st.integers(1, 100),
    ended_at=instants,
    age=st.integers(0, 90 * DAY),
)
def test_nothing_is_due_beyond_the_horizon_and_the_horizon_itself_is_inside(
    schedule: Schedule, horizon: int, failures: int, ended_at: int, age: int
) -> None:
    schedule = msgspec.structs.replace(schedule, horizon=horizon, jitter=0.0)
    born_at = ended_at - age
    due_at = next_due(schedule, failures=failures, ended_at=ended_at, born_at=born_at)
    last = len(schedule.waits)
    has_step = failures <= last or (schedule.repeat_last and last > 0)
    if due_at is None:
        assert (
            not has_step or ended_at + schedule.waits[min(failures, last) - 1] > born_at + horizon
        )
    else:
        assert has_step
        assert due_at <= born_at + horizon


@given(schedule=schedules(), count=st.integers(0, 80), ended_at=instants, spread=spreads)
def test_the_count_of_recorded_attempts_alone_chooses_the_step(
    schedule: Schedule, count: int, ended_at: int, spread: float
) -> None:
    """Whatever was lost between two recorded attempts costs no step: nothing else is looked at."""
    verdict = judge(
        ended(ended_at=ended_at, born_at=ended_at, attempt_count=count), schedule, spread=spread
    )
    due_at = next_due(
        schedule, failures=count + 1, ended_at=ended_at, born_at=ended_at, spread=spread
    )
    if due_at is None:
        assert verdict == Verdict(state=DeliveryState.FAILED)
    else:
        assert verdict == Verdict(state=DeliveryState.PENDING, due_at=due_at)


@given(retries=st.integers(0, 64), waits=st.lists(st.integers(1, DAY), min_size=64, max_size=64))
def test_a_delivery_that_always_fails_is_tried_once_more_than_it_has_waits(
    retries: int, waits: list[int]
) -> None:
    schedule = Schedule(waits=tuple(waits[:retries]))
    assert len(walk(schedule)) == retries + 1


# -- success, 410 -------------------------------------------------------------------------


@given(
    schedule=schedules(), status=statuses, count=st.integers(0, 80), honours=st.sets(st.sampled_from(Signal)),
    retry_after=st.none() | st.text(max_size=30),
)  # fmt: skip
def test_a_success_is_delivered_whatever_else_was_said(
    schedule: Schedule, status: int, count: int, honours: set[Signal], retry_after: str | None
) -> None:
    what = ended(
        outcome=Outcome.ACCEPTED, status=status, attempt_count=count, retry_after=retry_after
    )
    assert judge(what, schedule, frozenset(honours)) == Verdict(state=DeliveryState.DELIVERED)


def test_410_ends_the_delivery_and_disables_the_endpoint_where_it_is_honoured() -> None:
    verdict = judge(ended(status=410), standard.SCHEDULE, EVERY)
    assert verdict == Verdict(state=DeliveryState.FAILED, disable_endpoint=True)


@pytest.mark.parametrize("schedule", [ovoko.SCHEDULE, sellercenter.SCHEDULE])
def test_410_is_one_more_failure_where_the_document_fixes_the_clock(schedule: Schedule) -> None:
    verdict = judge(ended(status=410), schedule, NONE)
    assert verdict == Verdict(state=DeliveryState.PENDING, due_at=NOW + schedule.waits[0])


# -- Retry-After --------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(THROTTLING))
def test_retry_after_lets_the_lane_rest_and_moves_the_attempt_behind_the_rest(status: int) -> None:
    verdict = judge(ended(status=status, retry_after="120"), standard.SCHEDULE, EVERY)
    assert verdict.hold_until == NOW + 120_000
    assert verdict.due_at == NOW + 120_000


def test_a_rest_that_is_shorter_than_the_wait_leaves_the_wait() -> None:
    verdict = judge(ended(status=429, retry_after="2", attempt_count=1), standard.SCHEDULE, EVERY)
    assert verdict.hold_until == NOW + 2_000
    assert verdict.due_at == NOW + 5 * MINUTE


def test_a_rest_is_never_longer_than_its_bound() -> None:
    verdict = judge(ended(status=503, retry_after="99999999999999"), standard.SCHEDULE, EVERY)
    assert verdict.hold_until == NOW + RETRY_AFTER_MAX


def test_the_lane_rests_even_if_the_delivery_has_failed_for_good() -> None:
    verdict = judge(ended(status=429, retry_after="60", attempt_count=7), standard.SCHEDULE, EVERY)
    assert verdict == Verdict(state=DeliveryState.FAILED, hold_until=NOW + 60_000)


@given(status=statuses, retry_after=st.sampled_from(("120", "0", "Fri, 02 Jan 2026 00:00:00 GMT")))
def test_fixed_clocks_honour_no_retry_after(status: int, retry_after: str) -> None:
    for schedule in (ovoko.SCHEDULE, sellercenter.SCHEDULE):
        verdict = judge(ended(status=status, retry_after=retry_after), schedule, NONE)
        assert verdict == Verdict(state=DeliveryState.PENDING, due_at=NOW + schedule.waits[0])


@given(status=statuses.filter(lambda status: status not in THROTTLING and status != 410))
def test_retry_after_counts_only_with_an_answer_that_asks_for_less(status: int) -> None:
    verdict = judge(ended(status=status, retry_after="120"), standard.SCHEDULE, EVERY)
    assert verdict == Verdict(state=DeliveryState.PENDING, due_at=NOW + 5_000)


@given(
    status=statuses, retry_after=st.none() | st.text(max_size=40), schedule=schedules(),
    bound=st.integers(0, 2 * DAY), count=st.integers(0, 20),
)  # fmt: skip
def test_whatever_a_receiver_says_the_lane_rests_within_its_bound(
    status: int, retry_after: str | None, schedule: Schedule, bound: int, count: int
) -> None:
    verdict = judge(
        ended(status=status, retry_after=retry_after, attempt_count=count),
        schedule,
        EVERY,
        retry_after_max=bound,
    )
    assert verdict.hold_until == 0 or NOW <= verdict.hold_until <= NOW + bound
    if verdict.state is DeliveryState.PENDING:
        assert verdict.due_at >= NOW


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", 0),
        ("120", 120_000),
        (" 7 ", 7_000),
        ("0000000000000007", 7_000),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60_000),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60_000),
        ("Thu Jan  1 00:01:00 2026", 60_000),
        ("Thu, 01 Jan 2026 02:01:00 +0200", 60_000),
        ("Wed, 31 Dec 2025 23:59:59 GMT", 0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Thu, 32 Jan 2026 00:01:00 GMT", None),
        ("Thu, 01 Jan 2026 00:01:00 +99999999999999999999", None),
        ("Thu, 01 Jan " + "9" * 5_000 + " 00:01:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(value: str | None, wait: int | None) -> None:
    assert parse_retry_after(value, NOW) == wait


@given(seconds=st.integers(0, 10**9))
def test_retry_after_in_seconds_is_that_wait(seconds: int) -> None:
    assert parse_retry_after(str(seconds), NOW) == seconds * 1000


@given(seconds=st.integers(0, 4_000_000_000), now=st.integers(0, 1 << 42))
def test_retry_after_as_a_date_is_the_wait_until_then(seconds: int, now: int) -> None:
    value = format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
    assert parse_retry_after(value, now) == max(0, seconds * 1000 - now)


@given(
    value=st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} [\d:]{1,9} ?[+-]?\d*")
)
def test_no_text_of_a_receiver_breaks_the_reading(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or wait >= 0
