"""What follows behind the writing: figures are added up, labels, words and a clock set back are noted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from marketbell.clock import Clock
from marketbell.errors import StoreError
from marketbell.model import Instant, Millis

_log = logging.getLogger(__name__)

_FIGURES_BYTES: Final = 500_000
_LABEL_MESSAGES: Final = 1_000  # and as many attempts
_TEXT_MESSAGES: Final = 200
_TEXT_BYTES: Final = 200_000
"""What one step takes at most, so that it holds the writer for some milliseconds only."""
_BETWEEN_STEPS_S: Final = 0.005


class Followed(Protocol):
    """What the follower needs of a store."""

    async def follow_figures(self, *, now: Instant, age: Millis, bytes_max: int) -> bool:
        """See Statistics.follow_figures."""

    async def follow_clock(self, *, expected: Instant | None, now: Instant) -> None:
        """See Search.follow_clock."""

    async def follow_labels(self, *, messages_max: int) -> bool:
        """See Search.follow_labels."""

    async def follow_texts(self, *, messages_max: int, bytes_max: int) -> bool:
        """See Search.follow_texts."""

    async def texts_since(self) -> Instant | None:
        """See Search.texts_since."""


class Following(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be followed, and how often."""

    figures_age: Millis
    texts: bool
    interval_s: float = 1.0


class Follower:
    """
    Takes the next steps every second, a few milliseconds each; a failure is logged, and its step tried again.

    Of many nodes only the one that `leads` takes them.
    """

    def __init__(
        self,
        followed: Followed,
        clock: Clock,
        following: Following,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leads = leads
        self._followed = followed
        self._clock = clock
        self._following = following
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._texts_since: Instant | None = None
        self._seen: tuple[Instant, float] | None = None
        """What the clock showed last, on both of its axes."""
        self._failing: set[Callable[[], Awaitable[bool]]] = set()

    @property
    def texts_lag_s(self) -> float:
        """For how long the first message has waited whose words are not noted; 0 if none waits."""
        since = self._texts_since
        return 0.0 if since is None else max(0.0, (self._clock.now() - since) / 1000)

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End after the step under way."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def look(self) -> None:
        """
        Follow all that was written until now.

        They take turns, so that none waits until another has caught up, and go on without one
        that fails; that one has its next turn with the next look.
        """
        going: list[Callable[[], Awaitable[bool]]] = [self._time, self._figures, self._labels]
        if self._following.texts:
            going.append(self._texts)
        while going and not self._stop.is_set():
            going = [step for step in going if await self._goes_on(step)]
            if going:
                await self._pause(_BETWEEN_STEPS_S)

    async def _goes_on(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Take a step; whether there is more to do for now."""
        try:
            more = await step()
            self._failing.discard(step)
            return more
        except StoreError as error:
            if not self._failing:
                _log.warning("the follower cannot work", extra={"reason": str(error)})
            self._failing.add(step)
        except Exception:  # whatever is wrong with one row must not end all following
            _log.exception("the follower failed")
        return False

    async def _time(self) -> bool:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        expected = None
        if self._seen is not None:
            at, then = self._seen
            expected = at + int((monotonic - then) * self._clock.speed * 1000)
        await self._followed.follow_clock(expected=expected, now=now)
        self._seen = now, monotonic
        return False

    async def _figures(self) -> bool:
        return await self._followed.follow_figures(
            now=self._clock.now(), age=self._following.figures_age, bytes_max=_FIGURES_BYTES
        )

    async def _labels(self) -> bool:
        return await self._followed.follow_labels(messages_max=_LABEL_MESSAGES)

    async def _texts(self) -> bool:
        try:
            return await self._followed.follow_texts(
                messages_max=_TEXT_MESSAGES, bytes_max=_TEXT_BYTES
            )
        finally:
            self._texts_since = await self._followed.texts_since()

    async def _run(self) -> None:
        while not self._stop.is_set():
            if self._leads():
                await self.look()
            else:  # what the clock showed meanwhile, another node has seen
                self._seen = None
            await self._pause(self._following.interval_s)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
