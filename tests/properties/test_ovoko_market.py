"""Whatever is tried on Ovoko, in any order: a model in plain dicts foretells state and events."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from marketbell.dialects.ovoko import Ovoko, PartStatus
from marketbell.errors import MarketbellError, MoveRefusedError, NotFoundError
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.ovoko import orders, returns
from marketbell.model import Application
from marketbell.testing import FakeClock
from support.bazaar import Bazaar, a_part

SELLERS: Final = {
    "in_warehouse": {"reserved", "sold", "written_off"},
    "reserved": {"in_warehouse", "sold", "written_off"},
    "returned": {"in_warehouse", "written_off"},
    "unknown_stock_status": {"in_warehouse", "sold", "written_off"},
}
"""What the seller may turn a part into; from all else into nothing."""

INTEGRATIONS: Final = {
    "sell_in_ebay": ({"in_warehouse", "reserved"}, "sold_in_ebay"),
    "sell_in_allegro": ({"in_warehouse", "reserved", "unknown_stock_status"}, "sold_in_allegro"),
    "lose_track": ({"in_warehouse"}, "unknown_stock_status"),
}


reached: Counter[str] = Counter()
"""Which ends the stories came to: a walk that never gets there proves nothing."""


class Model:
    """Ovoko as the documents tell of it, in dicts; each step gives the events, None for a refusal."""

    def __init__(self) -> None:
        self.parts: dict[int, str] = {}
        self.priced: set[int] = set()
        self.orders: dict[int, str] = {}
        self.sold_with: dict[int, list[int]] = {}
        self.returns: dict[int, str] = {}
        self.returned: dict[int, list[int]] = {}
        self.of_order: dict[int, int] = {}
        self.open: dict[int, int] = {}
        """Part to the return that brought it back, until the seller decides."""

    def changed(self, part: int, status: str) -> list[tuple[str, str]]:
        self.parts[part] = status
        return [("part.status.changed", f"{part} {status}")]

    def set(self, part: int, status: str) -> list[tuple[str, str]] | None:
        before = self.parts[part]
        if status == before:
            return []
        if status not in SELLERS.get(before, ()):
            return None
        told = self.changed(part, status)
        back = self.open.pop(part, None)
        if back is not None and back not in self.open.values():
            self.returns[back] = "Accepted"
            told.append(("order.return.updated", str(back)))
        return told

    def integrate(self, part: int, move: str) -> list[tuple[str, str]] | None:
        sources, target = INTEGRATIONS[move]
        if self.parts[part] == target:
            return []
        return self.changed(part, target) if self.parts[part] in sources else None

    def can_buy(self, wanted: list[int]) -> bool:
        return all(self.parts[one] == "in_warehouse" and one in self.priced for one in wanted)

    def buy(self, number: int, wanted: list[int]) -> list[tuple[str, str]]:
        self.orders[number] = "NEW"
        self.sold_with[number] = wanted
        told = [("order.created", str(number))]
        for part in wanted:
            told += self.changed(part, "sold")
        return told

    def cancel(self, order: int) -> list[tuple[str, str]] | None:
        if self.orders[order] != "NEW":
            return [] if self.orders[order] == "CANCELLED" else None
        self.orders[order] = "CANCELLED"
        told = [("order.cancelled", str(order))]
        for part in self.sold_with[order]:
            told += self.changed(part, "in_warehouse")
        return told

    def complete(self, order: int) -> list[tuple[str, str]] | None:
        if self.orders[order] == "CANCELLED":
            return None
        self.orders[order] = "COMPLETED"
        return []

    def give_back(self, order: int, wanted: list[int]) -> tuple[str, int | None, list[int]] | None:
        """Whether a return is new, joined or nothing; which; and what is added to it."""
        if self.orders[order] != "COMPLETED" or not set(wanted) <= set(self.sold_with[order]):
            return None
        mine = [number for number, of in self.of_order.items() if of == order]
        taken = {
            part
            for number in mine
            if self.returns[number] != "Cancelled"
            for part in self.returned[number]
        }
        added = [part for part in wanted if part not in taken]
        if not added:
            return "nothing", None, []
        for number in mine:
            if self.returns[number] == "New":
                self.returned[number] += added
                return "joined", number, added
        return "new", None, added

    def opened(self, number: int, order: int, added: list[int]) -> None:
        self.returns[number] = "New"
        self.returned[number] = added
        self.of_order[number] = order

    def hand_in(self, number: int) -> list[tuple[str, str]] | None:
        if self.returns[number] != "New":
            return [] if self.returns[number] == "Received" else None
        self.returns[number] = "Received"
        told = [("order.return.updated", str(number))]
        for part in self.returned[number]:
            self.open[part] = number
            told += self.changed(part, "returned")
        return told

    def think_again(self, number: int) -> list[tuple[str, str]] | None:
        if self.returns[number] != "New":
            return [] if self.returns[number] == "Cancelled" else None
        self.returns[number] = "Cancelled"
        return [("order.return.updated", str(number))]


def some_of(chance: random.Random, every: Iterable[int], likely: Iterable[int]) -> list[int]:
    """Up to three of the likely ones, or now and then of every one."""
    pool = sorted(likely) or sorted(every)
    if chance.random() < 0.2:
        pool = sorted(every)
    return chance.sample(pool, min(len(pool), chance.randint(1, 3)))


class Walk:
    """One seller's story, told to the market and to the model."""

    def __init__(self, bazaar: Bazaar, seller: Application) -> None:
        self.bazaar = bazaar
        self.seller = seller
        self.model = Model()
        self.expected: list[tuple[str, str]] = []

    async def tried(
        self, work: Coroutine[Any, Any, Any], told: list[tuple[str, str]] | None
    ) -> Any:
        """The market does what the model foretold, or refuses."""
        if told is None:
            with pytest.raises(MoveRefusedError):
                await work
            return None
        made = await work
        self.expected += told
        return made

    async def step(self, kind: str, chance: random.Random) -> None:
        model, market, seller = self.model, self.bazaar.market, self.seller
        if kind == "import":
            price = chance.choice(["10", "10", "10", None])
            number = await market.import_part(seller, a_part(price=price), PartStatus.IN_WAREHOUSE)
            model.parts[number] = "in_warehouse"
            if price:
                model.priced.add(number)
        elif kind in {"set", "integrate", "buy"}:
            await self.on_parts(kind, chance)
        elif kind in {"cancel", "complete", "give_back"} and model.orders:
            await self.on_order(kind, chance.choice(sorted(model.orders)), chance)
        elif kind in {"hand_in", "think_again"} and model.returns:
            number = chance.choice(sorted(model.returns))
            if kind == "hand_in":
                await self.tried(market.hand_in(seller, number), model.hand_in(number))
            else:
                await self.tried(market.cancel_return(seller, number), model.think_again(number))

    async def on_parts(self, kind: str, chance: random.Random) -> None:
        model, market, seller = self.model, self.bazaar.market, self.seller
        if not model.parts:
            return
        back = sorted(model.open) if kind == "set" and chance.random() < 0.7 else ()
        part = chance.choice(back or sorted(model.parts))
        if kind == "set":
            likely = [PartStatus(one) for one in SELLERS.get(model.parts[part], ())]  # type: ignore[call-arg]
            every = list(PartStatus)
            status = chance.choice(sorted(likely) if likely and chance.random() < 0.7 else every)
            work = market.change_part_status(seller, part, status)
            await self.tried(work, model.set(part, status.value))
        elif kind == "integrate":
            move = chance.choice(sorted(INTEGRATIONS))
            work = market.move_part(seller, part, move, Actor.INTEGRATION)
            await self.tried(work, model.integrate(part, move))
        else:
            wanted = some_of(
                chance, model.parts, [one for one in model.parts if model.can_buy([one])]
            )
            if model.can_buy(wanted):
                number = await market.buy(seller, wanted)
                self.expected += model.buy(number, wanted)
            else:
                await self.tried(market.buy(seller, wanted), None)

    async def on_order(self, kind: str, order: int, chance: random.Random) -> None:
        model, market, seller = self.model, self.bazaar.market, self.seller
        if kind == "cancel":
            await self.tried(market.cancel_order(seller, order), model.cancel(order))
        elif kind == "complete":
            await self.tried(market.complete_order(seller, order), model.complete(order))
        else:
            wanted = some_of(chance, model.parts, model.sold_with[order])
            foretold = model.give_back(order, wanted)
            if foretold is None:
                await self.tried(market.open_return(seller, order, wanted), None)
                return
            what, joined, added = foretold
            number = await market.open_return(seller, order, wanted)
            if what == "new":
                model.opened(number, order, added)
                self.expected.append(("order.return.created", str(number)))
            elif what == "joined":
                reached["joined"] += 1
                assert number == joined
                self.expected.append(("order.return.updated", str(number)))

    async def check(self) -> None:
        """Everything stands as foretold, and just the foretold events are kept, in their order."""
        model, bazaar, seller = self.model, self.bazaar, self.seller
        assert {
            one.number: one.state for one in await bazaar.entities(seller, "part")
        } == model.parts
        assert {
            one.number: one.state for one in await bazaar.entities(seller, "order")
        } == model.orders
        for one in await bazaar.entities(seller, "order"):
            assert one.over == (one.state in {"COMPLETED", "CANCELLED"})
        assert all(one.over for one in await bazaar.entities(seller, "log"))
        kept = await bazaar.entities(seller, "return")
        for one in kept:
            assert one.over == (one.state in {"Accepted", "Cancelled"})
        assert {one.number: one.state for one in kept} == model.returns
        for one in kept:
            assert list(returns.return_of(one).part_ids) == model.returned[one.number]
        told = []
        for kind, data in await bazaar.told(seller):
            if kind == "part.status.changed":
                told.append((kind, f"{data['part_id']} {data['status']}"))
            else:
                told.append((kind, data.get("return_id") or data["order_id"]))
        assert told == self.expected


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


