"""Whatever happens at Seller Center, over the real store: a model in dicts foretells states and events."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from marketbell.dialects.sellercenter import ItemStatus
from marketbell.errors import MoveRefusedError
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import feeds, items, products, runs, trade
from marketbell.marketplace.sellercenter.actions.webhooks import ALIASES
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.feeds import FeedStatus, Record
from marketbell.marketplace.sellercenter.items import Line
from marketbell.marketplace.sellercenter.products import ProductStatus, QcStatus
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.marketplace.sellercenter.trade import Parcel
from marketbell.testing import FakeClock
from support.bazaar import Bazaar

Told = list[tuple[str, Any]]

MOVES: Final[dict[str, dict[str, set[str]]]] = {
    "pending": {
        "processing": {"system"},
        "ready_to_ship": {"seller", "system"},
        "canceled": {"seller", "buyer", "courier", "system"},
    },
    "processing": {"ready_to_ship": {"system"}, "canceled": {"buyer", "courier", "system"}},
    "ready_to_ship": {"shipped": {"courier"}, "canceled": {"courier", "system"}},
    "shipped": {"delivered": {"courier"}, "failed": {"courier"}},
    "delivered": {"return_shipped_by_customer": {"buyer"}},
    "return_shipped_by_customer": {"return_waiting_for_approval": {"courier"}},
    "return_waiting_for_approval": {
        "returned": {"seller", "system"},
        "return_rejected": {"system"},
    },
}
"""What may become of an item, and by whom, as the document's page on the flow of orders has it."""

FEED_MOVES: Final = {
    "start": ({"Queued"}, "Processing"),
    "cancel": ({"Queued"}, "Canceled"),
    "finish": ({"Processing"}, "Finished"),
    "fail": ({"Processing"}, "Error"),
}
SKUS: Final = ("A", "B", "C")

reached: Counter[str] = Counter()
"""What the stories came to: a walk that never gets there proves nothing."""


