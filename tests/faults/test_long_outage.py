"""
A receiver is away for three days and comes back: its backlog drains in order, within its limits.

Three days pass on a clock of the test's own. What the others notice is measured in real time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import pytest

from marketbell.clock import SystemClock
from marketbell.model import (
    Application,
    Attempt,
    Endpoint,
    Instant,
    Message,
    Millis,
    Outcome,
    Policy,
)
from marketbell.store.base import Published
from marketbell.testing import OK, Answer, FakeClock, Received, TestReceiver
from support.ledger import Show, shower, table
from support.nodes import OpenPlane
from support.plane import DAY, ORGANIZATION, Knobs, Plane

HOUR: Final[Millis] = 3_600_000
MINUTE: Final[Millis] = 60_000
HOURS: Final = 72

CAP: Final = 6
RATE: Final = 100
BACKLOG: Final = 30 * HOURS
FIRST_WAIT: Final[Millis] = 2 * MINUTE
RESENDS: Final = 100

TURNS_MAX: Final = 4

Away: TypeAlias = Callable[[Plane, "Shop", Application, Endpoint], Awaitable[None]]
"""How it comes to the backlog; the receiver is there again at the end."""

FLOOR_S: Final = 0.1
"""Below this nobody notices, and no busy machine makes smaller figures steady."""


class Shop:
    """A receiver's script: away until it is there; how many requests it holds at a time, each a while."""

    def __init__(self, hold_s: float = 0.002) -> None:
        self.there = False
        self.most = 0
        self._held = 0
        self._hold_s = hold_s

    async def __call__(self, request: Received) -> Answer:
        if not self.there:
            return Answer(status=503)
        self._held += 1
        self.most = max(self.most, self._held)
        await asyncio.sleep(self._hold_s)
        self._held -= 1
        return OK


async def publish(
    plane: Plane, application: Application, count: int, first: int = 0
) -> list[Message]:
    """So many messages at once, numbered from `first`."""
    subscribers = await plane.store.subscribers(ORGANIZATION, application.public_id)
    verdicts = await plane.dispatcher.accept(
        [plane.acceptance(subscribers, b'{"n":%d}' % (first + one)) for one in range(count)]
    )
    assert all(isinstance(verdict, Published) for verdict in verdicts)
    return [verdict.message for verdict in verdicts if isinstance(verdict, Published)]


def busiest_second(starts: Sequence[Instant]) -> int:
    """The most starts that lie within less than a second of each other; they come in order."""
    most = first = 0
    for last, start in enumerate(starts):
        while starts[first] <= start - 1_000:
            first += 1
        most = max(most, last - first + 1)
    return most


