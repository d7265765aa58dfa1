"""Looks for what falls due in this node's slots and was not told of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final, Protocol

from marketbell.delivery.tenure import Owned
from marketbell.errors import StoreError
from marketbell.model import Instant, Millis

_log = logging.getLogger(__name__)

_TOLD_S: Final = 1.0
"""How often it looks where others tell it: a hint that was lost costs no more."""


class Lanes(Protocol):
    """Where lanes can be looked at."""

    @property
    def told(self) -> bool:
        """See Nodes.told."""

    async def next_due(self, slots: Collection[int]) -> Instant | None:
        """See Nodes.next_due."""


class Lookout:
    """Asks by one small statement, often where nobody tells, seldom where somebody does; never while claiming goes on."""

    def __init__(
        self,
        lanes: Lanes,
        owned: Owned,
        *,
        poll: Millis,
        busy: Callable[[], bool],
        expect: Callable[[Instant], None],
    ) -> None:
        self._lanes = lanes
        self._owned = owned
        self._poll_s = poll / 1000
        self._busy = busy
        self._expect = expect
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End."""
        self._stopping = True
        self._bell.set()
        if self._task is not None:
            await self._task

    def ring(self) -> None:
        """Look now."""
        self._bell.set()

    async def _run(self) -> None:
        failing = False
        while not self._stopping:
            self._bell.clear()
            try:
                slots = self._owned.slots
                if slots and not self._busy():
                    at = await self._lanes.next_due(slots)
                    if at is not None:
                        self._expect(at)
                failing = False
            except StoreError as error:
                if not failing:
                    _log.warning("lanes cannot be looked at", extra={"reason": str(error)})
                failing = True
            except Exception:
                _log.exception("looking at lanes broke off; it goes on")
            await self._pause(_TOLD_S if failing or self._lanes.told else self._poll_s)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._bell.wait(), seconds)
        except TimeoutError:
            return
