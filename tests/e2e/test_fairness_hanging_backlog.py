"""Receivers that are slow, or that a rate limit holds, leave memory for the others however much waits for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from marketbell.delivery.fairness import Places
from marketbell.model import Outcome
from marketbell.store.base import Published, Subscribers
from marketbell.testing import OK, Answer, FakeClock, Received, TestReceiver
from support.plane import ORGANIZATION, Knobs, Plane

SICK: Final = 16
WELL: Final = 10
STOCK: Final = 256
CAP: Final = 8
BACKLOG: Final = 100
BURST: Final = 40
"""For each of the others: together more than there is memory for."""


class Shops:
    """A receiver's script: those whose path begins with `s` answer as soon as the gate is open, always well."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.came: Counter[str] = Counter()

    async def __call__(self, request: Received) -> Answer:
        self.came[request.target] += 1
        if request.target.startswith("/s"):
            await self.gate.wait()
        return OK

    def count(self, kind: str) -> int:
        return sum(count for target, count in self.came.items() if target.startswith(f"/{kind}"))


async def shops_of(plane: Plane, url: str, count: int, rate: int | None) -> list[Subscribers]:
    """An application of its own, with one endpoint, for each."""
    made: list[Subscribers] = []
    for number in range(count):
        application = await plane.application()
        await plane.endpoint(application, f"{url}{number}", throttle_rate=rate)
        made.append(await plane.store.subscribers(ORGANIZATION, application.public_id))
    return made


async def publish(plane: Plane, shops: Sequence[Subscribers], count: int) -> None:
    """So many messages for each, at once."""
    acceptances = [plane.acceptance(one, b'{"n":1}') for _ in range(count) for one in shops]
    verdicts = await plane.dispatcher.accept(acceptances)
    assert all(isinstance(verdict, Published) for verdict in verdicts)


@pytest.mark.parametrize("rate", [None, 1], ids=["slow", "limited"])
async def test_a_backlog_of_slow_endpoints_holds_nobody_else_up(
    tmp_path: Path, rate: int | None
) -> None:
    """The clock stands still and no slow answer comes, so nothing that they hold comes free meanwhile."""
    shops = Shops()
    knobs = Knobs(places=Places(stock=STOCK), max_in_flight=CAP)
    async with (
        TestReceiver(shops) as receiver,
        Plane(tmp_path, FakeClock(), knobs) as plane,
    ):
        sick = await shops_of(plane, receiver.url + "s", SICK, rate)
        well = await shops_of(plane, receiver.url + "w", WELL, None)
        await publish(plane, [*sick, *well], 6)
        await plane.pass_time(6_000)  # all have proved themselves, and their windows are open
        assert shops.count("s") == SICK * 6
        if rate is None:
            shops.gate.clear()
        await publish(plane, sick, BACKLOG)
        if rate is not None:
            await plane.settled()  # as much as may be has been claimed of it
        held = shops.count("s")
        await publish(plane, well, BURST)
        await plane.until(lambda: shops.count("w") == WELL * (6 + BURST))
        assert shops.count("s") - held <= SICK * CAP
        assert {attempt.outcome for attempt in plane.told.attempts} == {Outcome.ACCEPTED}
        assert all(lane.backlog for lane in plane.lanes.by_endpoint.values() if lane.rate)
        shops.gate.set()
        if rate is None:
            await plane.until(lambda: shops.count("s") == SICK * (6 + BACKLOG))
            await plane.settled()
