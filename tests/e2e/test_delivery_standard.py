"""What a receiver may ask for in the dialect `standard`, and gets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Outcome, Policy
from marketbell.testing import OK, Answer, FakeClock, Received, TestReceiver
from support.plane import DAY, Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE


class TestStandard:
    """What a receiver may ask for, and gets."""

    async def test_410_ends_the_delivery_and_disables_the_endpoint(self, tmp_path: Path) -> None:
        async with (
            TestReceiver([Answer(status=410)]) as shop,
            Plane(tmp_path, SystemClock()) as plane,
        ):
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.settled()
            assert await plane.state(message, endpoint) is DeliveryState.FAILED
            assert (await plane.store.endpoint(application.id, endpoint.public_id)).disabled
            later = await plane.publish(application)
            await plane.settled()
            assert await plane.state(later, endpoint) is None
            assert len(shop.requests) == 1

    async def test_an_endpoint_that_is_gone_is_not_asked_again_whatever_waits(
        self, tmp_path: Path
    ) -> None:
        async with (
            TestReceiver([Answer(status=410)]) as shop,
            Plane(tmp_path, SystemClock()) as plane,
        ):
            application = await plane.application(Policy(max_in_flight=1))
            endpoint = await plane.endpoint(application, shop.url, paused=True)
            for _ in range(30):
                await plane.publish(application)
            await plane.change(endpoint, paused=False)
            await shop.wait_for(1)
            await plane.settled()
            assert (await plane.store.endpoint(application.id, endpoint.public_id)).disabled
            assert len(shop.requests) == 1

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_retry_after_holds_everything_for_that_endpoint(
        self, tmp_path: Path, status: int
    ) -> None:
        clock = FakeClock()
        busy = Answer(status=status, headers=(("Retry-After", "120"),))
        diary = Diary(clock, [busy, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application()
            await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.pass_time(1_000)
            for _ in range(3):
                await plane.publish(application)
            await plane.go_to(diary.start + 119_999)
            assert diary.times == [0]
            await plane.go_to(diary.start + 121_000)
            assert diary.times == [0] + [120_000] * 4

    async def test_an_immodest_retry_after_is_cut_to_the_bound(self, tmp_path: Path) -> None:
        clock = FakeClock()
        busy = Answer(status=429, headers=(("Retry-After", "99999999"),))
        diary = Diary(clock, [busy, OK])
        knobs = Knobs(retry_after_max=HOUR)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application()
            await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.pass_time(2 * HOUR)
            assert diary.times == [0, HOUR]

    async def test_the_breaker_opens_lets_one_probe_through_and_closes_at_a_success(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR] * 12 + [OK])
        knobs = Knobs(breaker_failures=10, breaker_rest=30_000)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(Policy(retry_schedule=(1,) * 60))
            endpoint = await plane.endpoint(application, shop.url)
            for _ in range(5):
                await plane.publish(application)
            await plane.go_to(diary.start + 29_999)
            assert len(diary.times) == 10
            opened = diary.times[-1]
            await plane.go_to(diary.start + 300_000)
            # Each rest is twice the one before; after the good probe come the four that waited.
            probes = [time - opened for time in diary.times[10:]]
            assert probes[:3] == [30_000, 90_000, 210_000]
            assert probes[3:] == [210_000] * 4
            outcomes = [one.outcome for one in await plane.attempts(endpoint)]
            assert outcomes == [Outcome.REJECTED] * 12 + [Outcome.ACCEPTED] * 5

    async def test_failures_that_were_under_way_when_the_breaker_opened_do_not_lengthen_its_rest(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        start, times = clock.now(), []
        all_there = asyncio.Event()

        async def answer(request: Received) -> Answer:
            times.append(clock.now() - start)
            number = len(times)
            if 8 < number <= 16:
                if number == 16:
                    all_there.set()
                await all_there.wait()
                return ERROR
            return OK

        knobs = Knobs(breaker_failures=2, breaker_rest=30_000)
        async with TestReceiver(answer) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(Policy(retry_schedule=(1,) * 60))
            await plane.endpoint(application, shop.url)
            for _ in range(8):
                await plane.publish(application)
                await plane.settled()
            for _ in range(8):
                await plane.publish(application)
            await plane.pass_time(31_000)
            assert len(times) == 8 + 8 + 8
            assert max(times) < 31_000

    async def test_an_endpoint_that_only_fails_for_days_is_disabled(self, tmp_path: Path) -> None:
        clock = FakeClock()
        knobs = Knobs(auto_disable_after=5 * DAY)
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)

            async def disabled() -> bool:
                return (await plane.store.endpoint(application.id, endpoint.public_id)).disabled

            for _ in range(5):
                await plane.publish(application)
                await plane.pass_time(DAY)
                await plane.janitor.look()
                assert not await disabled()
            await plane.pass_time(1_000)
            await plane.janitor.look()
            assert await disabled()
            # Enabled again, it has five days anew.
            await plane.change(endpoint, disabled=False)
            await plane.publish(application)
            await plane.pass_time(4 * DAY)
            await plane.janitor.look()
            assert not await disabled()
            await plane.publish(application)
            await plane.pass_time(2 * DAY)
            await plane.janitor.look()
            assert await disabled()

    async def test_one_success_in_between_starts_the_days_anew(self, tmp_path: Path) -> None:
        clock = FakeClock()
        shop_is_well = False
        knobs = Knobs(auto_disable_after=5 * DAY)
        async with (
            TestReceiver(lambda _: OK if shop_is_well else ERROR) as shop,
            Plane(tmp_path, clock, knobs) as plane,
        ):
            application = await plane.application(Policy(retry_schedule=(HOUR,)))
            endpoint = await plane.endpoint(application, shop.url)
            for day in range(9):
                shop_is_well = day == 4
                await plane.publish(application)
                await plane.pass_time(DAY)
                await plane.janitor.look()
                one = await plane.store.endpoint(application.id, endpoint.public_id)
                assert not one.disabled
