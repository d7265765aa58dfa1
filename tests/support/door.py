"""A receiver that keeps its callers waiting until it is told to answer."""

from __future__ import annotations

import asyncio

from marketbell.testing import OK, Answer, Received
from support.eventually import PATIENCE_S


class Door:
    """A receiver's script that answers only once it is open."""

    def __init__(self, answer: Answer = OK) -> None:
        self.count = 0
        """How many requests have come, answered or not."""
        self._open = asyncio.Event()
        self._came = asyncio.Semaphore(0)
        self._answer = answer

    async def __call__(self, request: Received) -> Answer:
        self.count += 1
        self._came.release()
        await self._open.wait()
        return self._answer

    async def wait_for(self, count: int) -> None:
        """Return once so many requests stand before it."""
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(count):
                await self._came.acquire()

    def open(self) -> None:
        """Answer all that stand before it and all that come."""
        self._open.set()
