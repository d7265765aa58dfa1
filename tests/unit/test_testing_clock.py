"""The clock that tests turn."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.clock import Clock
from marketbell.testing import FakeClock

START = 1_000_000


def test_it_is_a_clock_that_stands_still() -> None:
    clock: Clock = FakeClock(START)
    assert clock.now() == clock.now() == START
    assert clock.speed == 1.0


def test_an_advance_moves_both_axes() -> None:
    clock = FakeClock(START, still=True)
    before = clock.monotonic()
    clock.advance(1_500)
    assert clock.now() == START + 1_500
    assert clock.monotonic() == pytest.approx(before + 1.5)


def test_monotonic_is_real_unless_it_is_still() -> None:
    clock, still = FakeClock(START), FakeClock(START, still=True)
    first, second = clock.monotonic(), clock.monotonic()
    assert second > first
    assert still.monotonic() == still.monotonic()
    clock.advance(60_000)
    assert clock.monotonic() >= second + 60


def test_time_does_not_pass_backwards() -> None:
    with pytest.raises(ValueError, match="jump"):
        FakeClock(START).advance(-1)


def test_timers_fire_in_order_each_at_its_own_instant() -> None:
    clock, seen = FakeClock(START), list[tuple[str, int]]()
    clock.call_at(START + 200, lambda: seen.append(("late", clock.now())))
    clock.call_at(START + 100, lambda: seen.append(("early", clock.now())))
    clock.call_at(START + 100, lambda: seen.append(("early too", clock.now())))
    clock.advance(99)
    assert seen == []
    clock.advance_to(START + 1_000)
    assert seen == [("early", START + 100), ("early too", START + 100), ("late", START + 200)]
    assert clock.now() == START + 1_000


def test_a_timer_set_by_a_timer_fires_in_the_same_advance() -> None:
    clock, seen = FakeClock(START), list[int]()

    def again() -> None:
        seen.append(clock.now())
        clock.call_at(clock.now() + 10, again)

    clock.call_at(START + 10, again)
    clock.advance(35)
    assert seen == [START + 10, START + 20, START + 30]
    assert clock.next_timer == START + 40


def test_a_cancelled_timer_never_fires() -> None:
    clock, seen = FakeClock(START), list[int]()
    clock.call_at(START + 10, lambda: seen.append(1)).cancel()
    assert clock.next_timer is None
    clock.advance(100)
    assert seen == []


async def test_what_is_due_already_is_called_soon_from_the_loop() -> None:
    clock, fired = FakeClock(START), asyncio.Event()
    clock.call_at(START - 5, fired.set)
    assert not fired.is_set()
    async with asyncio.timeout(60):
        await fired.wait()
    assert clock.now() == START


def test_a_jump_moves_the_hands_and_fires_nothing() -> None:
    clock, seen = FakeClock(START, still=True), list[int]()
    clock.call_at(START + 100, lambda: seen.append(clock.now()))
    before = clock.monotonic()
    clock.jump(3_600_000)
    assert clock.now() == START + 3_600_000
    assert clock.monotonic() == before
    clock.advance(99)
    assert seen == []
    clock.jump(-7_200_000)
    clock.advance(1)
    assert seen == [START + 100 - 3_600_000]


@given(st.lists(st.integers(0, 1_000), max_size=20), st.lists(st.integers(0, 400), max_size=6))
def test_however_time_is_cut_every_timer_fires_once_at_its_instant(
    due: list[int], steps: list[int]
) -> None:
    clock, fired = FakeClock(START), list[tuple[int, int]]()

    def set_timer(when: int) -> None:
        clock.call_at(START + when, lambda: fired.append((when, clock.now())))

    for when in due:
        if when > 0:
            set_timer(when)
    for step in steps:
        clock.advance(step)
    passed = sum(steps)
    assert fired == [(when, START + when) for when in sorted(due) if 0 < when <= passed]


async def test_run_until_goes_on_only_while_nothing_is_at_work() -> None:
    clock, busy, seen = FakeClock(START), set[int](), list[int]()

    async def work(number: int) -> None:
        """A task that takes several turns of the loop, in which the clock must stand."""
        await asyncio.sleep(0)
        busy.add(number)
        began = clock.now()
        for _ in range(100):
            await asyncio.sleep(0)
        assert clock.now() == began
        seen.append(began)
        busy.discard(number)
        if number < 4:
            clock.call_at(clock.now() + 1_000, lambda: start(number + 1))

    tasks = []

    def start(number: int) -> None:
        tasks.append(asyncio.create_task(work(number)))

    clock.call_at(START + 1_000, lambda: start(1))
    await clock.run_until(START + 60_000, lambda: not busy)
    assert seen == [START + 1_000 * number for number in (1, 2, 3, 4)]
    assert clock.now() == START + 60_000
    await asyncio.gather(*tasks)


async def test_run_until_gives_up_on_work_that_does_not_end() -> None:
    clock = FakeClock(START)
    with pytest.raises(TimeoutError):
        await clock.run_until(START + 1, lambda: False, limit_s=0.02)
    assert clock.now() == START
