"""How fast one endpoint may be called: its rate limit, its window, its breaker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marketbell.delivery.pacing import LONGEST_WAIT, Breaker, RateLimit, Window

NOW = 1_767_225_600_000

rates = st.integers(1, 40)
pauses = st.lists(st.integers(0, 400), max_size=120)


def start_all(limit: RateLimit, pauses: list[int]) -> list[int]:
    """Starts that come after these pauses and wait as long as the limit asks; their instants."""
    now, starts = NOW, []
    for pause in pauses:
        now = limit.free_at(now + pause)
        limit.start(now)
        starts.append(now)
    return starts


def most_in_a_second(starts: list[int]) -> int:
    return max(
        (sum(1 for other in starts if start <= other < start + 1000) for start in starts), default=0
    )


# -- rate limit ---------------------------------------------------------------------------


@given(rate=rates, pauses=pauses)
def test_no_second_ever_has_more_starts_than_the_rate(rate: int, pauses: list[int]) -> None:
    assert most_in_a_second(start_all(RateLimit(rate), pauses)) <= rate


@given(rate=rates, count=st.integers(0, 150))
def test_a_rate_is_used_to_the_full_when_there_is_enough_to_send(rate: int, count: int) -> None:
    starts = start_all(RateLimit(rate), [0] * count)
    assert starts == [NOW + 1000 * (place // rate) for place in range(count)]


@given(rate=rates, pauses=pauses, wait=st.integers(0, 3000))
def test_a_start_is_allowed_at_once_or_within_a_second(
    rate: int, pauses: list[int], wait: int
) -> None:
    limit = RateLimit(rate)
    starts = start_all(limit, pauses)
    now = (starts[-1] if starts else NOW) + wait
    assert now <= limit.free_at(now) <= now + LONGEST_WAIT
    if wait >= LONGEST_WAIT:
        assert limit.free_at(now) == now


@given(
    rate=rates,
    steps=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5000)), max_size=120),
)
def test_a_clock_that_is_set_back_lets_nobody_exceed_the_rate_nor_wait_longer(
    rate: int, steps: list[tuple[int, int]]
) -> None:
    """Each step lets real time pass, then sets the clock back by so much."""
    limit = RateLimit(rate)
    real, behind, starts = NOW, 0, []
    for pause, back in steps:
        real += pause
        behind += back
        wait = limit.free_at(real - behind) - (real - behind)
        assert 0 <= wait <= LONGEST_WAIT
        real += wait
        limit.start(real - behind)
        starts.append(real)
    assert most_in_a_second(starts) <= rate


# -- window -------------------------------------------------------------------------------


def test_a_window_begins_with_one_and_doubles_with_each_success_up_to_its_cap() -> None:
    window = Window(10)
    sizes = [window.size]
    for _ in range(5):
        window.succeed()
        sizes.append(window.size)
    assert sizes == [1, 2, 4, 8, 10, 10]
    assert window.proven


def test_an_answer_that_is_no_success_proves_the_endpoint_and_leaves_the_window() -> None:
    window = Window(10)
    window.answer()
    assert (window.proven, window.size) == (True, 1)
    window.succeed()
    window.answer()
    assert window.size == 2


def test_silence_sets_the_window_back_to_one_unproven_request() -> None:
    window = Window(10)
    window.succeed()
    window.fall_silent()
    assert (window.proven, window.size) == (False, 1)


def test_narrowing_leaves_one_at_a_time_and_does_not_unprove() -> None:
    window = Window(10)
    window.succeed()
    window.succeed()
    window.narrow()
    assert (window.proven, window.size) == (True, 1)


@given(
    cap=st.integers(1, 500),
    events=st.lists(
        st.sampled_from(("succeed", "answer", "fall_silent", "narrow")) | st.integers(1, 500)
    ),
)
def test_a_window_is_never_below_one_nor_above_its_cap(cap: int, events: list[str | int]) -> None:
    window = Window(cap)
    for event in events:
        if isinstance(event, int):
            window.set_cap(event)
        else:
            getattr(window, event)()
        assert 1 <= window.size <= window.cap


# -- breaker ------------------------------------------------------------------------------


def test_a_breaker_opens_after_a_run_of_failures() -> None:
    breaker = Breaker(3, 1_000)
    assert [breaker.fail(NOW) for _ in range(3)] == [0, 0, NOW + 1_000]
    assert breaker.opened == 1


def test_a_success_closes_the_breaker_and_the_run_begins_anew() -> None:
    breaker = Breaker(3, 1_000)
    for _ in range(5):
        breaker.fail(NOW)
    breaker.succeed()
    assert breaker.opened == 0
    assert [breaker.fail(NOW + 1) for _ in range(3)] == [0, 0, NOW + 1_001]


def test_each_failed_probe_doubles_the_rest_up_to_sixteen_times_the_first() -> None:
    breaker, now, rests = Breaker(1, 1_000), NOW, []
    for _ in range(7):
        until = breaker.fail(now)
        rests.append(until - now)
        now = until
    assert rests == [1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000]


def test_what_was_under_way_when_the_breaker_opened_does_not_lengthen_the_rest() -> None:
    breaker = Breaker(3, 1_000)
    rests = [breaker.fail(NOW + late) for late in range(40)]
    assert rests == [0, 0] + [NOW + 1_002] * 38
    assert breaker.fail(NOW + 1_002) == NOW + 3_002


def test_a_clock_that_is_set_back_does_not_keep_a_breaker_at_its_old_rest() -> None:
    breaker = Breaker(1, 1_000)
    breaker.fail(NOW)
    assert breaker.fail(NOW - 3_600_000) == NOW - 3_600_000 + 2_000


def test_a_breaker_that_fails_for_ever_stays_cheap() -> None:
    breaker = Breaker(5, 1_000)
    breaker.opened = 10**12
    assert breaker.fail(NOW) == NOW + 16_000
