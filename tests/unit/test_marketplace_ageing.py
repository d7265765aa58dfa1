"""What the marketplaces keep, and for how long, in a store that is pruned as a server prunes it."""

from __future__ import annotations

from pathlib import Path

from marketbell.dialects.ovoko import PartStatus
from marketbell.dialects.sellercenter import ItemStatus
from marketbell.marketplace.ageing import ages
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.ovoko import orders, returns
from marketbell.marketplace.sellercenter import feeds, items, products, runs, trade
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.marketplace.sellercenter.feeds import Record
from marketbell.marketplace.sellercenter.items import Line
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Application
from marketbell.settings import Settings
from marketbell.store.base import Ages
from marketbell.testing import FakeClock
from support.bazaar import Bazaar, a_part

DAY = 86_400_000


async def pruned(bazaar: Bazaar, clock: FakeClock, days: int) -> None:
    """So many days later, by the settings as they are unless told otherwise."""
    clock.advance(days * DAY)
    kept = Ages(payloads=DAY, attempts=DAY, messages=DAY, ended=ages(Settings()))
    while (await bazaar.plane.store.prune(kept, now=clock.now(), limit=100)).more:
        pass


async def counts(bazaar: Bazaar, seller: Application, *kinds: str) -> list[int]:
    return [len(await bazaar.entities(seller, kind)) for kind in kinds]


async def test_a_sale_on_ovoko_goes_a_year_after_its_end(tmp_path: Path) -> None:
    clock = FakeClock()
    async with Bazaar(tmp_path, clock) as bazaar:
        seller, market = await bazaar.seller(), bazaar.market
        one, two = [
            await market.import_part(seller, a_part(), PartStatus.IN_WAREHOUSE) for _ in range(2)
        ]
        order = await market.buy(seller, [one])
        await market.buy(seller, [two])
        await market.complete_order(seller, order)
        back = await market.open_return(seller, order, [one])
        await market.hand_in(seller, back)
        kinds = (orders.KIND, returns.KIND, "part")
        await pruned(bazaar, clock, 364)
        assert await counts(bazaar, seller, *kinds, "log") == [2, 1, 2, 7]
        await pruned(bazaar, clock, 1)
        assert await counts(bazaar, seller, *kinds, "log") == [2, 1, 2, 0]
        await market.change_part_status(seller, one, PartStatus.IN_WAREHOUSE)
        await pruned(bazaar, clock, 364)
        assert await counts(bazaar, seller, *kinds) == [2, 1, 2]
        await pruned(bazaar, clock, 1)
        assert await counts(bazaar, seller, *kinds) == [1, 0, 2]


async def test_feeds_go_with_the_lists_and_orders_with_all_their_items(tmp_path: Path) -> None:
    clock = FakeClock()
    async with Bazaar(tmp_path, clock) as bazaar:
        application = await bazaar.seller("sellercenter")
        seller = Seller(services=bazaar.services, ledger=bazaar.ledger, application=application)
        record = Record("A", (Element("Name", "Lamp"),))
        done, _waits = [
            await runs.create_feed(seller, "ProductCreate", [record], throttled=True)
            for _ in range(2)
        ]
        await runs.run_feed(seller, done)
        number = await trade.place_order(seller, [Line(sku="A", price="1.00")] * 2)
        first, second = (item.number for item in (await trade.order_of(seller, number)).items)
        await trade.move_items(seller, number, {first: ItemStatus.CANCELED}, Actor.BUYER)
        kinds = (feeds.KIND, products.KIND, "throttle", items.ORDER, items.ITEM)
        await pruned(bazaar, clock, 29)
        assert await counts(bazaar, application, *kinds) == [2, 1, 1, 1, 2]
        await pruned(bazaar, clock, 1)
        assert await counts(bazaar, application, *kinds) == [1, 1, 1, 1, 2]
        await pruned(bazaar, clock, 400)
        assert await counts(bazaar, application, *kinds) == [1, 1, 1, 1, 2]
        await trade.move_items(seller, number, {second: ItemStatus.CANCELED}, Actor.BUYER)
        await pruned(bazaar, clock, 364)
        assert await counts(bazaar, application, *kinds) == [1, 1, 1, 1, 2]
        await pruned(bazaar, clock, 1)
        assert await counts(bazaar, application, *kinds) == [1, 1, 1, 0, 0]
