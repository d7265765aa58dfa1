"""What a change of an endpoint means for what is new and for what is pending."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Outcome, Policy
from marketbell.store.base import Ages
from marketbell.testing import HANG, OK, Answer, FakeClock, TestReceiver
from support.plane import DAY, Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
EVERY_MINUTE: Final = Policy(retry_schedule=(60_000,) * 20)


class TestPaused:
    """New messages are created and held, pending ones are held."""

    async def test_nothing_is_sent_and_all_of_it_goes_on_when_it_is_resumed(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            before = [await plane.publish(application)]
            await plane.pass_time(1_000)
            await plane.change(endpoint, paused=True)
            during = [await plane.publish(application) for _ in range(3)]
            await plane.pass_time(20 * DAY)
            assert diary.times == [0]
            assert await plane.states(before + during, endpoint) == {DeliveryState.PENDING}

            await plane.change(endpoint, paused=False)
            await plane.settled()
            assert len(diary.times) == 5
            assert await plane.states(before + during, endpoint) == {DeliveryState.DELIVERED}

    async def test_a_late_answer_that_asks_for_rest_does_not_end_the_pause(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        busy = Answer(status=429, headers=(("Retry-After", "10"),), delay_s=0.2)
        async with TestReceiver([busy, OK]) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await shop.wait_for(1)
            await plane.change(endpoint, paused=True)
            await plane.settled()
            await plane.publish(application)
            await plane.pass_time(DAY)
            assert len(shop.requests) == 1
            await plane.change(endpoint, paused=False)
            await plane.pass_time(DAY)
            assert len(shop.requests) == 3


class TestDisabled:
    """No new ones are created; pending ones are held, and cancelled once their payload is old."""

    async def test_new_messages_pass_it_by_and_pending_ones_wait_until_it_is_enabled(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            before = await plane.publish(application)
            await plane.pass_time(1_000)
            await plane.change(endpoint, disabled=True)
            during = await plane.publish(application)
            await plane.pass_time(20 * DAY)
            assert diary.times == [0]
            assert await plane.state(before, endpoint) is DeliveryState.PENDING
            assert await plane.state(during, endpoint) is None

            await plane.change(endpoint, disabled=False)
            await plane.settled()
            assert len(diary.times) == 2
            assert await plane.state(before, endpoint) is DeliveryState.DELIVERED
            assert await plane.state(during, endpoint) is None

    async def test_what_waits_longer_than_payloads_are_kept_is_cancelled(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        knobs = Knobs(ages=Ages(payloads=DAY, attempts=30 * DAY, messages=30 * DAY))
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.pass_time(1_000)
            await plane.change(endpoint, disabled=True)
            await plane.pass_time(DAY - 2_000)
            await plane.janitor.look()
            assert await plane.state(message, endpoint) is DeliveryState.PENDING
            await plane.pass_time(2_000)
            await plane.janitor.look()
            assert await plane.state(message, endpoint) is DeliveryState.CANCELLED
            assert len(shop.requests) == 1


async def test_deleting_cancels_what_is_pending_and_sends_nothing_more(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock, [ERROR])
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(EVERY_MINUTE)
        endpoint = await plane.endpoint(application, shop.url)
        other = await plane.endpoint(application, shop.url)
        message = await plane.publish(application)
        await plane.pass_time(1_000)
        await plane.delete(endpoint)
        assert await plane.state(message, endpoint) is DeliveryState.CANCELLED
        await plane.janitor.look()
        await plane.pass_time(3 * 60_000)
        assert await plane.state(message, endpoint) is DeliveryState.CANCELLED
        assert await plane.state(message, other) is DeliveryState.PENDING
        assert len(await plane.attempts(message, endpoint=endpoint)) == 1
        assert len(await plane.attempts(message, endpoint=other)) == 4


async def test_deleting_an_application_stops_all_that_is_pending(tmp_path: Path) -> None:
    clock = FakeClock()
    async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(EVERY_MINUTE)
        await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.pass_time(1_000)
        await plane.store.delete_application(
            application.organization, application.public_id, now=clock.now()
        )
        await plane.pass_time(DAY)
        assert len(shop.requests) == 1


@pytest.mark.parametrize("change", ["paused", "disabled", "deleted"])
async def test_claims_that_wait_in_memory_are_not_sent_after_the_change(
    tmp_path: Path, change: str
) -> None:
    knobs = Knobs(timeout=2_500)
    async with (
        TestReceiver([OK, HANG]) as shop,
        Plane(tmp_path, SystemClock(), knobs) as plane,
    ):
        application = await plane.application(Policy(retry_schedule=(1,) * 9, max_in_flight=2))
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        for _ in range(6):
            await plane.publish(application)
        await shop.wait_for(3)
        assert plane.lanes.by_endpoint[endpoint.id].stock > 0
        if change == "deleted":
            await plane.delete(endpoint)
        else:
            await plane.change(endpoint, **{change: True})
        await plane.settled()
        assert len(shop.requests) == 3
        outcomes = [one.outcome for one in await plane.attempts(endpoint)]
        assert outcomes == [Outcome.ACCEPTED, Outcome.NO_ANSWER, Outcome.NO_ANSWER]
