"""The store cannot be written for a while: publishers are told so, results wait, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import apsw
import pytest

from marketbell.clock import SystemClock, Timer
from marketbell.errors import StoreError, UnavailableError
from marketbell.model import DeliveryState, Instant, Outcome, Policy
from marketbell.store.base import MessageFilter, Page
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.door import Door
from support.eventually import grown
from support.plane import ORGANIZATION, Knobs, Plane

SOON: Final = Policy(retry_schedule=(100,) * 20)
KNOBS: Final = Knobs(busy_ms=20, breaker_failures=1_000)


@contextlib.asynccontextmanager
async def write_lock(path: Path) -> AsyncIterator[None]:
    """Another program holds the file's write lock, as a backup or a careless shell does."""
    other = apsw.Connection(str(path))
    try:
        other.set_busy_timeout(60_000)
        await asyncio.to_thread(other.execute, "begin immediate")
        yield
        other.execute("rollback")
    finally:
        other.close()


class CountingClock(SystemClock):
    """The machine's time, and how often something asked to be called."""

    def __init__(self) -> None:
        self.asked = 0

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """See SystemClock.call_at."""
        self.asked += 1
        return super().call_at(when, callback)


async def test_publishers_are_told_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    async with TestReceiver() as shop, Plane(tmp_path, SystemClock(), KNOBS) as plane:
        application = await plane.application()
        await plane.endpoint(application, shop.url)
        kept = await plane.publish(application)
        async with write_lock(plane.path):
            refused = await asyncio.gather(
                *(plane.publish(application) for _ in range(20)), return_exceptions=True
            )
        assert {type(one) for one in refused} == {UnavailableError}
        later = await plane.publish(application)
        await plane.settled()
        found = await plane.store.messages(application.id, MessageFilter(), Page())
        assert {one.public_id for one in found.data} == {kept.public_id, later.public_id}
        assert len(shop.requests) == 2


async def test_results_wait_in_memory_and_are_recorded_afterwards(tmp_path: Path) -> None:
    door = Door()
    async with TestReceiver(door) as shop, Plane(tmp_path, SystemClock(), KNOBS) as plane:
        application = await plane.application(SOON)
        endpoints = [await plane.endpoint(application, shop.url + str(n)) for n in range(10)]
        message = await plane.publish(application)
        await door.wait_for(10)
        async with write_lock(plane.path):
            door.open()
            await plane.until(lambda: len(plane.told.attempts) == 10)
            await plane.until(lambda: plane.dispatcher.recorder.behind)
            assert await plane.attempts(message) == []
        await plane.settled()
        assert len(await plane.attempts(message)) == 10
        for endpoint in endpoints:
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        assert len(shop.requests) == 10


async def test_nothing_is_claimed_before_what_is_known_is_recorded(tmp_path: Path) -> None:
    """Leases that end while the store is away do not make known results unknown."""
    door = Door()
    knobs = Knobs(busy_ms=20, lease=4_000, timeout=2_500)
    async with TestReceiver(door) as shop, Plane(tmp_path, SystemClock(), knobs) as plane:
        application = await plane.application(SOON)
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(application)
        await door.wait_for(1)
        async with write_lock(plane.path):
            door.open()
            await plane.until(lambda: len(plane.told.attempts) == 1)
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(4.2, over.set)
            await over.wait()
        await plane.settled()
        assert [one.outcome for one in await plane.attempts(message)] == [Outcome.ACCEPTED]
        assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        assert len(shop.requests) == 1


async def test_what_the_receiver_asked_for_is_not_forgotten(tmp_path: Path) -> None:
    door = Door(Answer(status=410))
    async with TestReceiver(door) as shop, Plane(tmp_path, SystemClock(), KNOBS) as plane:
        application = await plane.application(SOON)
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await door.wait_for(1)
        async with write_lock(plane.path):
            door.open()
            await plane.until(lambda: plane.dispatcher.recorder.behind)
        await plane.settled()
        assert (await plane.store.endpoint(application.id, endpoint.public_id)).disabled


