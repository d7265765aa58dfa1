"""A process that lets things happen on Ovoko until it is killed: `python -m support.ovoko_worker FOLDER`."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path

from marketbell.clock import SystemClock
from marketbell.dialects.ovoko import PartStatus
from marketbell.errors import MoveRefusedError
from marketbell.model import Application
from marketbell.store.base import Page
from support.bazaar import Bazaar, a_part
from support.plane import ORGANIZATION


async def trade(bazaar: Bazaar, seller: Application, chance: random.Random) -> None:
    """Import, buy, cancel and write off, one after the other, without an end."""
    market = bazaar.market
    for _ in itertools.count():
        part = await market.import_part(seller, a_part(), PartStatus.IN_WAREHOUSE)
        order = await market.buy(seller, [part])
        try:
            if chance.random() < 0.5:
                await market.cancel_order(seller, order)
                await market.change_part_status(seller, part, PartStatus.WRITTEN_OFF)
            else:
                await market.complete_order(seller, order)
                await market.hand_in(seller, await market.open_return(seller, order, [part]))
        except MoveRefusedError as refusal:
            sys.exit(refusal.detail)


async def main(folder: Path) -> None:
    """Trade for the seller that is there, or for a new one."""
    async with Bazaar(folder, SystemClock()) as bazaar:
        there = await bazaar.plane.store.applications(ORGANIZATION, Page(limit=1))
        seller = there.data[0] if there.data else await bazaar.seller()
        print("trading", flush=True)
        chance = random.Random(1)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(trade(bazaar, seller, chance))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
