"""A wall clock that leaps ahead is not believed for an hour."""

from __future__ import annotations

import pytest

from marketbell.delivery.leaps import Leaps
from marketbell.testing import FakeClock

HOUR = 3_600_000
DAY = 24 * HOUR


def test_time_that_passes_is_no_leap() -> None:
    clock = FakeClock(still=True)
    leaps = Leaps(clock)
    for _ in range(10):
        clock.advance(DAY)
        assert not leaps.doubtful()


@pytest.mark.parametrize(("by", "doubted"), [(HOUR - 1, False), (HOUR, True), (-DAY, False)])
def test_an_hour_ahead_is_a_leap_and_less_or_back_is_none(by: int, *, doubted: bool) -> None:
    clock = FakeClock(still=True)
    leaps = Leaps(clock)
    clock.jump(by)
    assert leaps.doubtful() is doubted


def test_after_an_hour_the_clock_is_taken_for_right() -> None:
    clock = FakeClock(still=True)
    leaps = Leaps(clock)
    clock.jump(100 * DAY)
    assert leaps.doubtful()
    clock.advance(HOUR - 1)
    assert leaps.doubtful()
    clock.advance(1)
    assert not leaps.doubtful()


def test_a_clock_that_comes_back_is_believed_at_once() -> None:
    clock = FakeClock(still=True)
    leaps = Leaps(clock)
    clock.jump(100 * DAY)
    assert leaps.doubtful()
    clock.jump(-100 * DAY)
    assert not leaps.doubtful()
