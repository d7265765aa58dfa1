"""Deliveries of one key keep their order, whatever fails, and hold up nobody else."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, OrderOnFailure, Policy
from marketbell.testing import CLOSE, OK, Answer, FakeClock, Received, TestReceiver
from support.door import Door
from support.plane import DAY, Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
BY_PART: Final = Policy(order_by="/part", retry_schedule=(1_000, 1_000))
HOLDING: Final = Policy(
    order_by="/part", order_on_failure=OrderOnFailure.HOLD, retry_schedule=(1_000, 1_000)
)


def event(part: str | None, number: int) -> bytes:
    named = {} if part is None else {"part": part}
    return json.dumps({**named, "n": number}).encode()


def seen(shop: TestReceiver, part: str | None) -> list[int]:
    """The numbers of a part's events, in the order of their requests."""
    bodies = [json.loads(request.body) for request in shop.requests]
    return [body["n"] for body in bodies if body.get("part") == part]


async def test_events_of_one_key_arrive_one_after_the_other_as_they_were_kept(
    tmp_path: Path,
) -> None:
    at_work: Counter[str] = Counter()

    async def one_at_a_time(request: Received) -> Answer:
        part = json.loads(request.body)["part"]
        at_work[part] += 1
        assert at_work[part] == 1
        for _ in range(20):
            await asyncio.sleep(0)
        at_work[part] -= 1
        return OK

    async with (
        TestReceiver(one_at_a_time) as shop,
        Plane(tmp_path, SystemClock()) as plane,
    ):
        application = await plane.application(BY_PART)
        await plane.endpoint(application, shop.url)
        messages = await asyncio.gather(
            *(
                plane.publish(application, event(part, number))
                for number in range(20)
                for part in ("a", "b", "c")
            )
        )
        kept = [json.loads(one.payload) for one in sorted(messages, key=lambda one: one.id)]
        await shop.wait_for(60)
        await plane.settled()
        assert len(shop.requests) == 60
        for part in ("a", "b", "c"):
            assert seen(shop, part) == [body["n"] for body in kept if body["part"] == part]


