"""PostgreSQL is away for a while: publishers are told, results wait, and it all goes on by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from marketbell.errors import OutcomeUnknownError, StoreError, UnavailableError
from marketbell.model import Application, DeliveryState, Message, Outcome, Policy
from marketbell.store.base import MessageFilter, Page
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.door import Door
from support.eventually import eventually, grown
from support.outages import ILL_TREATED, OUTAGES, POOLED_OUTAGES, Outage, Site, site, template
from support.plane import Knobs, Plane
from support.postgres import PostgresServer
from support.proxy import Act, Line

SOON: Final = Policy(retry_schedule=(100,) * 20)
KNOBS: Final = Knobs(wait_s=3.0, timeout=40_000, lease=120_000, breaker_failures=1_000)
LIMIT_S: Final = 40.0
"""How long anything may take on a machine that has other things to do."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that the tests here stop, freeze and kill."""
    with PostgresServer(settings=ILL_TREATED) as own:
        yield own


@pytest.fixture(scope="module")
def empty(server: PostgresServer) -> str:
    """The name of a database that has the schema."""
    return template(server)


@pytest.fixture
def direct(server: PostgresServer, empty: str) -> Iterator[Site]:
    with site(server, empty) as found:
        yield found


@pytest.fixture
def pooled(server: PostgresServer, empty: str) -> Iterator[Site]:
    with site(server, empty, pooled=True) as found:
        yield found


def rare(how: str, *slow: str) -> object:
    """A parameter; those that are slow and like another one are not run every time."""
    return pytest.param(how, marks=[pytest.mark.slow] if how in slow else [])


async def published_again(plane: Plane, application: Application, payload: bytes) -> float:
    """Publish until it is accepted; how many seconds that took."""
    begun = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await plane.publish(application, payload)
            except StoreError:
                await asyncio.sleep(0.02)
            else:
                return time.monotonic() - begun


async def refuses(plane: Plane, application: Application) -> dict[bytes, StoreError]:
    """What publishers are told who come until one of them is told that it was not kept."""
    told: dict[bytes, StoreError] = {}
    async with asyncio.timeout(LIMIT_S):
        while not any(isinstance(error, UnavailableError) for error in told.values()):
            payloads = [b'{"refused":%d}' % (len(told) + number) for number in range(5)]
            errors = await asyncio.gather(
                *(plane.publish(application, payload) for payload in payloads),
                return_exceptions=True,
            )
            for payload, error in zip(payloads, errors, strict=True):
                assert isinstance(error, (UnavailableError, OutcomeUnknownError)), error
                told[payload] = error
    return told


async def outlives(at: Site, outage: Outage) -> None:
    """Nothing is lost, doubled or lied about, and it goes on by itself."""
    door = Door()
    async with TestReceiver(door) as shop, at.plane(KNOBS) as plane:
        application = await plane.application(SOON)
        endpoints = [await plane.endpoint(application, f"{shop.url}{n}") for n in range(5)]
        first = await plane.publish(application, b'{"n":1}')
        await door.wait_for(5)
        await asyncio.to_thread(outage.begin, at)
        told = await refuses(plane, application)
        # What is claimed is sent, and what became of it is kept in mind.
        door.open()
        await plane.until(lambda: len(plane.told.attempts) == 5, limit_s=LIMIT_S)
        await behind(plane)
        await asyncio.to_thread(outage.end, at)
        await published_again(plane, application, b'{"n":2}')
        await plane.settled(limit_s=LIMIT_S)
        for endpoint in endpoints:
            assert await plane.state(first, endpoint) is DeliveryState.DELIVERED
        attempts = await plane.attempts(first)
        assert [one.outcome for one in attempts] == [Outcome.ACCEPTED] * 5
        bodies = [request.body for request in shop.requests]
        assert bodies.count(b'{"n":1}') == bodies.count(b'{"n":2}') == 5
        # Of what a publisher was told that it was not kept, nothing is.
        found = await plane.store.messages(application.id, MessageFilter(), Page(limit=1_000))
        kept = {one.payload for one in found.data}
        unsure = {body for body, error in told.items() if isinstance(error, OutcomeUnknownError)}
        assert kept - unsure == {b'{"n":1}', b'{"n":2}'}


async def behind(plane: Plane) -> None:
    """Return once the store has refused results."""
    await eventually(lambda: plane.dispatcher.recorder.behind)


@pytest.mark.parametrize("how", [rare(how, "questions lost", "answers lost") for how in OUTAGES])
async def test_what_is_claimed_is_sent_and_recorded_afterwards(direct: Site, how: str) -> None:
    await outlives(direct, OUTAGES[how])


@pytest.mark.parametrize("how", [rare(how, "frozen", "killed") for how in POOLED_OUTAGES])
async def test_over_a_pooler_too(pooled: Site, how: str) -> None:
    await outlives(pooled, POOLED_OUTAGES[how])