KINDS: Final = (
    *["import"] * 5,
    *["set"] * 3,
    "integrate",
    *["buy"] * 2,
    "cancel",
    *["complete"] * 3,
    *["give_back"] * 6,
    *["hand_in"] * 2,
    "think_again",
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(seed=1, length=300)
@example(seed=2, length=300)
@given(seed=st.integers(0, 2**32), length=st.integers(10, 120))
def test_state_and_events_are_as_foretold(
    runner: asyncio.Runner, bazaar: Bazaar, seed: int, length: int
) -> None:
    async def play() -> None:
        walk = Walk(bazaar, await bazaar.seller())
        chance = random.Random(seed)
        for kind in ["import", "import", *chance.choices(KINDS, k=length)]:
            await walk.step(kind, chance)
        await walk.check()
        reached.update(walk.model.returns.values())
        reached.update(walk.model.orders.values())
        reached.update(walk.model.parts.values())
        reached.update(str(kind) for kind, _about in walk.expected)

    runner.run(play())


def test_the_stories_go_far_enough() -> None:
    """The fixed examples alone come to every state of every machine, and to every event."""
    assert reached.keys() >= {
        *PartStatus,
        *orders.OrderStatus,
        *returns.ReturnStatus,
        *Ovoko().catalogue,
        "joined",
    }


async def test_what_is_not_there_is_not_found(tmp_path: Any) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        seller = await bazaar.seller()
        market = bazaar.market
        for work in (
            market.change_part_status(seller, 1, PartStatus.SOLD),
            market.move_part(seller, 1, "sell_in_ebay", Actor.INTEGRATION),
            market.buy(seller, [1]),
            market.cancel_order(seller, 1),
            market.complete_order(seller, 1),
            market.open_return(seller, 1, [1]),
            market.hand_in(seller, 1),
            market.cancel_return(seller, 1),
        ):
            with pytest.raises(NotFoundError):
                await work
        with pytest.raises(MarketbellError, match="Name 1 to 100 parts"):
            await market.buy(seller, [])
        with pytest.raises(MarketbellError, match="Name 1 to 100 parts"):
            await market.buy(seller, range(101))
        assert await bazaar.told(seller) == []
