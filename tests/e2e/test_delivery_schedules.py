"""Failing receivers: who is tried again when, by which marketplace's document, and what ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from marketbell.model import NEVER, DeliveryState, Outcome, Policy
from marketbell.testing import CLOSE, HANG, OK, RESET, Answer, FakeClock, TestReceiver
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
