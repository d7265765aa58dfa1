"""Chaos: planned by a seed, within what the documents leave open."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.control.publishing import Publisher
from marketbell.model import DeliveryState, Trigger
from marketbell.sandbox import ovoko
from marketbell.sandbox.act import do
from marketbell.sandbox.chaos import (
    AGAIN_MAX,
    DEFAULT,
    GOOD,
    LATE_MAX,
    OVERTAKEN_MAX,
    Fate,
    Odds,
    fate,
)
from marketbell.sandbox.misbehaving import MisbehavingIntake
from marketbell.sandbox.stage import Stage, open_stage
from marketbell.store.base import MessageFilter, Page
from marketbell.testing import OK, Answer, FakeClock, TestReceiver
from support.bazaar import Bazaar

NEVER = Odds(lost=0, late=0, overtaken=0, twice=0)


@given(st.integers(), st.integers(min_value=1))
def test_a_fate_is_the_same_for_the_same_seed_and_within_its_bounds(seed: int, number: int) -> None:
    one = fate(seed, number)
    assert one == fate(seed, number)
    assert 0 <= one.delay <= LATE_MAX
    assert one.again is None or 0 <= one.again <= AGAIN_MAX
    assert not (one.lost and (one.delay or one.again is not None))
    assert fate(seed, number, NEVER) == GOOD


def test_fates_come_as_often_as_their_odds_say() -> None:
    fates = [fate(7, number) for number in range(1, 5_001)]
    counts = Counter(_kind(one) for one in fates)
    for kind in ("lost", "late", "overtaken"):
        assert counts[kind] / 5_000 == pytest.approx(getattr(DEFAULT, kind), abs=0.015)
    twice = sum(one.again is not None for one in fates)
    assert twice / 5_000 == pytest.approx(DEFAULT.twice * (1 - DEFAULT.lost), abs=0.015)


def _kind(one: Fate) -> str:
    if one.lost:
        return "lost"
    if one.delay > OVERTAKEN_MAX:
        return "late"
    return "overtaken" if one.delay else "in time"


@contextlib.asynccontextmanager
async def chaotic(folder: Path, odds: Odds) -> AsyncIterator[tuple[Bazaar, Stage]]:
    """A stage whose events meet these odds."""
    async with Bazaar(folder, FakeClock()) as bazaar:
        services = bazaar.services
        stage = await open_stage(services, 7)
        intake = MisbehavingIntake(
            bazaar.plane.dispatcher, bazaar.plane.store, bazaar.plane.clock, 7, odds
        )
        publisher = Publisher(
            clock=services.clock,
            store=services.store,
            intake=intake,
            directory=services.directory,
            schemas=services.schemas,
            observer=bazaar.plane.told,
            turns=services.turns,
            payload_retention=services.settings.payload_retention,
        )
        services = msgspec.structs.replace(services, publisher=publisher)
        yield bazaar, Stage(services, stage.sellers, stage.logins)


async def buys(stage: Stage, count: int) -> None:
    for _ in range(count):
        await do(stage, ovoko.Buy())


async def test_what_is_lost_is_kept_without_a_delivery_and_stands_in_the_log(
    tmp_path: Path,
) -> None:
    async with chaotic(tmp_path, Odds(lost=1)) as (bazaar, stage), TestReceiver() as shop:
        endpoint = await bazaar.plane.endpoint(stage.parts_seller, shop.url)
        await buys(stage, 2)
        await bazaar.plane.pass_time(3_600_000)
        assert shop.requests == []
        found = await bazaar.plane.store.messages(
            stage.parts_seller.id, MessageFilter(), Page(limit=10)
        )
        assert [one.event_type for one in found.data].count("order.created") == 2
        assert await bazaar.plane.states(found.data, endpoint) == {None}
        # What GetOrders and /get/logs would say is the truth.
        assert len(await bazaar.entities(stage.parts_seller, "order")) == 2
        assert len(await bazaar.entities(stage.parts_seller, "log")) == 42


async def test_what_is_late_comes_late_and_never_early(tmp_path: Path) -> None:
    odds = Odds(lost=0, late=1, twice=0)
    async with chaotic(tmp_path, odds) as (bazaar, stage), TestReceiver() as shop:
        await bazaar.plane.endpoint(stage.parts_seller, shop.url)
        await buys(stage, 3)
        await bazaar.plane.pass_time(OVERTAKEN_MAX - 1)
        assert shop.requests == []
        await bazaar.plane.pass_time(LATE_MAX)
        assert len(shop.requests) == 6


async def test_the_younger_may_overtake_the_older(tmp_path: Path) -> None:
    odds = Odds(lost=0, late=0, overtaken=1, twice=0)
    async with chaotic(tmp_path, odds) as (bazaar, stage), TestReceiver() as shop:
        await bazaar.plane.endpoint(stage.parts_seller, shop.url)
        await buys(stage, 4)
        await bazaar.plane.pass_time(OVERTAKEN_MAX)
        came = [json.loads(one.body)["event_data"] for one in shop.requests]
        told = [data for _, data in await bazaar.told(stage.parts_seller)]
        assert len(came) == 8
        assert came != told
        assert sorted(came, key=str) == sorted(told, key=str)


async def test_what_comes_twice_is_the_same_to_the_byte(tmp_path: Path) -> None:
    odds = Odds(lost=0, late=0, overtaken=0, twice=1)
    async with chaotic(tmp_path, odds) as (bazaar, stage), TestReceiver([OK]) as shop:
        await bazaar.plane.endpoint(stage.parts_seller, shop.url)
        await buys(stage, 2)
        await bazaar.plane.pass_time(AGAIN_MAX + 1_000)
        await shop.wait_for(8)
        await bazaar.plane.pass_time(3_600_000)
        bodies = Counter(one.body for one in shop.requests)
        assert set(bodies.values()) == {2}
        assert len(bodies) == 4


async def test_a_repetition_never_comes_before_the_document_allows_a_resend(
    tmp_path: Path,
) -> None:
    """What has not arrived yet is left to its own clock: 7, 35 and 175 seconds, four attempts."""
    odds = Odds(lost=0, late=0, overtaken=0, twice=1)
    failing = TestReceiver([Answer(status=500)])
    async with chaotic(tmp_path, odds) as (bazaar, stage), failing as shop:
        endpoint = await bazaar.plane.endpoint(stage.parts_seller, shop.url)
        await buys(stage, 1)
        await bazaar.plane.pass_time(3_600_000)
        which = MessageFilter(event_types=frozenset({"order.created"}))
        found = await bazaar.plane.store.messages(stage.parts_seller.id, which, Page(limit=1))
        attempts = await bazaar.plane.attempts(found.data[0])
        assert len(shop.requests) == 8
        starts = [one.started_at for one in attempts]
        waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert waits == [7_000, 35_000, 175_000]
        assert await bazaar.plane.state(found.data[0], endpoint) is DeliveryState.FAILED
        assert {one.trigger for one in attempts} == {Trigger.SCHEDULED}


async def test_messages_of_the_management_api_go_their_usual_way(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar, TestReceiver() as shop:
        plane = bazaar.plane
        intake = MisbehavingIntake(plane.dispatcher, plane.store, plane.clock, 7, Odds(lost=1))
        seller = await bazaar.seller()
        await plane.endpoint(seller, shop.url)
        subscribers = await plane.store.subscribers(seller.organization, seller.public_id)
        acceptance = plane.acceptance(subscribers, b'{"order_id":"1"}', event_type="order.created")
        await intake.accept([acceptance])
        await shop.wait_for(1)
        intake.wake()
        assert not intake.lost
