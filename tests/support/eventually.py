"""Waiting for what nothing tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_LOOK_S: Final = 0.01


async def eventually(holds: Callable[[], bool], *, limit_s: float = 60.0) -> None:
    """Return once it is so; TimeoutError if that takes longer."""
    async with asyncio.timeout(limit_s):
        while True:
            if holds():
                return
            await asyncio.sleep(_LOOK_S)
