"""
A process that lets things happen on Ovoko until it is killed.

`python -m support.ovoko_worker DATABASE NUMBER`: on PostgreSQL several may run, each with a number.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path

from marketbell.clock import SystemClock
from marketbell.dialects.ovoko import PartStatus
from marketbell.errors import MoveRefusedError, OverloadedError
from marketbell.model import Application
from marketbell.store.base import Page
from support.bazaar import Bazaar, a_part
from support.plane import ORGANIZATION, Plane
from support.postgres_plane import PostgresPlane


async def trade(bazaar: Bazaar, seller: Application, chance: random.Random) -> None:
    """Import, buy, cancel and write off, one after the other, without an end."""
    for _ in itertools.count():
        try:
            await trade_once(bazaar, seller, chance)
        except OverloadedError:
            continue  # others were quicker, again and again; what was done before stands
        except MoveRefusedError as refusal:
            sys.exit(refusal.detail)


async def trade_once(bazaar: Bazaar, seller: Application, chance: random.Random) -> None:
    """The life of one part."""
    market = bazaar.market
    part = await market.import_part(seller, a_part(), PartStatus.IN_WAREHOUSE)
    order = await market.buy(seller, [part])
    if chance.random() < 0.5:
        await market.cancel_order(seller, order)
        await market.change_part_status(seller, part, PartStatus.WRITTEN_OFF)
    else:
        await market.complete_order(seller, order)
        await market.hand_in(seller, await market.open_return(seller, order, [part]))


def plane_on(database: str, number: int) -> Plane:
    """A data plane of its own on a database."""
    clock = SystemClock()
    if database.startswith("sqlite"):
        return Plane(Path(database.removeprefix("sqlite:///")).parent, clock)
    return PostgresPlane(database, clock, node_number=number)


async def main(database: str, number: int) -> None:
    """Trade for the seller that is there, or for a new one."""
    async with Bazaar(plane_on(database, number), SystemClock()) as bazaar:
        there = await bazaar.plane.store.applications(ORGANIZATION, Page(limit=1))
        seller = there.data[0] if there.data else await bazaar.seller()
        print("trading", flush=True)
        chance = random.Random(number)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(trade(bazaar, seller, chance))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
