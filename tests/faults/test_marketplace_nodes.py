"""Two nodes on one store, and a node that starts again: what is counted and named stays right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from marketbell.errors import ConflictError
from marketbell.marketplace.ledger import Ledger
from marketbell.marketplace.sellercenter import feeds, products, runs
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.feeds import Record
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.testing import FakeClock
from support.bazaar import Bazaar
from support.postgres_plane import PostgresPlane

RECORD = Record("A-1", (Element("Name", "Chair"),))


class Nodes:
    """Two nodes, and the first one's market to look at what is kept."""

    def __init__(self, one: Bazaar, two: Bazaar) -> None:
        self.bazaar = one
        self._both = (one, two)

    async def seller(self) -> tuple[Seller, Seller]:
        """One seller, as each of the two has it: neither knows of the other's turns."""
        application = await self.bazaar.seller("sellercenter")
        one, two = (
            Seller(services=each.services, ledger=Ledger(each.services), application=application)
            for each in self._both
        )
        return one, two


@pytest.fixture(params=["sqlite", "postgresql"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    """On SQLite two ledgers over one store stand for two nodes; on PostgreSQL they are two."""
    clock = FakeClock()
    if request.param == "sqlite":
        async with Bazaar(tmp_path, clock) as it:
            yield Nodes(it, it)
        return
    url: str = request.getfixturevalue("migrated_url")
    one, two = (Bazaar(PostgresPlane(url, clock, node_number=number), clock) for number in range(2))
    async with one, two:
        yield Nodes(one, two)


async def tried(seller: Seller) -> int:
    """Make a feed; the code of the refusal, 0 if there is none."""
    try:
        await runs.create_feed(seller, "ProductCreate", [RECORD], throttled=True)
    except ActionError as fault:
        return fault.number
    return 0


async def test_two_nodes_count_a_sellers_feeds_together(pair: Nodes) -> None:
    nodes = await pair.seller()
    codes: list[int] = []
    for _ in range(30):
        codes += await asyncio.gather(*(tried(node) for node in nodes))
    assert sorted(codes) == [0] * 50 + [429] * 10
    assert len(await pair.bazaar.entities(nodes[0].application, feeds.KIND)) == 50


async def test_a_new_start_fills_no_bucket(tmp_path: Path) -> None:
    clock = FakeClock()
    async with Bazaar(tmp_path, clock) as bazaar:
        first, _ = await Nodes(bazaar, bazaar).seller()
        assert [await tried(first) for _ in range(51)] == [0] * 50 + [429]
    async with Bazaar(tmp_path, clock) as bazaar:
        again = msgspec.structs.replace(
            first, services=bazaar.services, ledger=Ledger(bazaar.services)
        )
        assert await tried(again) == 429
        clock.advance(120_000)
        assert [await tried(again), await tried(again)] == [0, 429]
        clock.advance(24 * 3_600_000)
        assert [await tried(again) for _ in range(51)] == [0] * 50 + [429]


async def test_of_two_feeds_with_one_new_sku_one_creates_it(pair: Nodes) -> None:
    nodes = await pair.seller()
    made = [await runs.create_feed(node, "ProductCreate", [RECORD]) for node in nodes]
    done = await asyncio.gather(*(runs.run_feed(*pair) for pair in zip(nodes, made, strict=True)))
    assert sorted(body.failed for body in done) == [0, 1]
    (late,) = (body for body in done if body.failed)
    assert "A-1 exists already" in late.errors[0].message
    assert len(await pair.bazaar.entities(nodes[0].application, products.KIND)) == 1
    told = [kind for kind, _ in await pair.bazaar.told(nodes[0].application)]
    assert told.count("onProductCreated") == 1


async def test_a_feeds_own_id_is_taken_once(pair: Nodes) -> None:
    one, two = await pair.seller()
    name = "829a8d2a-d370-4fa6-8613-8554f43d5fed"
    answers = await asyncio.gather(
        *(runs.create_feed(node, "Image", [RECORD], feed_id=name.upper()) for node in (one, two)),
        return_exceptions=True,
    )
    assert [one for one in answers if isinstance(one, str)] == [name]
    (refused,) = (one for one in answers if isinstance(one, BaseException))
    assert isinstance(refused, ConflictError)
    assert "There is a feed" in refused.detail
