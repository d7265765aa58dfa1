"""
The wall clock is set forth and back under a running dispatcher: nothing lost, nothing sent twice.

On SQLite it is the machine's clock. On PostgreSQL it is the database's, which all nodes go by and
follow at once; that their own clocks change nothing there is shown in test_clock_nodes.py.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Millis, Outcome, Policy
from marketbell.store.base import ClaimRequest
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.hands import SetClock
from support.knobs import AS_A_SERVER, Knobs
from support.nodes import OpenPlane

HOUR: Final[Millis] = 3_600_000
ERROR: Final = Answer(status=500)


class Door:
    """A receiver's script that answers only once it is open."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.came = asyncio.Semaphore(0)

    async def __call__(self, request: Received) -> Answer:
        self.came.release()
        await self._open.wait()
        return OK

    def open(self) -> None:
        """Answer all that stand before it and all that come."""
        self._open.set()


async def pause(seconds: float) -> None:
    """Real time, for what should not happen in it."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR, 48 * HOUR, -48 * HOUR])
async def test_requests_under_way_are_not_taken_for_lost(
    open_plane: OpenPlane, jump: Millis
) -> None:
    clock, door = SetClock(), Door()
    knobs = Knobs(look=100)
    async with TestReceiver(door) as shop, open_plane(clock, knobs) as plane:
        application = await plane.application()
        endpoints = [await plane.endpoint(application, shop.url + str(n)) for n in range(5)]
        message = await plane.publish(application)
        for _ in range(5):
            await door.came.acquire()
        clock.offset += jump
        plane.dispatcher.wake()
        await pause(0.5)
        door.open()
        await plane.settled()
        assert len(shop.requests) == 5
        attempts = await plane.attempts(message)
        assert [one.outcome for one in attempts] == [Outcome.ACCEPTED] * 5
        assert all(0 <= one.duration < 20_000 for one in attempts)
        for endpoint in endpoints:
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED


async def test_a_lease_that_has_really_ended_is_still_noticed(open_plane: OpenPlane) -> None:
    """Real time counts, so a claim that nobody holds comes back after it, wherever the hands stand."""
    clock = SetClock()
    knobs = Knobs(look=100, lease=6_000, timeout=4_000)
    async with TestReceiver() as shop, open_plane(clock, knobs) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(application, after=30_000)
        # As a node that has died would have it: claimed, and never heard of again.
        clock.offset += 31_000
        lost = await plane.store.claim(
            ClaimRequest(
                now=clock.now(),
                lease_until=clock.now() - 31_000 + 1_000,
                limit=10,
                rooms={},
            )
        )
        assert len(lost.claims) == 1
        clock.offset -= 5 * HOUR
        await shop.wait_for(1)
        await plane.settled()
        outcomes = [one.outcome for one in await plane.attempts(message)]
        assert outcomes == [Outcome.UNKNOWN, Outcome.ACCEPTED]
        assert await plane.state(message, endpoint) is DeliveryState.DELIVERED


async def test_what_is_new_goes_out_at_once_wherever_the_hands_stand(open_plane: OpenPlane) -> None:
    clock = SetClock()
    async with TestReceiver() as shop, open_plane(clock, AS_A_SERVER) as plane:
        application = await plane.application()
        ordered = await plane.application(Policy(order_by="/n"))
        await plane.endpoint(application, shop.url)
        await plane.endpoint(ordered, shop.url)
        for place, jump in enumerate([0, HOUR, -3 * HOUR, 30 * HOUR, -40 * HOUR], 1):
            clock.offset += jump
            await plane.publish(application)
            await plane.publish(ordered)
            await shop.wait_for(2 * place)
        await plane.settled()
        assert len(shop.requests) == 10


async def test_a_rate_limit_does_not_wait_for_the_time_that_was_taken_back(
    open_plane: OpenPlane,
) -> None:
    """Of what waits in memory, which are some seconds' starts; the rest waits in the store."""
    clock = SetClock()
    async with TestReceiver() as shop, open_plane(clock, AS_A_SERVER) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url, throttle_rate=5)
        await asyncio.gather(*(plane.publish(application) for _ in range(15)))
        lanes = plane.lanes.by_endpoint
        await plane.until(lambda: len(plane.told.attempts) >= 5 and lanes[endpoint.id].stock == 10)
        clock.offset -= HOUR
        await shop.wait_for(15)
        await plane.settled()
        # When they went out, by hands that were not moved.
        before = SystemClock().now() - HOUR // 2
        starts = [one.started_at for one in plane.told.attempts]
        times = sorted(start if start > before else start + HOUR for start in starts)
        assert all(later - first > 900 for first, later in zip(times, times[5:], strict=False))


@pytest.mark.parametrize("seed", range(3))
async def test_hands_that_go_to_and_fro_lose_nothing_and_double_nothing(
    open_plane: OpenPlane, seed: int
) -> None:
    chance = random.Random(seed)
    came: Counter[bytes] = Counter()
    well = False

    async def answer(request: Received) -> Answer:
        came[request.body] += 1
        await asyncio.sleep(chance.random() * 0.03)
        return ERROR if not well and chance.random() < 0.3 else OK

    clock = SetClock()
    knobs = Knobs(look=100, breaker_failures=10_000)
    async with TestReceiver(answer) as shop, open_plane(clock, knobs) as plane:
        application = await plane.application(Policy(retry_schedule=(100,) * 60))
        endpoint = await plane.endpoint(application, shop.url)
        messages = []
        for number in range(60):
            messages.append(await plane.publish(application, b'{"n":%d}' % number))
            if chance.random() < 0.5:
                clock.offset += chance.choice([-1, 1]) * chance.randrange(30 * HOUR)
            await asyncio.sleep(chance.random() * 0.02)
        # Time goes on past everything that was due at any time.
        well = True
        clock.offset += 60 * 30 * HOUR
        arrived: set[int] = set()

        def all_there() -> bool:
            arrived.update(
                one.message_id for one in plane.told.attempts if one.outcome is Outcome.ACCEPTED
            )
            return len(arrived) == len(messages)

        await plane.until(all_there)
        await plane.settled()
        for message in messages:
            attempts = await plane.attempts(message)
            assert came[message.payload] == len(attempts)
            outcomes = [one.outcome for one in attempts]
            assert outcomes == [Outcome.REJECTED] * (len(attempts) - 1) + [Outcome.ACCEPTED]
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        assert plane.told.lost == 0


@pytest.mark.parametrize("jump", [5 * HOUR, -5 * HOUR])
async def test_nothing_spins_after_a_jump(open_plane: OpenPlane, jump: Millis) -> None:
    clock = SetClock()
    async with TestReceiver([ERROR]) as shop, open_plane(clock, Knobs(look=200)) as plane:
        application = await plane.application(Policy(retry_schedule=(HOUR,) * 20))
        for number in range(10):
            await plane.endpoint(application, shop.url + str(number), throttle_rate=3)
        for _ in range(5):
            await plane.publish(application)
        await shop.wait_for(50)
        await plane.settled()
        before = clock.asked
        clock.offset += jump
        plane.dispatcher.wake()
        await pause(1.0)
        assert clock.asked - before < 200
