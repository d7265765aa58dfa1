"""A receiver asks for rest while more is on its way to it: what has not left yet waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

from marketbell.model import DeliveryState, Outcome
from marketbell.testing import FakeClock, TestReceiver
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
