"""How fast and how wide an endpoint is called, and which addresses are not called at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.model import Application, DeliveryState, Outcome, Policy
from marketbell.testing import HANG, OK, Answer, FakeClock, Received, TestReceiver
from support.door import Door
from support.plane import Diary, Knobs, Plane

ERROR: Final = Answer(status=500)


class Gauge:
    """A receiver's script that holds each request for a while and counts how many it holds."""

    def __init__(self, hold_s: float = 0.0) -> None:
        self.now = 0
        self.most = 0
        self.first = 0
        """How many it held when it gave its first answer."""
        self._hold_s = hold_s
        self._answered = False

    async def __call__(self, request: Received) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self._hold_s)
        if not self._answered:
            self._answered, self.first = True, self.most
        self.now -= 1
        return OK


class TestRates:
    """`rateLimit` and `throttleRate`."""

    @pytest.mark.parametrize("rate", [1, 3, 7])
    async def test_no_second_holds_more_requests_than_the_endpoints_rate(
        self, tmp_path: Path, rate: int
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url, throttle_rate=rate)
            for _ in range(5 * rate):
                await plane.publish(application)
            await plane.pass_time(300)
            for _ in range(5 * rate):
                await plane.publish(application)
            await plane.pass_time(60_000)
            assert len(diary.times) == 10 * rate
            assert busiest_second(diary.times) == rate
            assert diary.times[-1] <= 10_000
            attempts = await plane.attempts(endpoint)
            assert len(attempts) == 10 * rate
            assert {(one.outcome, one.number) for one in attempts} == {(Outcome.ACCEPTED, 1)}

    async def test_an_applications_rate_is_shared_by_its_endpoints(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(throttle_rate=4)
            other = await plane.application()
            for name in "abc":
                await plane.endpoint(application, shop.url + name)
            await plane.endpoint(other, shop.url + "other")
            for _ in range(8):
                await plane.publish(application)
            await plane.publish(other)
            await plane.settled()
            assert [one.target for one in shop.requests].count("/other") == 1
            await plane.pass_time(60_000)
            limited = [
                time
                for time, one in zip(diary.times, shop.requests, strict=True)
                if one.target != "/other"
            ]
            assert len(limited) == 24
            assert busiest_second(limited) == 4
            assert limited[-1] <= 6_000

    async def test_retries_count_too_and_cost_a_step_only_when_they_are_made(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(Policy(retry_schedule=(10, 10)))
            endpoint = await plane.endpoint(application, shop.url, throttle_rate=2)
            messages = [await plane.publish(application) for _ in range(3)]
            await plane.pass_time(600_000)
            assert len(diary.times) == 9
            assert busiest_second(diary.times) <= 2
            for message in messages:
                numbers = [one.number for one in await plane.attempts(message)]
                assert numbers == [1, 2, 3]
                assert await plane.state(message, endpoint) is DeliveryState.FAILED

    async def test_a_new_rate_is_in_force_from_the_next_attempt(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url, throttle_rate=1)
            for _ in range(40):
                await plane.publish(application)
            await plane.pass_time(9_999)
            assert len(diary.times) == 10
            await plane.change(endpoint, throttle_rate=10)
            await plane.pass_time(4_000)
            assert len(diary.times) == 40
            assert busiest_second(diary.times[10:]) == 10

    async def test_a_slow_rate_outlasts_its_leases(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock)
        knobs = Knobs(lease=10_000, timeout=1_000)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url, throttle_rate=1)
            for _ in range(60):
                await plane.publish(application)
            await plane.pass_time(120_000)
            assert len(diary.times) == 60
            assert busiest_second(diary.times) == 1
            outcomes = {one.outcome for one in await plane.attempts(endpoint)}
            assert outcomes == {Outcome.ACCEPTED}


async def at_once(plane: Plane, application: Application, count: int) -> None:
    """So many messages in one moment, so that what is slow to come keeps no endpoint from its width."""
    await asyncio.gather(*(plane.publish(application) for _ in range(count)))


def busiest_second(times: list[int]) -> int:
    """The most instants that lie within less than a second of each other."""
    return max(sum(1 for time in times if first <= time < first + 1_000) for first in times)


class TestWidth:
    """Caps, and what an endpoint gets that has not proved itself."""

    @pytest.mark.parametrize("cap", [1, 2, 5])
    async def test_no_more_requests_are_under_way_than_the_cap(
        self, tmp_path: Path, cap: int
    ) -> None:
        gauge = Gauge(0.04)
        async with TestReceiver(gauge) as shop, Plane(tmp_path, SystemClock()) as plane:
            application = await plane.application(Policy(max_in_flight=cap))
            await plane.endpoint(application, shop.url)
            await at_once(plane, application, 40)
            await shop.wait_for(40)
            await plane.settled()
            assert gauge.most == cap

    async def test_an_endpoint_never_tried_gets_one_request_first(self, tmp_path: Path) -> None:
        gauge = Gauge(0.15)
        async with TestReceiver(gauge) as shop, Plane(tmp_path, SystemClock()) as plane:
            application = await plane.application()
            await plane.endpoint(application, shop.url)
            await at_once(plane, application, 30)
            await shop.wait_for(30)
            await plane.settled()
            assert gauge.first == 1
            assert gauge.most > 4

    async def test_after_a_time_out_it_is_one_at_a_time_again(self, tmp_path: Path) -> None:
        hanging = False
        gauge = Gauge(0.1)
        steps = (1,) * 20

        async def answer(request: Received) -> Answer:
            return HANG if hanging else await gauge(request)

        knobs = Knobs(breaker_failures=1_000)
        async with TestReceiver(answer) as shop, Plane(tmp_path, SystemClock(), knobs) as plane:
            application = await plane.application(Policy(retry_schedule=steps))
            endpoint = await plane.endpoint(application, shop.url)
            await at_once(plane, application, 20)
            await plane.settled()
            assert gauge.most > 4
            await plane.change(endpoint, policy=Policy(timeout=400, retry_schedule=steps))
            hanging = True
            for _ in range(20):
                await plane.publish(application)
            wide = len(plane.told.attempts)
            await plane.until(lambda: len(plane.told.attempts) > wide)
            # What was under way ends with it; from now on there is one.
            await plane.until(lambda: plane.dispatcher.in_flight <= 1)
            before = len(shop.requests)
            await shop.wait_for(before + 2)
            assert plane.dispatcher.in_flight <= 1
            assert shop.open <= 2
            hanging = False
            await plane.settled()

    async def test_the_sockets_of_all_are_bounded_and_newcomers_take_half(
        self, tmp_path: Path
    ) -> None:
        from marketbell.delivery.fairness import Places

        knobs = Knobs(places=Places(sockets=20, unproven_share=0.5))
        door = Door()
        async with (
            TestReceiver(door) as hanging,
            TestReceiver() as well,
            Plane(tmp_path, SystemClock(), knobs) as plane,
        ):
            application = await plane.application(Policy(retry_schedule=()))
            known = await plane.application()
            await plane.endpoint(known, well.url)
            await plane.publish(known)
            await plane.settled()
            for place in range(40):
                await plane.endpoint(application, hanging.url + str(place))
            await plane.publish(application)
            await door.wait_for(10)
            for _ in range(50):
                await plane.publish(known)
            await well.wait_for(51)
            assert (hanging.open, door.count) == (10, 10)
            door.open()
            await hanging.wait_for(40)
