"""The janitor goes on: past a store that is away, and past whatever else breaks off its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
import pytest

from marketbell.delivery.janitor import Duties, Janitor
from marketbell.errors import UnavailableError
from marketbell.model import Instant
from marketbell.store.base import Ages, Gauges, Pruned
from marketbell.testing import FakeClock

DUTIES = Duties(
    ages=Ages(payloads=1, attempts=1, messages=1), interval_s=0.001, rows=1, auto_disable_after=1
)
NAMES = {1: "ep_1", 2: None}
"""Of the endpoints that fail, the public ids of those that were not disabled meanwhile."""


class Failing:
    """A store whose look fails so many times, and then has two endpoints that fail."""

    def __init__(self, error: Exception, times: int) -> None:
        self._error = error
        self._left = times
        self.pruned = asyncio.Event()

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        self.pruned.set()
        return Pruned()

    async def failing_since(self, before: Instant, limit: int) -> tuple[int, ...]:
        if self._left:
            self._left -= 1
            raise self._error
        return tuple(NAMES)

    async def disable_endpoint(self, endpoint_id: int, *, now: Instant) -> str | None:
        return NAMES[endpoint_id]

    async def gauges(self, *, now: Instant) -> Gauges:
        return Gauges(oldest_due=None, parked=0, file_bytes=0, log_bytes=0)


class Nobody:
    """It is told of what was removed."""

    def pruned(self, *, payloads: int, attempts: int, messages: int, cancelled: int) -> None:
        """Nothing is kept of it."""

    def cancelled(self, deliveries: int) -> None:
        """Nothing is kept of it."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnavailableError("away"), "the janitor cannot work"),
        (ValueError("a bad row"), "the janitor broke off; it goes on"),
    ],
)
async def test_a_look_that_breaks_off_is_tried_again(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    keeper = Failing(error, times=2)
    janitor = Janitor(keeper, Nobody(), FakeClock(), DUTIES)
    janitor.start()
    async with asyncio.timeout(30):
        await keeper.pruned.wait()
    await janitor.stop()
    assert told in caplog.text


async def test_an_endpoint_is_named_by_its_public_id_and_only_if_it_was_disabled_now(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    await Janitor(Failing(ValueError(), times=0), Nobody(), FakeClock(), DUTIES).look()
    (record,) = caplog.records
    assert record.__dict__["endpoint"] == "ep_1"


class Endless(Failing):
    """A store that always has more to remove."""

    def __init__(self) -> None:
        super().__init__(ValueError(), times=0)
        self.read = 0
        self.often = asyncio.Event()

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        return Pruned(payloads=limit, more=True)

    async def gauges(self, *, now: Instant) -> Gauges:
        self.read += 1
        if self.read == 5:
            self.often.set()
        return Gauges(oldest_due=now, parked=self.read, file_bytes=0, log_bytes=0)


async def test_the_figures_are_read_while_there_is_more_to_remove() -> None:
    keeper = Endless()
    janitor = Janitor(keeper, Nobody(), FakeClock(), DUTIES)
    janitor.start()
    async with asyncio.timeout(30):
        await keeper.often.wait()
    await janitor.stop()
    assert janitor.gauges is not None
    assert janitor.gauges.parked >= 5


class Unreadable(Failing):
    """A store whose figures cannot be read at first."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error, times=0)
        self._wrong: list[Exception] = [error, error]
        self.read = asyncio.Event()

    async def gauges(self, *, now: Instant) -> Gauges:
        if self._wrong:
            raise self._wrong.pop()
        self.read.set()
        return await super().gauges(now=now)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnavailableError("away"), "the store's figures stand still"),
        (ValueError("a bad row"), "reading the store's figures broke off; it goes on"),
    ],
)
async def test_figures_that_cannot_be_read_are_read_again(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    keeper = Unreadable(error)
    janitor = Janitor(keeper, Nobody(), FakeClock(), DUTIES)
    janitor.start()
    async with asyncio.timeout(30):
        await keeper.read.wait()
    await janitor.stop()
    assert told in caplog.text


async def test_a_store_that_was_away_is_asked_again_within_seconds_not_an_interval_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("marketbell.delivery.janitor._LOOK_S", 0.001)
    keeper = Failing(UnavailableError("away"), times=2)
    duties = msgspec.structs.replace(DUTIES, interval_s=3_600)
    janitor = Janitor(keeper, Nobody(), FakeClock(), duties)
    janitor.start()
    async with asyncio.timeout(30):
        await keeper.pruned.wait()
    await janitor.stop()


class Counting(Failing):
    """A store that counts what it is asked to remove, and what for it is asked."""

    def __init__(self) -> None:
        super().__init__(ValueError(), times=0)
        self.asked: list[Instant] = []
        self.more = False
        self.look: Callable[[], None] = lambda: None

    async def failing_since(self, before: Instant, limit: int) -> tuple[int, ...]:
        return ()

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        self.asked.append(now)
        self.look()
        return Pruned(payloads=1, more=self.more)

    async def gauges(self, *, now: Instant) -> Gauges:
        self.pruned.set()
        return await super().gauges(now=now)


async def test_nothing_is_removed_while_the_clock_has_just_leapt_ahead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred days ahead for a moment, all that is kept would be old enough to go."""
    caplog.set_level(logging.WARNING)
    clock, keeper = FakeClock(still=True), Counting()
    janitor = Janitor(keeper, Nobody(), clock, DUTIES)
    clock.jump(100 * 86_400_000)
    janitor.start()
    async with asyncio.timeout(30):
        for _ in range(5):
            keeper.pruned.clear()
            await keeper.pruned.wait()
    assert keeper.asked == []
    assert caplog.text.count("the clock has leapt ahead") == 1
    clock.jump(-100 * 86_400_000)
    async with asyncio.timeout(30):
        while not keeper.asked:
            keeper.pruned.clear()
            await keeper.pruned.wait()
    await janitor.stop()
    assert keeper.asked[0] == clock.now()


async def test_a_leap_between_two_steps_ends_the_look() -> None:
    clock, keeper = FakeClock(still=True), Counting()
    keeper.more = True
    janitor = Janitor(keeper, Nobody(), clock, DUTIES)

    def leap() -> None:
        if len(keeper.asked) == 3:
            clock.jump(100 * 86_400_000)

    keeper.look = leap
    await janitor.look()
    assert len(keeper.asked) == 3