async def test_a_failing_event_holds_its_key_until_it_is_delivered_and_no_other(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    tries = 0

    def answer(request: Received) -> Answer:
        nonlocal tries
        body = json.loads(request.body)
        if body == {"part": "a", "n": 1}:
            tries += 1
            return ERROR if tries < 3 else OK
        return OK

    async with TestReceiver(answer) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(BY_PART)
        await plane.endpoint(application, shop.url)
        for number in range(4):
            for part in ("a", "b", None):
                await plane.publish(application, event(part, number))
        await plane.settled()
        assert seen(shop, "a") == [0, 1]
        assert seen(shop, "b") == [0, 1, 2, 3]
        assert sorted(seen(shop, None)) == [0, 1, 2, 3]
        await plane.pass_time(1_000)
        assert seen(shop, "a") == [0, 1, 1]
        await plane.pass_time(1_000)
        assert seen(shop, "a") == [0, 1, 1, 1, 2, 3]


async def test_after_the_last_failure_the_key_moves_on(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        TestReceiver(lambda request: ERROR if b'"n": 1' in request.body else OK) as shop,
        Plane(tmp_path, clock) as plane,
    ):
        application = await plane.application(BY_PART)
        endpoint = await plane.endpoint(application, shop.url)
        messages = [await plane.publish(application, event("a", number)) for number in range(4)]
        await plane.pass_time(10_000)
        assert seen(shop, "a") == [0, 1, 1, 1, 2, 3]
        assert await plane.state(messages[1], endpoint) is DeliveryState.FAILED
        assert await plane.state(messages[3], endpoint) is DeliveryState.DELIVERED


class TestHold:
    """The endpoint asks that its keys wait for a failed event."""

    async def test_later_events_wait_for_a_resend_that_succeeds(self, tmp_path: Path) -> None:
        clock = FakeClock()
        well = False
        async with (
            TestReceiver(
                lambda request: ERROR if b'"n": 1' in request.body and not well else OK
            ) as shop,
            Plane(tmp_path, clock) as plane,
        ):
            application = await plane.application(HOLDING)
            endpoint = await plane.endpoint(application, shop.url)
            messages = [await plane.publish(application, event("a", number)) for number in range(3)]
            await plane.publish(application, event("b", 0))
            await plane.pass_time(DAY)
            messages.append(await plane.publish(application, event("a", 3)))
            await plane.pass_time(DAY)
            assert seen(shop, "a") == [0, 1, 1, 1]
            assert seen(shop, "b") == [0]
            assert await plane.state(messages[1], endpoint) is DeliveryState.FAILED
            assert await plane.state(messages[2], endpoint) is DeliveryState.PENDING

            await plane.resend(messages[1], endpoint)
            await plane.pass_time(DAY)
            assert seen(shop, "a") == [0, *[1] * 6]
            well = True
            await plane.resend(messages[1], endpoint)
            await plane.pass_time(DAY)
            assert seen(shop, "a") == [0, *[1] * 7, 2, 3]

    async def test_asking_to_move_on_lets_them_go(self, tmp_path: Path) -> None:
        clock = FakeClock()
        async with (
            TestReceiver(lambda request: ERROR if b'"n": 1' in request.body else OK) as shop,
            Plane(tmp_path, clock) as plane,
        ):
            application = await plane.application(HOLDING)
            endpoint = await plane.endpoint(application, shop.url)
            for number in range(3):
                await plane.publish(application, event("a", number))
            await plane.pass_time(DAY)
            assert seen(shop, "a") == [0, 1, 1, 1]
            await plane.change(endpoint, policy=Policy(order_on_failure=OrderOnFailure.MOVE_ON))
            await plane.pass_time(1_000)
            assert seen(shop, "a") == [0, 1, 1, 1, 2]


async def test_one_hanging_key_does_not_hold_up_the_others(tmp_path: Path) -> None:
    door = Door()

    async def answer(request: Received) -> Answer:
        return await door(request) if b'"part": "a"' in request.body else OK

    async with TestReceiver(answer) as shop, Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application(BY_PART)
        await plane.endpoint(application, shop.url)
        await plane.publish(application, event("b", 0))
        await plane.settled()
        for number in range(5):
            for part in ("a", "b", "c"):
                await plane.publish(application, event(part, number + 1))
        await shop.wait_until(lambda: len(seen(shop, "b") + seen(shop, "c")) == 11)
        assert door.count == 1
        assert seen(shop, "b") == list(range(6))
        door.open()
        await plane.settled()
        assert seen(shop, "a") == list(range(1, 6))


async def test_order_survives_a_new_start(tmp_path: Path) -> None:
    clock = FakeClock()
    async with TestReceiver([ERROR]) as shop:
        async with Plane(tmp_path, clock) as plane:
            application = await plane.application(BY_PART)
            await plane.endpoint(application, shop.url)
            for number in range(5):
                await plane.publish(application, event("a", number))
            await plane.settled()
        shop.script = lambda _: OK
        async with Plane(tmp_path, clock) as plane:
            await plane.pass_time(5_000)
            assert seen(shop, "a") == [0, 0, 1, 2, 3, 4]


async def test_a_due_time_in_the_future_holds_those_behind_it(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock)
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(BY_PART)
        await plane.endpoint(application, shop.url)
        await plane.publish(application, event("a", 0), after=5_000)
        await plane.publish(application, event("a", 1))
        await plane.publish(application, event("b", 0))
        await plane.pass_time(10_000)
        assert diary.times == [0, 5_000, 5_000]
        assert seen(shop, "a") == [0, 1]


Event = tuple[str, tuple[int, ...], int]
"""A key, what its tries are answered before a 200, and how much later than the last it comes."""

EVENTS: Final = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.sampled_from([500, 404, 0]), max_size=4).map(tuple),
        st.sampled_from([0, 0, 300, 1_500]),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("on_failure", list(OrderOnFailure))
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(events=EVENTS)
def test_no_event_overtakes_another_of_its_key(
    on_failure: OrderOnFailure, events: list[Event]
) -> None:
    """Whatever fails how often: a key's requests never go back, and each fails or arrives."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), on_failure, events))


async def _play(folder: Path, on_failure: OrderOnFailure, events: list[Event]) -> None:
    clock = FakeClock()
    tries: Counter[int] = Counter()
    came: list[tuple[str, int]] = []

    def answer(request: Received) -> Answer:
        body = json.loads(request.body)
        number = body["n"]
        script = events[number][1]
        came.append((body["part"], number))
        tries[number] += 1
        status = script[tries[number] - 1] if tries[number] <= len(script) else 200
        return CLOSE if status == 0 else Answer(status=status)

    policy = Policy(order_by="/part", order_on_failure=on_failure, retry_schedule=(700, 700))
    # A kept connection that dies is followed by a request that costs no step, so none is kept.
    knobs = Knobs(idle_s=0, breaker_failures=10_000)
    async with TestReceiver(answer) as shop, Plane(folder, clock, knobs) as plane:
        application = await plane.application(policy)
        endpoint = await plane.endpoint(application, shop.url)
        messages = []
        for number, (part, _script, later) in enumerate(events):
            if later:
                await plane.pass_time(later)
            messages.append(await plane.publish(application, event(part, number)))
        await plane.pass_time(60_000)
        final = [await plane.state(message, endpoint) for message in messages]
    held: set[str] = set()
    for number, (part, script, _later) in enumerate(events):
        if part in held:
            assert (tries[number], final[number]) == (0, DeliveryState.PENDING)
            continue
        lost = len(script) >= 3
        assert final[number] is (DeliveryState.FAILED if lost else DeliveryState.DELIVERED)
        assert tries[number] == (3 if lost else len(script) + 1)
        if lost and on_failure is OrderOnFailure.HOLD:
            held.add(part)
    for part in "abc":
        numbers = [number for key, number in came if key == part]
        assert numbers == sorted(numbers)
