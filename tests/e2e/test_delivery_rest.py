"""A receiver asks for rest, or fails: what is known of it holds through changes and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from marketbell.model import DeliveryState, Outcome
from marketbell.store.base import Change
from marketbell.testing import OK, Answer, FakeClock, TestReceiver
from marketbell.testing.receiver import Received
from support.plane import Plane


async def test_what_is_being_stored_when_a_lane_begins_to_rest_waits_with_it(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    async with TestReceiver() as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        for _ in range(3):
            await plane.publish(application)
            await plane.settled()
        lane = plane.lanes.by_endpoint[endpoint.id]
        publishing = [asyncio.create_task(plane.publish(application)) for _ in range(4)]
        while not lane.reserved:  # noqa: ASYNC110 - turns of this very loop are waited for
            await asyncio.sleep(0)
        rests_until = clock.now() + 60_000
        lane.held_until = rests_until
        await plane.store.hold(endpoint.id, rests_until)
        messages = await asyncio.gather(*publishing)
        await plane.settled()
        assert len(shop.requests) == 3
        await plane.pass_time(59_999)
        assert len(shop.requests) == 3
        await plane.pass_time(1)
        assert len(shop.requests) == 7
        for message in messages:
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
            (attempt,) = await plane.attempts(message)
            assert (attempt.outcome, attempt.number) == (Outcome.ACCEPTED, 1)


async def test_a_rest_holds_after_a_change_and_after_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    busy = Answer(status=503, headers=(("Retry-After", "600"),))
    async with TestReceiver([busy, OK]) as shop:
        async with Plane(tmp_path, clock) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.settled()
            await plane.change(endpoint, description="another")
            await plane.publish(application)
            await plane.settled()
            assert len(shop.requests) == 1
        async with Plane(tmp_path, clock) as plane:
            await plane.publish(application)
            await plane.settled()
            assert len(shop.requests) == 1
            await plane.pass_time(601_000)
            assert len(shop.requests) == 4


async def test_a_rest_holds_after_a_message_that_is_under_way_was_taken_out(tmp_path: Path) -> None:
    """Its content's end gives back the endpoint's claims, as a change does, and changes nothing of it."""
    busy = Answer(status=503, headers=(("Retry-After", "600"),))
    async with TestReceiver([busy, OK]) as shop, Plane(tmp_path, FakeClock()) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        plane.dispatcher.forget(Change(application.id, endpoint.id))
        await plane.publish(application)
        await plane.settled()
        assert len(shop.requests) == 1


async def test_a_change_of_an_endpoint_that_rests_lets_it_go_on_when_it_is_enabled(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    busy = Answer(status=503, headers=(("Retry-After", "600"),))
    async with TestReceiver([busy]) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        disabled = await plane.change(endpoint, disabled=True)
        await plane.change(disabled, disabled=False)
        await plane.publish(application)
        await plane.settled()
        assert len(shop.requests) == 2


async def test_one_failure_of_a_request_that_a_change_met_under_way_does_not_count_for_days(
    tmp_path: Path,
) -> None:
    """What was read of the endpoint before the failure knows nothing of it."""
    failing = asyncio.Event()
    met = asyncio.Event()

    async def answer(_request: Received) -> Answer:
        if not met.is_set():
            met.set()
            await failing.wait()
            return Answer(status=500)
        return OK

    async with TestReceiver(answer) as shop, Plane(tmp_path, FakeClock()) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await met.wait()
        await plane.change(endpoint, description="another")
        subscribers = await plane.store.subscribers(application.organization, application.public_id)
        failing.set()
        await plane.until(lambda: len(plane.told.attempts) == 1)
        await plane.settled()
        assert await plane.store.failing_since(plane.clock.now() + 1, 1) == (endpoint.id,)
        await plane.dispatcher.accept([plane.acceptance(subscribers, b'{"n":2}')])
        await plane.settled()
        assert await plane.store.failing_since(plane.clock.now() + 1, 1) == ()
