"""Waiting for another process, which cannot ring a bell here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_BETWEEN_S = 0.02


async def eventually(
    look: Callable[[], Awaitable[T | None]], *, limit_s: float = 10.0, what: str = "it"
) -> T:
    """
    What `look` gives once it gives something true, asked again and again for `limit_s` seconds.

    Only for what happens in another process; within this one, wait for an event.
    """
    try:
        async with asyncio.timeout(limit_s):
            while not (found := await look()):  # noqa: ASYNC110 - no event crosses processes
                await asyncio.sleep(_BETWEEN_S)
            return found
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {limit_s:g} s") from None
