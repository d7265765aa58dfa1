"""What follows behind the writing goes on: past a step that fails, and while another has much to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from marketbell.delivery.follower import Follower, Following
from marketbell.errors import UnavailableError
from marketbell.model import NEVER, Instant, Millis
from marketbell.store.base import AttemptFilter, MessageFilter, Page
from marketbell.store.sqlite_store import SqliteStore
from marketbell.testing import FakeClock
from marketbell.testing.stores import Scene
from support.opened import opened

FOLLOWING = Following(figures_age=90 * 86_400_000, texts=True, interval_s=0.001)


class Failing:
    """A store in which a step fails while `error` is set, and one that counts the others' turns."""

    def __init__(self, store: SqliteStore, step: str, error: Exception | None) -> None:
        self._store = store
        self._step = step
        self.error = error
        self.turns: list[str] = []

    def _turn(self, step: str) -> None:
        self.turns.append(step)
        if step == self._step and self.error is not None:
            raise self.error

    async def follow_figures(self, *, now: Instant, age: Millis, bytes_max: int) -> bool:
        self._turn("figures")
        return await self._store.follow_figures(now=now, age=age, bytes_max=bytes_max)

    async def follow_clock(self, *, expected: Instant | None, now: Instant) -> None:
        await self._store.follow_clock(expected=expected, now=now)

    async def follow_labels(self, *, messages_max: int) -> bool:
        self._turn("labels")
        return await self._store.follow_labels(messages_max=1)

    async def follow_texts(self, *, messages_max: int, bytes_max: int) -> bool:
        self._turn("texts")
        return await self._store.follow_texts(messages_max=1, bytes_max=bytes_max)

    async def texts_since(self) -> Instant | None:
        return await self._store.texts_since()


@pytest.mark.parametrize("step", ["figures", "labels", "texts"])
@pytest.mark.parametrize("error", [UnavailableError("away"), ValueError("a bad row")])
async def test_a_step_that_fails_holds_up_no_other_and_is_tried_again(
    tmp_path: Path, step: str, error: Exception
) -> None:
    async with opened(tmp_path / "m.db") as store:
        scene = Scene(store)
        application, endpoint = await scene.seller()
        message = await scene.deliver(application, endpoint, payload=b'{"a":"needle"}')
        failing = Failing(store, step, error)
        follower = Follower(failing, FakeClock(), FOLLOWING)
        follower.start()
        while failing.turns.count(step) < 2:  # noqa: ASYNC110 - the follower has no event for it
            await asyncio.sleep(0)
        assert {"figures", "labels", "texts"} == set(failing.turns)
        failing.error = None
        while await store.texts_since() is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await follower.stop()
        found = await store.messages_worded(application.id, ("needle",), MessageFilter(), Page())
        assert [one.id for one in found.data] == [message.id]


async def test_those_that_have_much_to_do_take_turns(tmp_path: Path) -> None:
    async with opened(tmp_path / "m.db") as store:
        scene = Scene(store)
        application, endpoint = await scene.seller()
        for _ in range(3):
            await scene.deliver(application, endpoint)
        seen = Failing(store, "", None)
        await Follower(seen, FakeClock(), FOLLOWING).look()
        assert seen.turns[:5] == ["figures", "labels", "texts", "labels", "texts"]
        assert await store.texts_since() is None


async def test_what_a_clock_that_was_set_back_shows_twice_is_found(tmp_path: Path) -> None:
    clock = FakeClock(still=True)
    start = clock.now()
    async with opened(tmp_path / "m.db", clock) as store:
        scene = Scene(store)
        application, endpoint = await scene.seller()
        follower = Follower(store, clock, FOLLOWING)
        made: list[tuple[Instant, int]] = []
        for minutes in (0, 60, 30, 31, 120):
            clock.jump(start + minutes * 60_000 - clock.now())
            scene.now = clock.now()
            await follower.look()
            made.append((scene.now, (await scene.deliver(application, endpoint)).id))
        for since, until in ((None, 45), (45, None), (15, 45), (61, 121), (31, 32)):
            low = 0 if since is None else start + since * 60_000
            high = NEVER if until is None else start + until * 60_000
            expected = [key for at, key in made[::-1] if low <= at < high]
            which = MessageFilter(since=low, until=high)
            messages = await store.messages(application.id, which, Page())
            assert [one.id for one in messages.data] == expected
            tried = AttemptFilter(since=low, until=high)
            attempts = await store.attempts(application.id, tried, Page())
            assert [row.message.id for row in attempts.data] == expected


async def test_a_clock_that_was_set_back_while_nothing_ran_is_noticed(tmp_path: Path) -> None:
    clock = FakeClock(still=True)
    async with opened(tmp_path / "m.db", clock) as store:
        scene = Scene(store)
        application, endpoint = await scene.seller()
        scene.pass_time(3_600_000)
        late = await scene.deliver(application, endpoint)
        scene.pass_time(-1_800_000)
        clock.jump(scene.now - clock.now())
        await Follower(store, clock, FOLLOWING).look()
        second = await scene.deliver(application, endpoint)
        which = MessageFilter(until=late.created_at - 600_000)
        found = await store.messages(application.id, which, Page())
        assert [one.id for one in found.data] == [second.id]
