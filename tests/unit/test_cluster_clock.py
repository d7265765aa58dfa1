"""The clock that nodes share: the database's, whatever their own show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marketbell.clock import ClusterClock
from marketbell.testing import FakeClock

BASE = 1_900_000_000_000


def synced(clock: ClusterClock, own: FakeClock, ahead: int = 0, took: int = 0) -> None:
    """Ask a database whose clock is so far ahead of the machine's; the answer takes a while."""
    sent_s = own.monotonic()
    own.advance(took // 2)
    told = own.now() + ahead
    own.advance(took - took // 2)
    clock.sync(told, sent_s, own.monotonic())


def test_it_shows_the_databases_time_from_the_first_answer_on() -> None:
    own = FakeClock(BASE, still=True)
    clock = ClusterClock(own)
    assert clock.now() == BASE
    synced(clock, own, ahead=-2_000)
    assert abs(clock.now() - (own.now() - 2_000)) <= 1
    assert abs(clock.skew - 2_000) <= 1
    own.advance(60_000)
    assert abs(clock.now() - (own.now() - 2_000)) <= 1
    assert clock.real_now() == clock.now()


def test_the_machines_clock_may_be_set_and_nothing_happens() -> None:
    own = FakeClock(BASE, still=True)
    clock = ClusterClock(own)
    synced(clock, own)
    before = clock.now()
    own.jump(3_600_000)
    assert clock.now() == before
    assert abs(clock.skew - 3_600_000) <= 1


def test_a_slow_answer_is_believed_less_than_a_quick_one() -> None:
    own = FakeClock(BASE, still=True)
    clock = ClusterClock(own)
    synced(clock, own, ahead=500, took=2)
    sent_s = own.monotonic()
    told = own.now() + 500
    own.advance(900)  # all of it on the way back: half of it would be an error of 450 ms
    clock.sync(told, sent_s, own.monotonic())
    own.advance(60_000)
    assert abs(clock.now() - (own.now() + 500)) <= 2


@given(st.lists(st.tuples(st.integers(-900, 900), st.integers(1, 3_000)), max_size=20))
def test_small_corrections_never_step_back_and_arrive(steps: list[tuple[int, int]]) -> None:
    own = FakeClock(BASE, still=True)
    clock = ClusterClock(own)
    synced(clock, own)
    shown, ahead = clock.now(), 0
    for ahead, passes in steps:
        synced(clock, own, ahead=ahead)
        for _ in range(5):
            own.advance(passes // 5)
            now = clock.now()
            assert shown <= now <= shown + 1.1 * (passes // 5) + 2
            shown = now
    for _ in range(9):  # as many answers as are remembered
        synced(clock, own, ahead=ahead)
    own.advance(20_000)
    assert abs(clock.now() - (own.now() + ahead)) <= 2


def test_what_a_person_sets_is_followed_at_once() -> None:
    own = FakeClock(BASE, still=True)
    clock = ClusterClock(own)
    synced(clock, own)
    for ahead in (7_200_000, -7_200_000):
        synced(clock, own, ahead=ahead)
        assert abs(clock.now() - (own.now() + ahead)) <= 1


async def test_it_calls_back_by_the_shared_time() -> None:
    own = FakeClock(BASE)
    clock = ClusterClock(own)
    synced(clock, own, ahead=5_000)
    called: list[int] = []
    timer = clock.call_at(clock.now() - 1, lambda: called.append(1))
    timer.cancel()
    assert called == []
