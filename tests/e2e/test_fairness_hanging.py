"""Receivers that hang cost the others nothing that they would notice."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from marketbell.clock import SystemClock
from marketbell.delivery.fairness import Places
from marketbell.model import Policy
from marketbell.store.base import Published, Subscribers
from marketbell.testing import HANG, OK, Answer, Received, TestReceiver
from support.ledger import Show, shower, table
from support.plane import ORGANIZATION, Knobs, Plane

pytestmark = pytest.mark.alone

FLOOR_S: Final = 0.05
"""Below this nobody notices; and a busy machine makes no smaller figures steady."""

ROUNDS_MAX: Final = 8

_LATER: Final = Policy(retry_schedule=(600_000,))


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


class Shops:
    """A receiver's script: those whose path begins with `h` hang while they are told to."""

    def __init__(self) -> None:
        self.hanging = False
        self.came: dict[bytes, float] = {}
        """When a healthy one got which body."""

    def __call__(self, request: Received) -> Answer:
        if request.target.startswith("/h"):
            return HANG if self.hanging else OK
        self.came.setdefault(request.body, time.monotonic())
        return OK


class Load:
    """Publishes at a steady rate and notes how long each healthy delivery took from acceptance."""

    def __init__(self, plane: Plane, shops: Shops, seed: int) -> None:
        self.chance = random.Random(seed)
        self.accepted: dict[bytes, float] = {}
        self._plane = plane
        self._shops = shops
        self._count = 0

    async def run(
        self, sick: Sequence[Subscribers], well: Sequence[Subscribers], *, share: float,
        rate: float, seconds: float,
    ) -> list[float]:  # fmt: skip
        """One phase: so many messages a second, this share of them for the sick ones."""
        self.accepted.clear()
        self._shops.came.clear()
        begun = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        for number in range(int(rate * seconds)):
            wait = begun + number / rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            is_well = self.chance.random() >= share
            chosen = self.chance.choice(well if is_well else sick)
            task = asyncio.create_task(self._publish(chosen, is_well))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        shops = self._shops
        await self._plane.until(lambda: self.accepted.keys() <= shops.came.keys())
        return [max(0.0, shops.came[body] - at) for body, at in self.accepted.items()]

    async def _publish(self, subscribers: Subscribers, measured: bool) -> None:
        self._count += 1
        body = b'{"n":%d}' % self._count
        acceptance = self._plane.acceptance(subscribers, body)
        (verdict,) = await self._plane.dispatcher.accept([acceptance])
        assert isinstance(verdict, Published)
        if measured:
            self.accepted[body] = time.monotonic()


async def shops_of(plane: Plane, url: str, names: Sequence[str]) -> list[Subscribers]:
    """An application of its own, with one endpoint, for every name."""

    async def make(name: str) -> Subscribers:
        application = await plane.application(_LATER)
        await plane.endpoint(application, url + name)
        return await plane.store.subscribers(ORGANIZATION, application.public_id)

    made: list[Subscribers] = []
    for place in range(0, len(names), 500):
        made += await asyncio.gather(*map(make, names[place : place + 500]))
    return made


def p95(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.95 * len(times)) - 1]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison: what is published, and how it is measured."""

    sick: int
    well: int
    share: float
    """Of the messages are for the sick ones."""
    rate: float
    seconds: float
    seed: int
    incurable: bool = False
    """The sick ones never answer; the load that they are compared with is for the others alone."""


async def compare(folder: Path, knobs: Knobs, trial: Trial) -> tuple[list[float], list[float]]:
    """
    The healthy ones' p95 without any that hang, and with them; in turns, as many as there must be.

    The best of each counts: what hangs would spoil every turn, and a machine that stands still
    for a moment spoils some.
    """
    shops = Shops()
    async with (
        TestReceiver(shops) as receiver,
        Plane(folder, SystemClock(), knobs) as plane,
    ):
        sick = await shops_of(plane, receiver.url, [f"h{n}" for n in range(trial.sick)])
        well = await shops_of(plane, receiver.url, [f"w{n}" for n in range(trial.well)])
        load = Load(plane, shops, trial.seed)

        async def run(share: float) -> list[float]:
            return await load.run(sick, well, share=share, rate=trial.rate, seconds=trial.seconds)

        # First all that can prove themselves do, then what hangs from the start has been tried.
        await run(0.0 if trial.incurable else trial.share)
        if trial.incurable:
            shops.hanging = True
            await run(trial.share)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(2 * ROUNDS_MAX):
            hanging = turn % 2 == 1
            shops.hanging = hanging or trial.incurable
            share = trial.share if hanging or not trial.incurable else 0.0
            times[hanging].append(p95(await run(share)))
            if turn >= 3 and hanging and unharmed(times):
                break
        shops.hanging = False
        await plane.settled()
        return times


def unharmed(times: tuple[list[float], list[float]]) -> bool:
    """Whether the hanging turns' p95 is within twice the others'."""
    base, hanging = map(min, times)
    return hanging <= max(2 * base, FLOOR_S)


def judge(title: str, times: tuple[list[float], list[float]], show: Show) -> None:
    """Hold the best of the hanging turns against the best of the others."""
    base, hanging = map(min, times)
    show(
        table(
            title,
            [
                ("turns", len(times[0]) + len(times[1])),
                ("p95 while all are well, ms", f"{1000 * base:.1f}"),
                ("p95 while some hang, ms", f"{1000 * hanging:.1f}"),
            ],
        )
    )
    assert unharmed(times)


async def test_one_hanging_endpoint_with_nine_tenths_of_the_traffic(
    tmp_path: Path, show: Show
) -> None:
    trial = Trial(sick=1, well=20, share=0.9, rate=400, seconds=1.2, seed=1)
    times = await compare(tmp_path, Knobs(timeout=1_000), trial)
    judge("one hanging endpoint with 90 % of the traffic", times, show)


async def test_100_hanging_endpoints_among_1000(tmp_path: Path, show: Show) -> None:
    """A tenth of the full size, with a tenth of the sockets."""
    knobs = Knobs(places=Places(sockets=410, stock=410), timeout=4_000)
    trial = Trial(sick=100, well=900, share=0.1, rate=300, seconds=1.5, seed=2)
    times = await compare(tmp_path, knobs, trial)
    judge("100 hanging endpoints among 1,000", times, show)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_1000_hanging_endpoints_among_10000(tmp_path: Path, show: Show) -> None:
    trial = Trial(sick=1_000, well=9_000, share=0.1, rate=400, seconds=20.0, seed=3)
    times = await compare(tmp_path, Knobs(timeout=20_000), trial)
    judge("1,000 hanging endpoints among 10,000", times, show)


@pytest.mark.slow
async def test_more_hanging_endpoints_than_there_is_memory_for_claims(
    tmp_path: Path, show: Show
) -> None:
    """They fill their own half, and the others go on in theirs."""
    knobs = Knobs(places=Places(sockets=64, stock=64), timeout=2_000)
    trial = Trial(sick=200, well=40, share=0.6, rate=250, seconds=1.5, seed=4, incurable=True)
    times = await compare(tmp_path, knobs, trial)
    judge("200 hanging endpoints, memory for 64 claims", times, show)
