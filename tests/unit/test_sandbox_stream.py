"""The stream: the same seed tells the same story, and never anything that the life cycles forbid."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from marketbell.dialects.ovoko import PartStatus
from marketbell.dialects.sellercenter import ItemStatus
from marketbell.errors import InvalidError
from marketbell.marketplace.ovoko.parts import PARTS
from marketbell.marketplace.sellercenter.feeds import FEED
from marketbell.marketplace.sellercenter.items import ITEMS
from marketbell.sandbox import feeding, routine, sellercenter
from marketbell.sandbox.act import do
from marketbell.sandbox.sandbox import Sandbox
from marketbell.sandbox.stream import LIKELY, Happened, Stream, rate_of
from marketbell.testing import FakeClock
from support.staging import staged

Told = list[tuple[str, dict[str, Any]]]

HOUR = 3_600_000


def made(folder: Path, name: str) -> Path:
    """A new folder in another."""
    (folder / name).mkdir()
    return folder / name


async def story(folder: Path, seed: int, steps: int) -> tuple[list[Happened], dict[str, Told]]:
    """What happened, and what each seller was told; the folder is made by the caller."""
    clock = FakeClock()
    async with staged(folder, clock=clock) as (bazaar, stage):
        stream = Stream(stage, seed)
        happened = []
        for _ in range(steps):
            happened.append(await stream.step())
            clock.advance(200)
        told = {name: await bazaar.told(one) for name, one in stage.sellers.items()}
        assert stream.happened == steps
        return happened, told


async def test_the_same_seed_gives_the_same_acts_and_events_another_seed_others(
    tmp_path: Path,
) -> None:
    first = await story(made(tmp_path, "a"), 7, 80)
    assert await story(made(tmp_path, "b"), 7, 80) == first
    assert await story(made(tmp_path, "c"), 8, 80) != first


async def test_nothing_that_is_told_breaks_a_life_cycle(tmp_path: Path) -> None:
    happened, told = await story(made(tmp_path, "a"), 3, 300)
    parts: dict[str, str] = {}
    opened: set[str] = set()
    for event_type, data in told["ovoko"]:
        if event_type == "part.status.changed":
            before = parts.get(data["part_id"], PartStatus.IN_WAREHOUSE)
            assert (before, data["status"]) in {(m.source, m.target) for m in PARTS.moves}
            parts[data["part_id"]] = data["status"]
        elif event_type == "order.return.created":
            assert data["return_id"] not in opened
            opened.add(data["return_id"])
        elif event_type == "order.return.updated":
            assert data["return_id"] in opened
    items: dict[int, str] = {}
    feeds: dict[str, str] = {}
    for event_type, data in told["sellercenter"]:
        if event_type == "onOrderItemsStatusChanged":
            for item in data["OrderItemIds"]:
                move = (items.get(item, ItemStatus.PENDING), data["NewStatus"])
                assert move in {(m.source, m.target) for m in ITEMS.moves}
                items[item] = data["NewStatus"]
        elif event_type == "onFeedCreated":
            feeds[data["Feed"]] = FEED.initial[0]
        elif event_type == "onFeedCompleted":
            assert feeds.pop(data["Feed"], None)
    names = Counter((one.act.marketplace, one.act.name) for one in happened)
    assert len(names) > 20
    assert {event_type for event_type, _ in told["ovoko"]} >= {"order.return.updated"}
    assert {event_type for event_type, _ in told["sellercenter"]} >= {"onProductUpdated"}


async def test_an_empty_stage_has_still_something_to_happen(tmp_path: Path) -> None:
    """What is drawn and cannot be is passed over: every step comes to something."""
    async with staged(tmp_path) as (_bazaar, stage):
        stream = Stream(stage, 1)
        assert [await stream.step() for _ in range(len(LIKELY))]


@pytest.mark.parametrize(
    ("text", "rate"), [("5/s", 5.0), ("30/m", 0.5), ("1/h", 1 / 3600), ("0.25", 0.25), ("500", 500)]
)
def test_a_rate_is_read(text: str, rate: float) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "5/d", "fast", "", "501/s", "1e3"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        rate_of(text)


async def test_it_runs_at_its_rate_until_it_is_stopped(tmp_path: Path) -> None:
    async with staged(tmp_path) as (bazaar, stage):
        sandbox = Sandbox(seed=1, chaos=False, feed_after=None)
        sandbox.open(stage)
        begun = asyncio.get_running_loop().time()
        await sandbox.start_stream(200.0, 5)
        await bazaar.plane.until(lambda: happened(sandbox) >= 20)
        assert asyncio.get_running_loop().time() - begun >= 19 / 200
        await sandbox.stop_stream()
        assert happened(sandbox) == -1
        await sandbox.close()


def happened(sandbox: Sandbox) -> int:
    """How many acts the stream has seen; -1 if it stands still."""
    return -1 if sandbox.flow is None else sandbox.flow.happened


class TestRoutine:
    """What the platform does of itself."""

    async def test_feeds_of_the_api_are_worked_off_in_time_and_those_of_acts_are_not(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        async with staged(tmp_path, clock=clock) as (bazaar, stage):
            act = await do(stage, feeding.Feed())
            mine = act.facts["feed"]
            stage.by_hand.clear()
            other = (await do(stage, feeding.Feed())).facts["feed"]
            await routine.look(stage, 5_000)
            clock.advance(5_000)
            await routine.look(stage, 5_000)
            states = {
                one.key: one.state for one in await bazaar.entities(stage.shop.application, "feed")
            }
            assert (states[str(mine)], states[str(other)]) == ("Finished", "Queued")
            await routine.look(stage, None)
            assert (await do(stage, feeding.FeedFail())).facts["feed"] == other

    async def test_a_return_that_nobody_disputes_is_accepted_after_72_hours(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        async with staged(tmp_path, clock=clock) as (bazaar, stage):
            for act in ("Buy", "Ready", "Ship", "Deliver", "Return", "Receive"):
                await do(stage, getattr(sellercenter, act)())
            clock.advance(72 * HOUR - 1)
            await routine.look(stage, None)
            count = len(await bazaar.told(stage.shop.application))
            clock.advance(1)
            await routine.look(stage, None)
            told = await bazaar.told(stage.shop.application)
            assert len(told) == count + 1
            assert told[-1][1]["NewStatus"] == "returned"
