"""The sandbox as its controls see it: the stage, what happens of itself, and the stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

import msgspec

from marketbell.errors import UnavailableError
from marketbell.model import Millis
from marketbell.sandbox import routine
from marketbell.sandbox.stage import Stage
from marketbell.sandbox.stream import Stream


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The stream as it runs."""

    rate: float
    """Acts a real second."""
    seed: int
    happened: int


class Sandbox:
    """There from before the node serves; works once it is opened."""

    def __init__(self, *, seed: int, chaos: bool, feed_after: Millis | None) -> None:
        self.seed = seed
        self.chaos = chaos
        self.feed_after = feed_after
        self.lost: Collection[str] = ()
        """The latest messages that chaos has let nobody hear of, by public id."""
        self._stage: Stage | None = None
        self._routine: asyncio.Task[None] | None = None
        self._stream: asyncio.Task[None] | None = None
        self._flow: tuple[Stream, float, int] | None = None

    @property
    def stage(self) -> Stage:
        """Where it plays. UnavailableError until it is opened."""
        if self._stage is None:
            raise UnavailableError("The sandbox is starting; try again.")
        return self._stage

    @property
    def flow(self) -> Flow | None:
        """The stream, None if it stands still."""
        if self._flow is None:
            return None
        stream, rate, seed = self._flow
        return Flow(rate=rate, seed=seed, happened=stream.happened)

    def open(self, stage: Stage) -> None:
        """Begin, with the routine work of the marketplaces."""
        self._stage = stage
        self._routine = asyncio.create_task(routine.run(stage, self.feed_after))

    async def start_stream(self, rate: float, seed: int) -> None:
        """Let the stream run from the seed's beginning, instead of one that runs."""
        await self.stop_stream()
        stream = Stream(self.stage, seed)
        self._flow = (stream, rate, seed)
        self._stream = asyncio.create_task(stream.run(rate))

    async def stop_stream(self) -> None:
        """Let it stand still."""
        await _ended(self._stream)
        self._stream, self._flow = None, None

    async def close(self) -> None:
        """Let nothing happen any more."""
        await self.stop_stream()
        await _ended(self._routine)


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is None:
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
