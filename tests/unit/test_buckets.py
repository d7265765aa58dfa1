"""Token buckets: never more than they hold, and what they promise comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marketbell.control.buckets import Bucket

STEPS = st.lists(st.floats(-5.0, 5.0), max_size=60)


def test_it_holds_so_much_and_gains_so_much() -> None:
    bucket = Bucket(rate=2.0, size=3.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(0.49) > 0.0
    assert bucket.take(0.5) == 0.0
    assert bucket.take(100.0) == bucket.take(100.0) == bucket.take(100.0) == 0.0
    assert bucket.take(100.0) == 0.5


def test_looking_takes_nothing() -> None:
    bucket = Bucket(rate=1.0, size=1.0, now=0.0)
    assert [bucket.wait(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0) == 0.0
    assert bucket.wait(0.0) == 1.0


@given(STEPS)
def test_never_more_than_size_and_gain_in_any_stretch(steps: list[float]) -> None:
    bucket = Bucket(rate=2.0, size=3.0, now=0.0)
    now = forward = 0.0
    taken = 0
    for step in steps:
        now += step
        forward += max(0.0, step)
        taken += bucket.take(now) == 0.0
        assert taken <= 3 + 2 * forward + 1e-6


@given(STEPS)
def test_who_waits_as_told_is_let_through(steps: list[float]) -> None:
    bucket = Bucket(rate=3.0, size=2.0, now=0.0)
    now = 0.0
    for step in steps:
        now += abs(step)
        wait_s = bucket.take(now)
        if wait_s:
            now += wait_s + 1e-6
            assert bucket.take(now) == 0.0