@pytest.mark.parametrize(
    "line", [Line(delay_ms=15), Line(bytes_per_s=40_000)], ids=["delayed", "narrow"]
)
async def test_a_slow_network_is_only_slow(direct: Site, line: Line) -> None:
    knobs = msgspec.structs.replace(KNOBS, wait_s=20.0)
    async with TestReceiver() as shop, direct.plane(knobs) as plane:
        application = await plane.application(SOON)
        await plane.endpoint(application, shop.url)
        await plane.publish(application)
        direct.proxy.put(line)
        messages = await asyncio.gather(*(plane.publish(application) for _ in range(20)))
        await shop.wait_for(21)
        await plane.settled(limit_s=LIMIT_S)
        direct.proxy.put(Line())
        for message in messages:
            assert [one.outcome for one in await plane.attempts(message)] == [Outcome.ACCEPTED]
        assert len(shop.requests) == 21


async def test_who_waits_for_a_server_that_is_away_neither_spins_nor_floods_the_log(
    direct: Site, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(Answer(status=503))
    async with TestReceiver(door) as shop, direct.plane(KNOBS) as plane:
        application = await plane.application(Policy(retry_schedule=(60_000,) * 3))
        for number in range(5):
            await plane.endpoint(application, f"{shop.url}{number}")
        await plane.publish(application)
        await door.wait_for(5)
        # Each connection is accepted and ended at once, so that trying is as cheap as can be.
        direct.proxy.target = ("127.0.0.1", 1)
        direct.proxy.cut()
        door.open()
        await behind(plane)
        caplog.clear()
        before, used = direct.proxy.accepted, time.process_time()
        refused = 0
        begun = time.monotonic()
        while (took := time.monotonic() - begun) < 1.5 or refused <= 20:
            with pytest.raises(StoreError):
                await plane.publish(application)
            refused += 1
            plane.dispatcher.wake()
            await asyncio.sleep(0.02)
        assert direct.proxy.accepted - before < 20 * took
        assert time.process_time() - used < 0.67 * took
        assert len(caplog.records) < 10
        direct.proxy.target = ("127.0.0.1", direct.server.port)
        await published_again(plane, application, b"{}")
        await plane.until(lambda: not plane.dispatcher.recorder.behind, limit_s=LIMIT_S)


@pytest.mark.slow
async def test_a_node_can_be_stopped_while_the_database_is_away(direct: Site) -> None:
    door = Door()
    async with TestReceiver(door) as shop:
        async with direct.plane(KNOBS) as plane:
            application = await plane.application(SOON)
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await door.wait_for(1)
            direct.proxy.put(Line(stalled=True))
            door.open()
            await behind(plane)
            begun = time.monotonic()
        assert time.monotonic() - begun < 30  # and not for claims, which would take two minutes
        direct.proxy.put(Line())
        # Its claim is found by its lease.
        async with direct.plane(KNOBS) as plane:
            assert await plane.state(message, endpoint) is DeliveryState.SENDING


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_an_unsteady_network_loses_nothing_and_doubles_nothing(
    direct: Site, seed: int
) -> None:
    """Connections are cut and commits' answers lost a dozen times and more under load."""
    chance = random.Random(seed)
    came: Counter[bytes] = Counter()

    async def answer(request: Received) -> Answer:
        came[request.body] += 1
        await asyncio.sleep(chance.random() * 0.01)
        return Answer(status=500) if chance.random() < 0.2 else OK

    knobs = Knobs(lease=8_000, timeout=3_000, breaker_failures=10_000, look=500)
    async with TestReceiver(answer) as shop, direct.plane(knobs) as plane:
        application = await plane.application(Policy(retry_schedule=(20,) * 60))
        endpoint = await plane.endpoint(application, shop.url)
        accepted: list[Message] = []
        unsure = 0
        stopping = False

        async def load(worker: int) -> None:
            nonlocal unsure
            number = 0
            while not stopping:
                number += 1
                payload = b'{"worker":%d,"n":%d}' % (worker, number)
                try:
                    accepted.append(await plane.publish(application, payload))
                except OutcomeUnknownError:
                    unsure += 1
                except StoreError:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.002)

        workers = [asyncio.create_task(load(worker)) for worker in range(4)]
        rounds = 0
        while rounds < 12 or len(accepted) < 40:
            rounds += 1
            assert rounds < 1_000
            await asyncio.sleep(chance.random() * 0.1)
            if rounds % 3 == 0:  # on a busy machine nothing would come through between two faults
                await grown(accepted)
            chosen = chance.random()
            if chosen < 0.4:
                direct.at_commit(chance.choice((Act.LOSE_ANSWER, Act.RESET)))
            elif chosen < 0.7:
                direct.proxy.cut()
            else:
                direct.proxy.refuse()
                await asyncio.sleep(chance.random() * 0.1)
                direct.proxy.admit()
        direct.proxy.watch(None)
        stopping = True
        await asyncio.gather(*workers)
        wanted = {message.id for message in accepted}

        def delivered() -> set[int]:
            attempts = plane.told.attempts
            return {one.message_id for one in attempts if one.outcome is Outcome.ACCEPTED}

        await eventually(lambda: wanted <= delivered())
        await plane.settled(limit_s=LIMIT_S)
        found = await plane.store.messages(
            application.id, MessageFilter(with_content=False), Page(limit=10_000)
        )
        kept = {one.id for one in found.data}
        assert kept >= wanted
        assert len(kept - wanted) <= unsure
        for message in accepted:
            attempts = await plane.attempts(message)
            sent = [one for one in attempts if one.outcome is not Outcome.UNKNOWN]
            assert came[message.payload] == len(sent)
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
