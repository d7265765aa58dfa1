"""A data plane that stops: nothing is begun any more, and what was not sent is nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Outcome
from marketbell.store.base import Claimed, ClaimRequest
from marketbell.testing import CLOSE, OK, Answer, Received, TestReceiver
from support.plane import Knobs, Plane

KEPT: Final = Knobs(idle_s=60.0)
"""Where a connection is used again, whatever the machine does meanwhile."""


async def test_a_node_that_stops_repeats_nothing_and_gives_the_claim_back(tmp_path: Path) -> None:
    came, door = asyncio.Event(), asyncio.Event()

    count = 0

    async def script(_request: Received) -> Answer:
        nonlocal count
        count += 1
        if count == 1:
            return OK
        came.set()
        await door.wait()
        return CLOSE

    async with TestReceiver(script) as shop, Plane(tmp_path, SystemClock(), KEPT) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        message = await plane.publish(application)
        await came.wait()
        stopped = asyncio.create_task(plane.dispatcher.drain(30.0))
        await asyncio.sleep(0)
        door.set()
        assert await stopped == 0
        assert len(shop.requests) == 2
        assert [one.outcome for one in await plane.attempts(message)] == [Outcome.CLOSED]
        assert await plane.state(message, endpoint) is DeliveryState.PENDING


async def test_what_was_being_claimed_at_the_stop_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url, paused=True)
        messages = [await plane.publish(application) for _ in range(3)]
        claim, stopped = plane.store.claim, asyncio.Event()
        draining: list[asyncio.Task[int]] = []

        async def slow(request: ClaimRequest) -> Claimed:
            claimed = await claim(request)
            if claimed.claims and not draining:
                # It is on disk and its answer on the way: the endpoint is edited, the node stops.
                await plane.change(endpoint, paused=False, description="Edited")
                draining.append(asyncio.create_task(plane.dispatcher.drain(30.0)))
                await asyncio.sleep(0)
                stopped.set()
            return claimed

        monkeypatch.setattr(plane.store, "claim", slow)
        await plane.change(endpoint, paused=False)
        await stopped.wait()
        assert await draining[0] == 0
        assert not shop.requests
        assert await plane.states(messages, endpoint) == {DeliveryState.PENDING}


@asynccontextmanager
async def mute() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server that takes a connection and says nothing: its port, and when something has come."""
    came, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        came.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def test_a_request_that_is_still_connecting_at_the_end_is_given_back(tmp_path: Path) -> None:
    async with mute() as (port, came), Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, f"https://127.0.0.1:{port}/")
        message = await plane.publish(application)
        await came.wait()  # the first bytes of TLS, and none of the request
        assert await plane.dispatcher.drain(0.0) == 0
        assert await plane.state(message, endpoint) is DeliveryState.PENDING
        assert await plane.attempts(message) == []


async def test_no_attempt_is_begun_once_the_node_is_to_begin_no_more(tmp_path: Path) -> None:
    async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        waiting = await plane.publish(application, after=1)
        plane.dispatcher.begin_no_more()
        messages = [waiting, *[await plane.publish(application) for _ in range(3)]]
        assert await plane.dispatcher.drain(5.0) == 0
        assert len(shop.requests) == 1
        assert await plane.states(messages, endpoint) == {DeliveryState.PENDING}
