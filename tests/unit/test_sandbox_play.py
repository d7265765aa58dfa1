"""The sandbox's scenarios: each step tells what it must, and a step that does not is found out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from marketbell.dialects.ovoko import PartStatus
from marketbell.dialects.registry import dialect
from marketbell.errors import MoveRefusedError, NotFoundError
from marketbell.sandbox import feeding, ovoko, sellercenter
from marketbell.sandbox.act import do
from marketbell.sandbox.acts import ACTS, act_of
from marketbell.sandbox.playing import play
from marketbell.sandbox.scenarios import SCENARIOS, Scenario, Step, Told, scenario
from marketbell.sandbox.stage import SELLERS, Stage, open_stage
from marketbell.testing import FakeClock
from support.bazaar import Bazaar
from support.staging import staged


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as (_bazaar, stage):
        yield stage


async def test_every_scenario_tells_what_it_must_one_after_the_other_and_again(
    stage: Stage,
) -> None:
    for _ in range(2):
        for one in SCENARIOS:
            played = await play(stage, one)
            assert [step.fault for step in played] == [None] * len(one.steps), one.name


async def test_what_is_told_is_what_is_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as (bazaar, stage):
        before = {name: len(await bazaar.told(stage.sellers[name])) for name in SELLERS}
        played = await play(stage, scenario("all-events"))
        for name in SELLERS:
            kept = await bazaar.told(stage.sellers[name])
            told = [
                one.split()[0] for step in played if step.marketplace == name for one in step.told
            ]
            assert [event_type for event_type, _ in kept[before[name] :]] == told
            assert set(told) == set(dialect(name).catalogue)


@pytest.mark.parametrize("one", SCENARIOS, ids=lambda one: one.name)
def test_scenarios_are_made_of_acts_and_event_types_that_there_are(one: Scenario) -> None:
    for step in one.steps:
        fields = {
            field.name for field in msgspec.structs.fields(act_of(step.marketplace, step.act))
        }
        assert set(step.fields) <= fields
        assert {told.event_type for told in step.told} <= set(dialect(step.marketplace).catalogue)


def test_every_kind_of_act_says_what_it_is() -> None:
    assert len(ACTS) == sum(len(one.ACTS) for one in (feeding, ovoko, sellercenter))
    for act in ACTS.values():
        assert act.__doc__
        assert act.__doc__.strip().endswith(".")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step("ovoko", "deliver", {}, (Told("order.created"),)), "was refused: There is no order"),
        (Step("ovoko", "buy", {}, (Told("order.created"),)), "told order.created, part.status"),
        (Step("ovoko", "part", {"move": "reserve"}, (Told("part.status.changed", "sold"),)), "not"),
        (Step("sellercenter", "metrics", {}, ()), "told onMetricsUpdated, not nothing"),
        (Step("sellercenter", "metrics", {}, (), refused=True), "was not refused"),
        (Step("ovoko", "deliver", {"order_id": 99}), "There is no"),
    ],
)
async def test_a_step_that_goes_another_way_ends_the_scenario(
    stage: Stage, step: Step, said: str
) -> None:
    last = Step("ovoko", "buy")
    played = await play(stage, Scenario(name="x", title="x", steps=(step, last)))
    assert len(played) == 1
    assert said in str(played[0].fault)


def test_an_unknown_scenario_names_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match="all-events"):
        scenario("nothing")
    with pytest.raises(NotFoundError):
        act_of("ovoko", "steal")


async def test_what_may_not_happen_is_refused_and_nothing_is_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as (bazaar, stage):
        done = await do(stage, ovoko.Buy())
        order = done.facts["order_id"]
        assert isinstance(order, int)
        await do(stage, ovoko.Deliver(order_id=order))
        before = await bazaar.told(stage.parts_seller)
        with pytest.raises(MoveRefusedError, match="COMPLETED"):
            await do(stage, ovoko.Cancel(order_id=order))
        with pytest.raises(MoveRefusedError, match="no return that is New"):
            await do(stage, ovoko.Receive())
        assert await bazaar.told(stage.parts_seller) == before


async def test_a_second_part_joins_the_return_and_a_third_call_is_refused(stage: Stage) -> None:
    order = (await do(stage, ovoko.Buy(count=2))).facts["order_id"]
    assert isinstance(order, int)
    await do(stage, ovoko.Deliver(order_id=order))
    first = await do(stage, ovoko.Return(order_id=order))
    second = await do(stage, ovoko.Return(order_id=order))
    assert first.facts["return_id"] == second.facts["return_id"]
    with pytest.raises(MoveRefusedError, match="Every part"):
        await do(stage, ovoko.Return(order_id=order))


async def test_the_same_seed_makes_the_same_stock_and_another_seed_another(tmp_path: Path) -> None:
    stocks = []
    for number, seed in enumerate((7, 7, 8)):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with staged(folder, seed=seed) as (bazaar, stage):
            stocks.append(
                [
                    (thing.number, thing.key, thing.state, thing.body)
                    for kind, name in (("part", "ovoko"), ("product", "sellercenter"))
                    for thing in await bazaar.entities(stage.sellers[name], kind)
                ]
            )
    assert stocks[0] == stocks[1]
    assert stocks[0] != stocks[2]


async def test_a_sandbox_opened_again_has_its_sellers_with_their_secrets(tmp_path: Path) -> None:
    clock = FakeClock()
    async with staged(tmp_path, clock=clock) as (_bazaar, stage):
        await do(stage, ovoko.Buy())
    async with Bazaar(tmp_path, clock) as bazaar:
        again = await open_stage(bazaar.services, 7)
        assert again.logins == stage.logins
        assert len(await bazaar.entities(again.parts_seller, "part")) == 40
        assert len(await bazaar.entities(again.parts_seller, "order")) == 1


async def test_acts_and_the_sellers_own_calls_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """The sandbox and the API decide apart; what is kept is still one story, each change told once."""
    async with staged(tmp_path) as (bazaar, stage):
        seller = stage.parts_seller

        async def call(turn: int) -> None:
            status = PartStatus.RESERVED if turn % 2 else PartStatus.IN_WAREHOUSE
            await bazaar.market.change_part_status(seller, 1, status)

        async def act(turn: int) -> None:
            with contextlib.suppress(MoveRefusedError):
                await do(
                    stage, ovoko.MovePart(move="release" if turn % 2 else "reserve", part_id=1)
                )

        await asyncio.gather(*(work(turn) for turn in range(20) for work in (call, act)))
        told = [data["status"] for _, data in await bazaar.told(seller)]
        assert len(told) > 5
        assert all(before != after for before, after in itertools.pairwise(told))
        part = (await bazaar.entities(seller))[0]
        assert part.state == told[-1]
        assert part.revision == 1 + len(told)
