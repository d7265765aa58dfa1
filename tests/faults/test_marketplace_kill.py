"""A process that changes a marketplace is killed: states and events still tell the same story."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from marketbell.clock import SystemClock
from marketbell.marketplace.ovoko import journal
from marketbell.store.base import Page
from support.bazaar import Bazaar
from support.opened import environment
from support.plane import ORGANIZATION


async def live_and_die(folder: Path, life_s: float) -> None:
    """Start the trader, let it trade, and kill it (SIGKILL)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.ovoko_worker",
        str(folder),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"trading\n"
    await asyncio.sleep(life_s)
    assert process.returncode is None
    process.kill()
    await process.wait()


@pytest.mark.kill
async def test_states_and_events_agree_after_every_kill(tmp_path: Path) -> None:
    chance = random.Random(7)
    for _ in range(6):
        await live_and_die(tmp_path, chance.uniform(0.05, 0.6))
    async with Bazaar(tmp_path, SystemClock()) as bazaar:
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
