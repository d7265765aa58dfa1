"""PostgreSQL has no room left: publishers are told, results wait, nothing is lost or kept by half."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import psycopg
import pytest

from marketbell.errors import OutcomeUnknownError, StoreError, UnavailableError
from marketbell.model import DeliveryState, Outcome, Policy
from marketbell.store.base import MessageFilter, Page
from marketbell.testing import TestReceiver
from support.door import Door
from support.outages import Site, site, template
from support.plane import Knobs
from support.postgres_disk import CrampedPostgres

LIMIT_S: Final = 60.0
KNOBS: Final = Knobs(wait_s=5.0, timeout=60_000, lease=120_000, breaker_failures=1_000)
BIG: Final = b'{"fill":"' + bytes(b"0123456789abcdef"[(n * n) % 16] for n in range(200_000)) + b'"}'


@pytest.fixture(params=["data", "log"])
def at(request: pytest.FixtureRequest) -> Iterator[Site]:
    """
    A database on a small disk.

    Where only the data are on it the server goes on and says what it lacks; where its log is on
    it too, it ends, and is started again.
    """
    with (
        CrampedPostgres(log_apart=request.param == "data") as server,
        site(server, template(server)) as found,
    ):
        yield found


def exhaust(server: CrampedPostgres) -> None:
    """Fill the disk; where the log is on it too, until the server has ended for want of room."""
    server.fill()
    if server.log_apart:
        return
    with contextlib.suppress(psycopg.OperationalError), server.connect() as connection:
        while True:
            connection.execute("select pg_logical_emit_message(false, 'fill', repeat('x', 1000))")
            connection.execute("select pg_switch_wal()")
    assert server.ended() != 0


async def test_a_full_disk_loses_nothing(at: Site) -> None:
    server, door = at.server, Door()
    assert isinstance(server, CrampedPostgres)
    async with TestReceiver(door) as shop, at.plane(KNOBS) as plane:
        application = await plane.application(Policy(retry_schedule=(100,) * 20))
        endpoint = await plane.endpoint(application, shop.url)
        first = await plane.publish(application, b'{"n":1}')
        await door.wait_for(1)
        await asyncio.to_thread(exhaust, server)
        told: list[StoreError] = []
        kept: list[str] = []
        async with asyncio.timeout(LIMIT_S):
            while not any(isinstance(error, UnavailableError) for error in told):
                try:
                    kept.append((await plane.publish(application, BIG)).public_id)
                except StoreError as error:
                    told.append(error)
        door.open()
        await plane.until(lambda: bool(plane.told.attempts), limit_s=LIMIT_S)
        await asyncio.to_thread(server.free)
        if not server.log_apart:
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    kept.append((await plane.publish(application, b'{"n":2}')).public_id)
                    break
                except StoreError:
                    await asyncio.sleep(0.05)
        await plane.settled(limit_s=LIMIT_S)
        found = await plane.store.messages(application.id, MessageFilter(), Page(limit=1_000))
        unsure = sum(isinstance(error, OutcomeUnknownError) for error in told)
        ids = {one.public_id for one in found.data}
        assert ids >= {first.public_id, *kept}
        assert len(ids) <= 1 + len(kept) + unsure
        assert await plane.state(first, endpoint) is DeliveryState.DELIVERED
        assert [one.outcome for one in await plane.attempts(first)] == [Outcome.ACCEPTED]
        assert [request.body for request in shop.requests].count(b'{"n":1}') == 1