async def test_what_is_learned_of_many_endpoints_meanwhile_is_not_forgotten(
    tmp_path: Path,
) -> None:
    """All of them fail, then all recover while nothing can be written."""
    count, well = 1_200, False
    knobs = Knobs(busy_ms=20, auto_disable_after=0)
    async with (
        TestReceiver(lambda _: OK if well else Answer(status=500)) as shop,
        Plane(tmp_path, SystemClock(), knobs) as plane,
    ):
        application = await plane.application(Policy(retry_schedule=(60_000,)))
        for start in range(0, count, 200):
            await asyncio.gather(
                *(plane.endpoint(application, f"{shop.url}{start + n}") for n in range(200))
            )
        message = await plane.publish(application)
        await plane.settled(limit_s=30)
        ahead = plane.clock.now() + 1_000_000
        assert len(await plane.store.failing_since(ahead, count)) == count
        well = True
        second = await plane.publish(application)
        await plane.until(lambda: len(plane.told.attempts) > count)
        async with write_lock(plane.path):
            await plane.until(lambda: len(plane.told.attempts) == 2 * count)
            await plane.until(lambda: plane.dispatcher.recorder.behind)
        await plane.settled(limit_s=30)
        assert await plane.store.failing_since(ahead, count) == ()
        states = await plane.store.delivery_states(second.id)
        assert set(states.values()) == {DeliveryState.DELIVERED}
        assert message.id != second.id


async def test_the_loop_does_not_spin_while_it_waits_for_the_store(tmp_path: Path) -> None:
    door, clock = Door(Answer(status=500)), CountingClock()
    async with TestReceiver(door) as shop, Plane(tmp_path, clock, KNOBS) as plane:
        application = await plane.application(SOON)
        for number in range(5):
            await plane.endpoint(application, shop.url + str(number))
        await plane.publish(application)
        await door.wait_for(5)
        async with write_lock(plane.path):
            door.open()
            await plane.until(lambda: plane.dispatcher.recorder.behind)
            plane.dispatcher.wake()
            before, used = clock.asked, time.process_time()
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(1.0, over.set)
            await over.wait()
            assert clock.asked - before < 50
            assert time.process_time() - used < 0.7


async def test_the_loop_does_not_spin_while_there_is_no_room_for_what_is_due(
    tmp_path: Path,
) -> None:
    from marketbell.delivery.fairness import Places

    door, clock = Door(), CountingClock()
    knobs = Knobs(places=Places(stock=8, sockets=8))
    async with TestReceiver(door) as shop, Plane(tmp_path, clock, knobs) as plane:
        application = await plane.application(SOON)
        for number in range(20):
            await plane.endpoint(application, shop.url + str(number))
        for _ in range(3):
            await plane.publish(application)
        await door.wait_for(4)
        before = clock.asked
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(1.6, over.set)
        await over.wait()
        assert clock.asked - before < 100
        door.open()
        await shop.wait_for(60)
        await plane.settled()


@pytest.mark.parametrize("seed", range(3))
async def test_an_unsteady_store_loses_nothing_and_doubles_nothing(
    tmp_path: Path, seed: int
) -> None:
    """It comes and goes a dozen times under load; receivers fail now and then."""
    import random

    chance = random.Random(seed)
    came: Counter[bytes] = Counter()

    async def answer(request: Received) -> Answer:
        came[request.body] += 1
        await asyncio.sleep(chance.random() * 0.01)
        return Answer(status=500) if chance.random() < 0.2 else OK

    knobs = Knobs(busy_ms=10, breaker_failures=10_000)
    async with TestReceiver(answer) as shop, Plane(tmp_path, SystemClock(), knobs) as plane:
        application = await plane.application(Policy(retry_schedule=(20,) * 60))
        endpoint = await plane.endpoint(application, shop.url)
        accepted = []
        stop = False

        async def load(worker: int) -> None:
            number = 0
            while not stop:
                number += 1
                try:
                    payload = b'{"worker":%d,"n":%d}' % (worker, number)
                    accepted.append(await plane.publish(application, payload))
                except StoreError:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.002)

        workers = [asyncio.create_task(load(worker)) for worker in range(4)]
        rounds = 0
        while rounds < 12 or len(accepted) <= 20:
            rounds += 1
            assert rounds < 1_000
            await asyncio.sleep(chance.random() * 0.06)
            if rounds % 3 == 0:  # on a busy machine nothing would come through
                await grown(accepted)
            async with write_lock(plane.path):
                await asyncio.sleep(chance.random() * 0.08)
        stop = True
        await asyncio.gather(*workers)
        delivered = {one.message_id for one in plane.told.attempts if not one.reason}
        wanted = {message.id for message in accepted}

        def all_there() -> bool:
            delivered.update(
                one.message_id for one in plane.told.attempts if one.outcome is Outcome.ACCEPTED
            )
            return wanted <= delivered

        await plane.until(all_there)
        await plane.settled()
        found = await plane.store.messages(
            application.id, MessageFilter(with_content=False), Page(limit=10_000)
        )
        assert {one.id for one in found.data} == wanted
        for message in accepted:
            attempts = await plane.attempts(message)
            assert came[message.payload] == len(attempts)
            assert [one.number for one in attempts] == list(range(1, len(attempts) + 1))
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        assert (await plane.store.application(ORGANIZATION, application.public_id)).id
