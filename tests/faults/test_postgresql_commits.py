"""The answer to a commit is lost, or never comes: nobody is told what is not known, and nothing is doubled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from marketbell.delivery.intake import Acceptance
from marketbell.errors import OutcomeUnknownError, StoreError
from marketbell.model import Application, DeliveryState, Outcome, Policy
from marketbell.store.base import Idempotency, MessageFilter, Page, Published
from marketbell.store.postgresql_store import PostgresStore
from marketbell.testing import TestReceiver
from support.door import Door
from support.eventually import eventually
from support.outages import Site, site, template
from support.plane import ORGANIZATION, Knobs, Plane
from support.postgres import PostgresServer
from support.postgres_replica import Replica
from support.proxy import Act

LIMIT_S: Final = 40.0
KNOBS: Final = Knobs(lease=6_000, timeout=3_000, breaker_failures=1_000)
"""With leases that are short, because those of a commit that nobody knows of are waited for."""
SOON: Final = Policy(retry_schedule=(100,) * 20)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that a replica may follow."""
    with PostgresServer() as own:
        yield own


@pytest.fixture
def direct(server: PostgresServer) -> Iterator[Site]:
    with site(server, template(server)) as found:
        yield found


@pytest.fixture
def pooled(server: PostgresServer) -> Iterator[Site]:
    with site(server, template(server), pooled=True) as found:
        yield found


@pytest.fixture(params=["busy", pytest.param("quiet", marks=pytest.mark.slow), "pooled"])
def at(request: pytest.FixtureRequest) -> Site:
    """
    A server that answered just now, one that has not for a while, and one behind a pooler.

    The first is asked by a statement alone where that is enough.
    """
    found: Site = request.getfixturevalue("pooled" if request.param == "pooled" else "direct")
    found.quiet = request.param == "quiet"
    return found


@contextlib.contextmanager
def synchronous_replica(server: PostgresServer) -> Iterator[Replica]:
    """Without it no commit is answered; nothing waits for it afterwards."""
    try:
        with Replica(server, synchronous=True) as replica:
            yield replica
    finally:
        server.execute("alter system reset synchronous_standby_names")
        server.execute("select pg_reload_conf()")


async def resting(plane: Plane, at: Site) -> None:
    """Return once the connection that is written on has been quiet for a while, if it is to be."""
    assert isinstance(plane.store, PostgresStore)
    connection = plane.store._executors[0].connection
    await eventually(lambda: not (at.quiet and connection.warm))


async def keyed(plane: Plane, application: Application) -> Acceptance:
    """A message whose publisher repeats it under one idempotency key."""
    subscribers = await plane.store.subscribers(ORGANIZATION, application.public_id)
    return msgspec.structs.replace(
        plane.acceptance(subscribers, b'{"n":1}'),
        idempotency=Idempotency(key=b"k" * 16, body=b"b" * 16, auto=False),
    )


async def accepted(plane: Plane, acceptance: Acceptance) -> Published:
    """Hand it over again and again until it is accepted."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                (verdict,) = await plane.dispatcher.accept([acceptance])
            except StoreError:
                await asyncio.sleep(0.02)
                continue
            assert isinstance(verdict, Published), verdict
            return verdict


async def kept(plane: Plane, application: Application) -> list[str]:
    """The ids of all messages."""
    found = await plane.store.messages(application.id, MessageFilter(), Page(limit=100))
    return [one.public_id for one in found.data]


@pytest.mark.parametrize("act", [Act.LOSE_ANSWER, Act.RESET])
async def test_a_publisher_who_was_told_nothing_gets_the_first_answer(at: Site, act: Act) -> None:
    async with TestReceiver() as shop, at.plane(KNOBS) as plane:
        application = await plane.application(SOON)
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application, b"{}")
        await shop.wait_for(1)
        await plane.settled()
        await resting(plane, at)
        acceptance = await keyed(plane, application)
        happened = at.at_commit(act)
        with pytest.raises(OutcomeUnknownError):
            await plane.dispatcher.accept([acceptance])
        assert happened.is_set()
        there = await kept(plane, application)
        assert len(there) == 1 + (act is Act.LOSE_ANSWER)
        again = await accepted(plane, await keyed(plane, application))
        assert again.repeated == (act is Act.LOSE_ANSWER)
        ids = await kept(plane, application)
        assert len(ids) == 2
        assert again.message.public_id in ids
        assert set(there) <= set(ids)
        # Born claimed by a node that knows nothing of it, it comes when its lease is over.
        await shop.wait_for(2)
        await plane.settled(limit_s=LIMIT_S)
        assert await plane.state(again.message, endpoint) is DeliveryState.DELIVERED
        assert len(shop.requests) == 2


@pytest.mark.parametrize("act", [Act.LOSE_ANSWER, Act.RESET])
async def test_an_attempt_is_recorded_once(at: Site, act: Act) -> None:
    door = Door()
    async with TestReceiver(door) as shop, at.plane(KNOBS) as plane:
        application = await plane.application(SOON)
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(application)
        await door.wait_for(1)
        await resting(plane, at)
        # A look at what is due may come before it.
        happened = at.at_commit(act, of=b"record_attempts(")
        door.open()
        await eventually(lambda: plane.dispatcher.recorder.behind)
        assert happened.is_set()
        await plane.settled(limit_s=LIMIT_S)
        assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        assert [one.outcome for one in await plane.attempts(message)] == [Outcome.ACCEPTED]
        assert len(shop.requests) == 1


async def test_claims_whose_commit_is_unknown_come_back_with_their_leases(pooled: Site) -> None:
    at = pooled
    async with TestReceiver() as shop, at.plane(KNOBS) as plane:
        application = await plane.application(SOON)
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(application, after=1_500)
        await plane.settled()
        happened = at.at_commit(Act.LOSE_ANSWER, of=b"claim_deliveries(")
        await shop.wait_for(1)
        assert happened.is_set()
        await plane.settled(limit_s=LIMIT_S)
        assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        outcomes = [one.outcome for one in await plane.attempts(message)]
        assert outcomes == [Outcome.UNKNOWN, Outcome.ACCEPTED]
        assert len(shop.requests) == 1


async def test_a_commit_that_waits_for_a_replica_for_ever_is_given_up_and_not_believed(
    server: PostgresServer,
) -> None:
    """It has no time limit of the server's; asked to cancel it, the server would say it has committed."""
    knobs = msgspec.structs.replace(KNOBS, wait_s=3.0)
    with site(server, template(server)) as at, synchronous_replica(server) as replica:
        async with TestReceiver() as shop, at.plane(knobs) as plane:
            application = await plane.application(SOON)
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(await plane.application())  # today's partitions are there by this
            replica.freeze()
            acceptance = await keyed(plane, application)
            with pytest.raises(OutcomeUnknownError):
                await plane.dispatcher.accept([acceptance])
            # Until the replica has it, it is not there for anybody: neither for who asks again.
            with pytest.raises(StoreError):
                await plane.dispatcher.accept([await keyed(plane, application)])
            assert await kept(plane, application) == []
            replica.thaw()
            again = await accepted(plane, await keyed(plane, application))
            assert await kept(plane, application) == [again.message.public_id]
            await shop.wait_for(1)
            await plane.settled(limit_s=LIMIT_S)
            assert await plane.state(again.message, endpoint) is DeliveryState.DELIVERED
            assert len(shop.requests) == 1
            replica.catch_up()
            (count,) = replica.execute(
                "select count(*) from marketbell.message", database=at.database
            )[0]
            assert count == 2