async def away_while_paused(
    plane: Plane, shop: Shop, sick: Application, endpoint: Endpoint
) -> None:
    """Its owner pauses it for the three days; messages go on coming."""
    await plane.change(endpoint, paused=True)
    for _ in range(HOURS):
        await publish(plane, sick, BACKLOG // HOURS)
        await plane.pass_time(HOUR)
    shop.there = True
    await plane.change(endpoint, paused=False)


async def away_while_disabled(
    plane: Plane, shop: Shop, sick: Application, endpoint: Endpoint
) -> None:
    """Everything fails once within a minute, then it is disabled for the three days."""
    for _ in range(60):
        await publish(plane, sick, BACKLOG // 60)
        await plane.pass_time(1_000)
    await plane.change(endpoint, disabled=True)
    await plane.pass_time(HOURS * HOUR)
    shop.there = True
    await plane.change(endpoint, disabled=False)


async def away_unnoticed(plane: Plane, shop: Shop, sick: Application, endpoint: Endpoint) -> None:
    """Nobody does anything: it is down, messages go on coming, the breaker lets single ones through."""
    for _ in range(HOURS):
        await publish(plane, sick, BACKLOG // HOURS)
        await plane.pass_time(HOUR)
    shop.there = True
    assert isinstance(plane.clock, FakeClock)
    while plane.told.attempts[-1].outcome is not Outcome.ACCEPTED:
        probe = plane.clock.next_timer
        assert probe is not None
        await plane.go_to(probe)


def accepted(plane: Plane, endpoint: Endpoint) -> list[Attempt]:
    """The attempts that the endpoint took."""
    return [
        one
        for one in plane.told.attempts
        if one.endpoint_id == endpoint.id and one.outcome is Outcome.ACCEPTED
    ]


def due_again(plane: Plane, endpoint: Endpoint) -> dict[int, Instant]:
    """When each message that the endpoint has refused fell due after the last time."""
    waits = (FIRST_WAIT, *[HOUR] * RESENDS)
    return {
        one.message_id: one.started_at + waits[one.number - 1]
        for one in plane.told.attempts
        if one.endpoint_id == endpoint.id and one.outcome is not Outcome.ACCEPTED
    }


@pytest.mark.parametrize("away", [away_while_paused, away_while_disabled, away_unnoticed])
async def test_a_backlog_of_three_days_drains_in_order_within_cap_and_rate(
    open_plane: OpenPlane, away: Away
) -> None:
    clock, shop = FakeClock(), Shop()
    knobs = Knobs(breaker_rest=5 * MINUTE)
    async with (
        TestReceiver(shop) as receiver,
        TestReceiver() as well,
        open_plane(clock, knobs) as plane,
    ):
        sick = await plane.application(
            Policy(
                dialect="standard",
                retry_schedule=(FIRST_WAIT, *[HOUR] * RESENDS),
                max_in_flight=CAP,
            )
        )
        endpoint = await plane.endpoint(sick, receiver.url, throttle_rate=RATE)
        others = await plane.application()
        for place in range(3):
            await plane.endpoint(others, f"{well.url}{place}")
        await away(plane, shop, sick, endpoint)
        beside: list[Message] = []
        while len(taken := accepted(plane, endpoint)) < BACKLOG:
            beside += await publish(plane, others, 1)
            await plane.pass_time(500)
            assert len(beside) < 20 * BACKLOG // RATE, f"only {len(taken)} have gone out"
        assert len({one.message_id for one in taken}) == BACKLOG
        # In order of age: those that were tried before fall due in the order of that.
        fallen_due = due_again(plane, endpoint)
        for tried in (True, False):
            alike = [one for one in taken if (one.message_id in fallen_due) is tried]
            alike.sort(key=lambda one: (fallen_due.get(one.message_id, 0), one.message_id))
            starts = [one.started_at for one in alike]
            assert starts == sorted(starts)
        # Never above its rate, nor far below it, nor above its cap.
        starts = sorted(one.started_at for one in taken)
        assert busiest_second(starts) == RATE
        assert starts[-1] - starts[0] < 2_000 * BACKLOG // RATE
        assert 1 < shop.most <= CAP
        # The others do not notice: each message goes out at the instant at which it came.
        for message in beside:
            assert {
                one.started_at - message.created_at for one in await plane.attempts(message)
            } == {0}


async def test_seller_center_retries_for_days_and_each_delivery_keeps_its_clock(
    open_plane: OpenPlane,
) -> None:
    """Its document fixes the times, so nothing is early, nothing bunches up, and all of it arrives."""
    clock, shop = FakeClock(), Shop(0.0)
    per_hour = 1
    async with TestReceiver(shop) as receiver, open_plane(clock, Knobs()) as plane:
        seller = await plane.application(Policy(dialect="sellercenter"))
        endpoint = await plane.endpoint(seller, receiver.url, throttle_rate=per_hour)
        for _ in range(HOURS):
            await publish(plane, seller, per_hour)
            await plane.pass_time(HOUR)
        shop.there = True
        back = clock.now()
        assert accepted(plane, endpoint) == []
        await plane.pass_time(DAY)
        assert len(accepted(plane, endpoint)) == per_hour * HOURS
        waits = [
            0,
            *(minutes * MINUTE for minutes in (1, 5, 10, 30, 60, 120, 300, 600)),
            *[DAY] * 4,
        ]
        attempts: dict[int, list[Instant]] = defaultdict(list)
        for one in plane.told.attempts:
            attempts[one.message_id].append(one.started_at)
        for starts in attempts.values():
            assert starts[-1] >= back
            for wait, (last, start) in zip(waits[1:], pairwise(starts), strict=False):
                # A second's share of the rate holds some of them up, by seconds and never for long.
                assert wait <= start - last <= wait + MINUTE
        assert (
            busiest_second(sorted(start for starts in attempts.values() for start in starts))
            <= per_hour
        )


class Leaping(SystemClock):
    """The machine's time, and three days more once they have passed."""

    def __init__(self) -> None:
        self.ahead: Millis = 0

    def now(self) -> Instant:
        """See SystemClock.now."""
        return super().now() + self.ahead


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


async def latencies(plane: Plane, others: Application, well: TestReceiver) -> list[float]:
    """Publish to the others at a steady rate for a while; how long each message was on its way."""
    sent: dict[bytes, float] = {}
    first = len(well.requests)
    begun = time.monotonic()
    for number in range(80):
        await asyncio.sleep(max(0.0, begun + number / 100 - time.monotonic()))
        body = b'{"n":%d}' % (first + number)
        subscribers = await plane.store.subscribers(ORGANIZATION, others.public_id)
        at = time.monotonic()
        await plane.dispatcher.accept([plane.acceptance(subscribers, body)])
        sent[body] = at
    await well.wait_for(first + len(sent), limit_s=60)
    return [one.at - sent[one.body] for one in well.requests[first:]]


def p95(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.95 * len(times)) - 1]


@pytest.mark.alone
async def test_the_others_p95_stays_within_twice_while_it_drains(
    open_plane: OpenPlane, show: Show
) -> None:
    clock, shop = Leaping(), Shop(0.005)
    shop.there = True
    async with (
        TestReceiver(shop) as receiver,
        TestReceiver() as well,
        open_plane(clock, Knobs()) as plane,
    ):
        sick = await plane.application(Policy(max_in_flight=CAP))
        endpoint = await plane.endpoint(sick, receiver.url)
        others = await plane.application()
        await plane.endpoint(others, well.url)
        await latencies(plane, others, well)  # until all are known
        # Again if the machine stood still meanwhile; a backlog that harms the others does so every time.
        for turn in range(TURNS_MAX):
            await plane.change(endpoint, paused=True)
            for _ in range(HOURS):
                await publish(plane, sick, BACKLOG // HOURS)
            clock.ahead += 3 * DAY
            base = p95(await latencies(plane, others, well))
            await plane.change(endpoint, paused=False)
            draining = p95(await latencies(plane, others, well))
            meanwhile = len(accepted(plane, endpoint)) - turn * BACKLOG
            await plane.settled()
            assert len(accepted(plane, endpoint)) == (turn + 1) * BACKLOG
            assert shop.most <= CAP
            if draining <= max(2 * base, FLOOR_S):
                break
    show(
        table(
            "a backlog of three days drains",
            [
                ("deliveries that waited", BACKLOG),
                ("gone out while it was measured", meanwhile),
                ("others' p95 before, ms", f"{1000 * base:.1f}"),
                ("others' p95 meanwhile, ms", f"{1000 * draining:.1f}"),
            ],
        )
    )
    assert draining <= max(2 * base, FLOOR_S)
