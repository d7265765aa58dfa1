"""
A process that changes a marketplace is killed: states and events still tell the same story.

On PostgreSQL there are two that change the same seller's, each killed at an instant of its own.
"""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import Process
from collections import defaultdict

import pytest

from marketbell.clock import SystemClock
from marketbell.marketplace.ovoko import journal
from marketbell.store.base import Page
from support.bazaar import Bazaar
from support.opened import environment
from support.ovoko_worker import plane_on
from support.plane import ORGANIZATION


async def live(database: str, number: int) -> Process:
    """A trader that trades."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.ovoko_worker",
        database,
        str(number),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"trading\n"
    return process


async def die(process: Process, life_s: float) -> None:
    """Kill it (SIGKILL) after so long a life."""
    await asyncio.sleep(life_s)
    assert process.returncode is None
    process.kill()
    await process.wait()


@pytest.mark.proof
async def test_states_and_events_agree_after_every_kill(database: str) -> None:
    chance = random.Random(7)
    together = 1 if database.startswith("sqlite") else 2
    for _ in range(6):
        traders = [await live(database, number) for number in range(together)]
        await asyncio.gather(*(die(trader, chance.uniform(0.05, 0.6)) for trader in traders))
    async with Bazaar(plane_on(database, 0), SystemClock()) as bazaar:
        there = await bazaar.plane.store.applications(ORGANIZATION, Page(limit=1))
        seller = there.data[0]
        told: dict[str, list[str]] = defaultdict(list)
        for kind, data in await bazaar.told(seller):
            about = data.get("part_id") or data.get("return_id") or data["order_id"]
            told[f"{kind.split('.status')[0].split('.c')[0]} {about}"].append(
                data.get("status", kind)
            )
        parts = await bazaar.entities(seller, "part")
        assert len(parts) > 20
        for part in parts:
            statuses = told.pop(f"part {part.number}", [])
            assert len(statuses) == part.revision - 1
            assert (statuses or ["in_warehouse"])[-1] == part.state
        for order in await bazaar.entities(seller, "order"):
            expected = ["order.created", *["order.cancelled"] * (order.state == "CANCELLED")]
            assert told.pop(f"order {order.number}") == expected
        for back in await bazaar.entities(seller, "return"):
            assert told.pop(f"order.return {back.number}") == ["order.return.created"]
            updates = told.pop(f"order.return.updated {back.number}", [])
            assert len(updates) == back.revision - 1
        assert not told
        lines = [
            row for line in await bazaar.entities(seller, "log") for row in journal.rows_of(line)
        ]
        events = [row for row in lines if row.details]
        assert len(events) == len(await bazaar.told(seller))
