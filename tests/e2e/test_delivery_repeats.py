"""What a kept connection's death sets off when the endpoint or its rate does not allow a repeat."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from marketbell.clock import SystemClock
from marketbell.delivery.tenure import ALL, Tenure
from marketbell.model import DeliveryState, Outcome, Policy
from marketbell.testing import CLOSE, OK, Answer, FakeClock, Received, TestReceiver
from support.plane import Diary, Knobs, Plane

KEPT: Final = Knobs(idle_s=60.0)
"""Where a connection is used again, whatever the machine does meanwhile."""


class Dying:
    """A receiver's script: the second request hangs until `door` is open, and then its connection dies."""

    def __init__(self, *others: Answer) -> None:
        self.came = asyncio.Event()
        """Set once the second request is there."""
        self.door = asyncio.Event()
        self._others = list(others)
        self._count = 0

    async def __call__(self, _request: Received) -> Answer:
        self._count += 1
        if self._count == 2:
            self.came.set()
            await self.door.wait()
            return CLOSE
        return self._others.pop(0) if self._count > 2 and self._others else OK


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"paused": True}, id="paused"),
        pytest.param({"disabled": True}, id="disabled"),
        pytest.param({}, id="deleted"),
    ],
)
async def test_an_endpoint_that_may_not_be_called_any_more_gets_no_repeat(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    dying = Dying()
    async with TestReceiver(dying) as shop, Plane(tmp_path, SystemClock(), KEPT) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        message = await plane.publish(application)
        await dying.came.wait()
        if change:
            await plane.change(endpoint, **change)
        else:
            await plane.delete(endpoint)
        dying.door.set()
        await plane.until(lambda: len(plane.told.attempts) == 2)
        await plane.settled()
        assert len(shop.requests) == 2
        assert [one.outcome for one in await plane.attempts(message)] == [Outcome.CLOSED]
        if change:
            assert await plane.state(message, endpoint) is DeliveryState.PENDING


async def test_an_endpoint_of_a_slot_that_another_node_has_by_now_needs_a_new_claim(
    tmp_path: Path,
) -> None:
    """Which is given here, for a store in one file has no other node; this one has its other slots."""
    dying = Dying()
    tenure = Tenure(lambda: 0.0)
    tenure.renew(ALL, 10.0)
    async with (
        TestReceiver(dying) as shop,
        Plane(tmp_path, SystemClock(), KEPT, owned=tenure) as plane,
    ):
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        message = await plane.publish(application)
        await dying.came.wait()
        tenure.renew(ALL - {endpoint.slot}, 10.0)
        dying.door.set()
        await plane.until(lambda: len(plane.told.attempts) == 3)
        await plane.settled()
        attempts = await plane.attempts(message)
        assert [(one.outcome, one.claim_number) for one in attempts] == [
            (Outcome.CLOSED, 1),
            (Outcome.ACCEPTED, 2),
        ]


async def test_a_repeat_goes_to_the_new_url_and_bears_the_new_secrets(tmp_path: Path) -> None:
    dying = Dying()
    async with (
        TestReceiver(dying) as old,
        TestReceiver() as new,
        Plane(tmp_path, SystemClock(), KEPT) as plane,
    ):
        application = await plane.application()
        endpoint = await plane.endpoint(application, old.url)
        await plane.publish(application)
        await plane.settled()
        message = await plane.publish(application)
        await dying.came.wait()
        await plane.change(endpoint, url=new.url)
        dying.door.set()
        await new.wait_for(1)
        await plane.settled()
        assert len(old.requests) == 2
        dead, good = await plane.attempts(message)
        assert (dead.outcome, dead.url) == (Outcome.CLOSED, old.url)
        assert (good.outcome, good.url, good.number) == (Outcome.ACCEPTED, new.url, 1)


async def test_an_endpoint_that_has_asked_for_rest_meanwhile_gets_no_repeat_before_it_is_over(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    dying = Dying(Answer(status=429, headers=(("Retry-After", "60"),)))
    async with TestReceiver(dying) as shop, Plane(tmp_path, clock, KEPT) as plane:
        application = await plane.application(Policy(retry_schedule=(1_000,) * 3))
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        message = await plane.publish(application)
        await dying.came.wait()
        await plane.publish(application)
        await plane.until(lambda: len(plane.told.attempts) == 2)
        start = clock.now()
        dying.door.set()
        await plane.until(lambda: len(plane.told.attempts) == 3)
        await plane.settled()
        assert len(shop.requests) == 3
        assert await plane.state(message, endpoint) is DeliveryState.PENDING
        await plane.pass_time(61_000)
        attempts = await plane.attempts(message)
        assert [one.outcome for one in attempts] == [Outcome.CLOSED, Outcome.ACCEPTED]
        assert attempts[1].started_at >= start + 60_000


async def test_repeats_count_as_starts_of_a_rate_limit(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock)
    uses: dict[int, int] = {}

    def answer(request: Received) -> Answer:
        diary(request)
        uses[request.connection] = uses.get(request.connection, 0) + 1
        return OK if uses[request.connection] == 1 else CLOSE

    async with TestReceiver(answer) as shop, Plane(tmp_path, clock, KEPT) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url, throttle_rate=2)
        messages = [await plane.publish(application) for _ in range(8)]
        await plane.pass_time(20_000)
        assert await plane.states(messages, endpoint) == {DeliveryState.DELIVERED}
        times = diary.times
        assert len(times) > len(messages)  # connections did die
        assert all(later - first >= 1_000 for first, later in zip(times, times[2:], strict=False))
