"""Waiting for what nothing tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import Final

PATIENCE_S: Final = 60.0
"""How long anything may take that must happen, on a machine that stands still now and then."""
_LOOK_S: Final = 0.01


async def grown(rows: Sized) -> None:
    """Return once there is more in it than now."""
    before = len(rows)
    await eventually(lambda: len(rows) > before)


async def eventually(holds: Callable[[], bool], *, limit_s: float = PATIENCE_S) -> None:
    """Return once it is so; TimeoutError if that takes longer."""
    async with asyncio.timeout(limit_s):
        while True:
            if holds():
                return
            await asyncio.sleep(_LOOK_S)
