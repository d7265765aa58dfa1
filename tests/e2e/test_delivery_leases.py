"""A time-out that was set while the lease was longer: it is cut, and nothing goes round in circles."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Policy
from marketbell.store.base import Claimed, ClaimRequest
from marketbell.testing import FakeClock, TestReceiver
from support.plane import DAY, Knobs, Plane

LONG = Knobs(lease=300_000)
SHORT = msgspec.structs.replace(LONG, lease=60_000)


async def test_an_endpoint_with_a_timeout_from_a_longer_lease_is_sent_to(tmp_path: Path) -> None:
    async with TestReceiver() as shop:
        async with Plane(tmp_path, SystemClock(), LONG) as plane:
            application = await plane.application(Policy(timeout=100_000))
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await shop.wait_for(1)
            await plane.settled()
        async with Plane(tmp_path, SystemClock(), SHORT) as plane:
            message = await plane.publish(application)
            await shop.wait_for(2)
            await plane.settled()
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
            assert plane.lanes.by_endpoint[endpoint.id].plan.timeout == 30_000


async def test_an_endpoint_that_no_lease_is_long_enough_for_rests_and_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    knobs = msgspec.structs.replace(SHORT, timeout_max=DAY)
    async with TestReceiver() as shop, Plane(tmp_path, clock, knobs) as plane:
        claim, asked = plane.store.claim, 0

        async def counted(request: ClaimRequest) -> Claimed:
            nonlocal asked
            asked += 1
            return await claim(request)

        monkeypatch.setattr(plane.store, "claim", counted)
        application = await plane.application(Policy(timeout=100_000))
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(application)
        await plane.settled(limit_s=10)
        await plane.pass_time(179_000)
        assert not shop.requests
        assert await plane.state(message, endpoint) is DeliveryState.PENDING
        assert asked < 30
        told = [line.message for line in caplog.records]
        assert told == ["deliveries wait: no lease is long enough for their time-out"] * 3
