"""What a process that was killed left under way is counted and logged by the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from e2e.conftest import live_node
from marketbell.clock import SystemClock
from marketbell.settings import ensure_secrets, load_settings
from marketbell.testing.stores import Scene
from support.opened import after_a_crash, opened

FOUND = "deliveries are made again that the last process left under way"


async def left_under_way(folder: Path, count: int) -> Path:
    """A folder with the file of a process that was killed with so many attempts under way."""
    clock = SystemClock()
    (crashed := folder / "crashed").mkdir()
    settings = ensure_secrets(load_settings({"db": f"sqlite:///{crashed}/node.db"}, {}, None))
    async with opened(folder / "node.db", clock, secrets_key=settings.secrets_key) as store:
        scene = Scene(store, now=clock.now())
        application, endpoint = await scene.seller()
        for _ in range(count):
            await scene.publish(application, endpoint, lease=60_000)
        return after_a_crash(folder / "node.db", crashed).parent


def test_lost_claims_are_counted_and_logged_at_the_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = asyncio.run(left_under_way(tmp_path, 3))
    with live_node(folder, log_level="warning", log_format="json") as live:
        text = httpx.get(f"{live.url}/metrics").text
    assert "marketbell_lost_claims_total 3.0\n" in text
    (line,) = [line for line in capfd.readouterr().err.splitlines() if FOUND in line]
    assert '"count":3' in line
