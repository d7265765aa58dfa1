"""Failing receivers: who is tried again when, by which marketplace's document, and what ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.model import NEVER, DeliveryState, Outcome, Policy
from marketbell.testing import CLOSE, HANG, OK, RESET, Answer, FakeClock, Received, TestReceiver
from support.plane import DAY, Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
OVOKO: Final = Policy(dialect="ovoko")
SELLER_CENTER: Final = Policy(dialect="sellercenter")
PART: Final = b'{"part_id": "13", "status": "sold", "external_id": null, "id_bridge": null}'
ORDER: Final = b'{"OrderId": 1190422}'
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE


class TestOvoko:
    """Four attempts, and then no more."""

    async def test_four_attempts_at_0_7_42_and_217_seconds_and_then_it_has_failed(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(OVOKO)
            endpoint = await plane.endpoint(
                application, shop.url + "cb?t=1", headers=(("Api-Key", "k"),)
            )
            message = await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(2 * DAY)

            assert diary.times == [0, 7_000, 42_000, 217_000]
            assert await plane.state(message, endpoint) is DeliveryState.FAILED
            attempts = await plane.attempts(message)
            assert [one.number for one in attempts] == [1, 2, 3, 4]
            assert {one.outcome for one in attempts} == {Outcome.REJECTED}
            assert {one.reason for one in attempts} == {"answered 500"}

    async def test_all_four_requests_are_the_same_to_the_byte(self, tmp_path: Path) -> None:
        clock = FakeClock()
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(OVOKO)
            await plane.endpoint(application, shop.url, headers=(("Api-Key", "k"),))
            await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(DAY)
            assert len(shop.requests) == 4
            assert len({(one.head, one.body) for one in shop.requests}) == 1

    async def test_a_resend_by_hand_a_day_later_is_that_request_too(self, tmp_path: Path) -> None:
        clock = FakeClock()
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(OVOKO)
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(DAY)
            await plane.resend(message, endpoint)
            await plane.pass_time(DAY)
            assert len(shop.requests) == 8
            assert len({(one.head, one.body) for one in shop.requests}) == 1

    @pytest.mark.parametrize("good", [1, 2, 3])
    async def test_the_resends_stop_at_the_first_success(self, tmp_path: Path, good: int) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR] * good + [OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(OVOKO)
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(DAY)
            assert diary.times == [0, 7_000, 42_000, 217_000][: good + 1]
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED

    @pytest.mark.parametrize("status", [200, 201, 204, 299])
    async def test_any_2xx_is_a_success(self, tmp_path: Path, status: int) -> None:
        assert await verdict(tmp_path, OVOKO, status) is DeliveryState.DELIVERED

    @pytest.mark.parametrize("status", [300, 301, 304, 307, 400, 404, 410, 429, 500, 503])
    async def test_anything_else_is_a_failure(self, tmp_path: Path, status: int) -> None:
        assert await verdict(tmp_path, OVOKO, status) is DeliveryState.PENDING

    async def test_silence_refusal_and_broken_connections_are_failures_at_the_same_times(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [HANG, RESET, CLOSE, OK])
        knobs = Knobs(timeout=300)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(OVOKO)
            await plane.endpoint(application, shop.url)
            message = await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(DAY)
            assert diary.times == [0, 7_000, 42_000, 217_000]
            outcomes = [one.outcome for one in await plane.attempts(message)]
            assert outcomes == [Outcome.NO_ANSWER] * 3 + [Outcome.ACCEPTED]


class TestSellerCenter:
    """Thirty days, and only 200 counts."""

    async def test_38_attempts_in_30_days_at_the_times_of_the_table(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(SELLER_CENTER)
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application, ORDER, event_type="onOrderCreated")
            await plane.pass_time(40 * DAY)

            at, expected = 0, [0]
            for wait in (1, 5, 10, 30, 60, 120, 300, 600):
                at += wait * MINUTE
                expected.append(at)
            while at + DAY <= 30 * DAY:
                at += DAY
                expected.append(at)
            assert len(expected) == 38
            assert diary.times == expected
            assert await plane.state(message, endpoint) is DeliveryState.FAILED
            assert len(await plane.attempts(message)) == 38
            assert len({(one.head, one.body) for one in shop.requests}) == 1

    async def test_200_is_a_success(self, tmp_path: Path) -> None:
        assert await verdict(tmp_path, SELLER_CENTER, 200) is DeliveryState.DELIVERED

    @pytest.mark.parametrize("status", [201, 202, 204, 301, 302, 307, 308, 400, 410, 429, 503])
    async def test_every_other_answer_is_a_failure(self, tmp_path: Path, status: int) -> None:
        assert await verdict(tmp_path, SELLER_CENTER, status) is DeliveryState.PENDING


async def verdict(folder: Path, policy: Policy, status: int) -> DeliveryState | None:
    """What becomes of a delivery whose first attempt is answered with this status."""
    ovoko = policy.dialect == "ovoko"
    async with TestReceiver([Answer(status=status)]) as shop, Plane(folder, FakeClock()) as plane:
        application = await plane.application(policy)
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(
            application,
            PART if ovoko else ORDER,
            event_type="part.status.changed" if ovoko else "onOrderCreated",
        )
        await plane.settled()
        assert len(shop.requests) == 1
        assert not (await plane.store.endpoint(application.id, endpoint.public_id)).disabled
        return await plane.state(message, endpoint)


@pytest.mark.parametrize("dialect", ["standard", "ovoko", "sellercenter"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(tmp_path: Path, dialect: str, status: int) -> None:
    async with TestReceiver() as elsewhere:
        away = Answer(status=status, headers=(("Location", elsewhere.url + "trap"),))
        async with TestReceiver([away]) as shop, Plane(tmp_path, FakeClock()) as plane:
            application = await plane.application(Policy(dialect=dialect))
            await plane.endpoint(application, shop.url)
            for payload, event_type in ((PART, "part.status.changed"), (ORDER, "onOrderCreated")):
                await plane.publish(application, payload, event_type=event_type)
            await plane.pass_time(5_000)
            assert len(shop.requests) >= 2
        assert (elsewhere.connections, elsewhere.requests) == (0, [])


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


class TestFixedClocks:
    """What a marketplace's document fixes, nothing bends."""

    async def test_the_breaker_delays_no_attempt_of_a_dialect_with_a_clock_of_its_own(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR])
        knobs = Knobs(breaker_failures=1, breaker_rest=HOUR)
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(OVOKO)
            await plane.endpoint(application, shop.url)
            for _ in range(6):
                await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(HOUR)
            assert sorted(diary.times) == [
                time for time in (0, 7_000, 42_000, 217_000) for _ in range(6)
            ]

    async def test_it_only_narrows_the_endpoint_to_one_request_at_a_time(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        knobs = Knobs(breaker_failures=1, breaker_rest=HOUR)
        slow = Answer(status=500, delay_s=0.02)
        async with TestReceiver([slow]) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(OVOKO)
            await plane.endpoint(application, shop.url)
            for _ in range(6):
                await plane.publish(application, PART, event_type="part.status.changed")
            await plane.pass_time(HOUR)
            assert len(shop.requests) == 24
            assert shop.connections <= 5

    async def test_410_429_and_days_of_failure_change_nothing(self, tmp_path: Path) -> None:
        clock = FakeClock()
        gone = Answer(status=410)
        busy = Answer(status=429, headers=(("Retry-After", "100"),))
        diary = Diary(clock, [gone, busy, gone])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(SELLER_CENTER)
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application, ORDER, event_type="onOrderCreated")
            await plane.pass_time(31 * DAY)
            await plane.janitor.look()
            assert len(diary.times) == 38
            assert diary.times[:3] == [0, MINUTE, 6 * MINUTE]
            assert not (await plane.store.endpoint(application.id, endpoint.public_id)).disabled


async def test_a_policy_of_its_own_replaces_the_schedule_to_the_millisecond(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock, [ERROR])
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(Policy(retry_schedule=(150, 2_000)))
        endpoint = await plane.endpoint(
            application, shop.url, policy=Policy(retry_schedule=(1, 20, 300))
        )
        message = await plane.publish(application)
        await plane.pass_time(DAY)
        assert diary.times == [0, 1, 21, 321]
        assert await plane.state(message, endpoint) is DeliveryState.FAILED
        assert plane.clock.now() < NEVER
