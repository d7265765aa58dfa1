"""Has a node look for what falls due in its slots and was not told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from marketbell.model import Millis

_TOLD_S: Final = 1.0
"""How often it looks where others tell it: a hint that was lost costs no more."""


class Lookout:
    """
    Looks often where nobody tells, seldom where somebody does.

    To look is to claim: one statement finds what is due and takes it.
    """

    def __init__(self, *, poll: Millis, told: Callable[[], bool], look: Callable[[], None]) -> None:
        self._poll_s = poll / 1000
        self._told = told
        self._look = look
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_TOLD_S if self._told() else self._poll_s)