class Walk:
    """One seller's story, told to the market and foretold by plain dicts."""

    def __init__(self, bazaar: Bazaar, seller: Seller, chance: random.Random) -> None:
        self.bazaar = bazaar
        self.seller = seller
        self.chance = chance
        self.items: dict[int, dict[int, str]] = {}
        self.feeds: dict[str, str] = {}
        self.asked: dict[str, tuple[str, list[Record]]] = {}
        self.products: dict[str, list[str]] = {}
        """By SKU: offered or not, and quality control's word."""
        self.told: Told = []

    async def tried(self, work: Coroutine[Any, Any, Any], told: Told | None) -> None:
        """It happens as foretold, or is refused with nothing changed."""
        if told is None:
            with pytest.raises((MoveRefusedError, ActionError)):
                await work
            return
        await work
        self.told += told

    # -- orders -----------------------------------------------------------------------------

    async def order(self) -> None:
        lines = [Line(sku=sku, price="1.00") for sku in self.chance.choices(SKUS, k=3)]
        number = await trade.place_order(self.seller, lines)
        made = (await trade.order_of(self.seller, number)).items
        self.items[number] = dict.fromkeys((item.number for item in made), "pending")
        self.told.append(("onOrderCreated", {"OrderId": number}))

    def changed(self, order: int, targets: dict[int, str]) -> Told:
        by_status: dict[str, list[int]] = {}
        for number, target in targets.items():
            if self.items[order][number] != target:
                by_status.setdefault(target, []).append(number)
                self.items[order][number] = target
        return [
            (
                "onOrderItemsStatusChanged",
                {"OrderId": order, "OrderItemIds": sorted(numbers), "NewStatus": status},
            )
            for status, numbers in by_status.items()
        ]

    async def move(self) -> None:
        if not self.items:
            return
        order = self.chance.choice(sorted(self.items))
        mine = self.items[order]
        some = self.chance.sample(sorted(mine), self.chance.randint(1, 3))
        exits = MOVES.get(mine[some[0]], {})
        if exits and self.chance.random() < 0.85:
            target = self.chance.choice(sorted(exits))
            actors = list(Actor) if self.chance.random() < 0.3 else sorted(exits[target])
            actor = str(self.chance.choice(actors))
        else:
            target = str(self.chance.choice(list(ItemStatus)))
            actor = str(self.chance.choice(list(Actor)))
        if self.chance.random() < 0.5:
            some = [number for number in mine if mine[number] == mine[some[0]]]
        targets = dict.fromkeys(some, target)
        allowed = all(
            mine[one] == target or actor in MOVES.get(mine[one], {}).get(target, ()) for one in some
        )
        told = self.changed(order, targets) if allowed else None
        wanted = dict.fromkeys(some, items.STATUSES[target])
        await self.tried(trade.move_items(self.seller, order, wanted, Actor(actor)), told)

    async def seller_moves(self) -> None:
        """The two actions of the API."""
        if not self.items:
            return
        order = self.chance.choice(sorted(self.items))
        mine = self.items[order]
        one = self.chance.choice(sorted(mine))
        told: Told | None = None
        if self.chance.random() < 0.5:
            if mine[one] in {"pending", "ready_to_ship"}:
                pending = [number for number in mine if mine[number] == "pending"]
                told = self.changed(order, dict.fromkeys(pending, "ready_to_ship"))
            await self.tried(trade.make_ready(self.seller, [one], Parcel()), told)
        else:
            if mine[one] == "pending":
                told = self.changed(order, {one: "canceled"})
            await self.tried(trade.cancel_item(self.seller, one, "Sold", ""), told)

    # -- feeds and products -----------------------------------------------------------------

    async def feed(self) -> None:
        action = self.chance.choice(["ProductCreate", "ProductUpdate", "ProductRemove", "Price"])
        skus = self.chance.sample(SKUS, self.chance.randint(1, 3))
        status = self.chance.choice(["active", "inactive"])
        records = [
            Record(sku, (Element("Name", str(uuid.uuid4())), Element("Status", status)))
            for sku in skus
        ]
        name = await runs.create_feed(self.seller, action, records)
        self.feeds[name] = "Queued"
        self.asked[name] = (action, records)
        if action != "Price":
            self.told.append(("onFeedCreated", {"Feed": name}))

    def worked_off(self, name: str) -> Told:
        action, records = self.asked[name]
        created: list[str] = []
        updated: list[str] = []
        for record in records:
            status = str(record.fields[1].value)
            known = self.products.get(record.sku)
            if action == "ProductCreate" and known is None:
                self.products[record.sku] = [status, "pending"]
                created.append(record.sku)
            elif action == "ProductUpdate" and known is not None:
                known[0] = status
                updated.append(record.sku)
            elif action == "ProductRemove" and known is not None and known[0] != "deleted":
                known[0] = "deleted"
                updated.append(record.sku)
        told: Told = [
            (kind, {"SellerSkus": skus})
            for kind, skus in (("onProductCreated", created), ("onProductUpdated", updated))
            if skus
        ]
        return told + ([("onFeedCompleted", {"Feed": name})] if action != "Price" else [])

    async def move_feed(self) -> None:
        if not self.feeds:
            return
        live = [name for name, state in self.feeds.items() if state in {"Queued", "Processing"}]
        name = self.chance.choice(live or list(self.feeds))
        move = self.chance.choice([*FEED_MOVES, "start", "finish", "finish"])
        works: dict[str, Callable[[Seller, str], Coroutine[Any, Any, Any]]] = {
            "start": runs.start_feed,
            "cancel": runs.cancel_feed,
            "finish": runs.finish_feed,
            "fail": lambda seller, feed: runs.fail_feed(seller, feed, "broken"),
        }
        sources, target = FEED_MOVES[move]
        told: Told | None = None
        if self.feeds[name] == target:
            told = []
        elif self.feeds[name] in sources:
            self.feeds[name] = target
            told = self.worked_off(name) if move == "finish" else []
        await self.tried(works[move](self.seller, name), told)

    async def judge(self) -> None:
        if not self.products:
            return
        skus = self.chance.sample(sorted(self.products), self.chance.randint(1, len(self.products)))
        word = self.chance.choice(list(QcStatus))
        news = [sku for sku in skus if self.products[sku][1] != word]
        for sku in news:
            self.products[sku][1] = word
        told: Told = [("onProductQcStatusChanged", {"SellerSkus": news})] if news else []
        await self.tried(runs.judge_products(self.seller, skus, word), told)

    # -- the end ----------------------------------------------------------------------------

    async def check(self) -> None:
        application = self.seller.application
        everything = {
            kind: await self.bazaar.entities(application, kind)
            for kind in (items.ITEM, items.ORDER, feeds.KIND, products.KIND)
        }
        foretold = {one: state for mine in self.items.values() for one, state in mine.items()}
        assert {one.number: one.state for one in everything[items.ITEM]} == foretold
        for order in everything[items.ORDER]:
            words = set(self.items[order.number].values())
            assert order.state == " ".join(sorted(words))
            assert order.over == (words <= items.OVER)
        assert {one.key: one.state for one in everything[feeds.KIND]} == self.feeds
        for one in everything[feeds.KIND]:
            assert one.over == (one.state in {"Finished", "Canceled", "Error"})
        assert {one.key: one.state.split() for one in everything[products.KIND]} == self.products
        assert await self.bazaar.told(application) == self.told


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as it:
        yield it


@pytest.fixture(scope="module")
def bazaar(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bazaar]:
    stack = AsyncExitStack()
    opened = Bazaar(tmp_path_factory.mktemp("bazaar"), FakeClock())
    yield runner.run(stack.enter_async_context(opened))
    runner.run(stack.aclose())


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(seed=1, length=300)
@example(seed=36, length=300)
@given(seed=st.integers(0, 2**32), length=st.integers(20, 100))
def test_states_and_events_are_as_foretold(
    runner: asyncio.Runner, bazaar: Bazaar, seed: int, length: int
) -> None:
    async def play() -> None:
        application = await bazaar.seller("sellercenter")
        seller = Seller(services=bazaar.services, ledger=bazaar.ledger, application=application)
        walk = Walk(bazaar, seller, random.Random(seed))
        steps = [
            walk.order,
            *[walk.move] * 10,
            walk.seller_moves,
            *[walk.feed] * 2,
            *[walk.move_feed] * 5,
            walk.judge,
        ]
        await walk.order()
        for step in walk.chance.choices(steps, k=length):
            await step()
            reached.update(state for mine in walk.items.values() for state in mine.values())
            reached.update(walk.feeds.values())
            reached.update(word for words in walk.products.values() for word in words)
        await walk.check()
        reached.update(kind for kind, _ in walk.told)

    runner.run(play())


def test_the_stories_go_far_enough() -> None:
    """The fixed examples alone come to every state of every machine, and to every event."""
    assert reached.keys() >= {
        *ItemStatus,
        *FeedStatus,
        *ProductStatus,
        *QcStatus,
        *(kind for kind in ALIASES if kind not in {"onMetricsUpdated", "onStatisticsUpdated"}),
    }
