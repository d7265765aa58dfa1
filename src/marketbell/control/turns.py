"""One at a time: changes to the same thing wait for one another here, and give way to other nodes'."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Final, TypeVar

from marketbell.errors import OverloadedError, StaleError

T = TypeVar("T")

TRIES: Final = 8
"""How often a change is made anew because what it was made on has changed."""
_IN_TURN: Final = 2
"""The renewal of a message from which on it is done within its application's turn."""


class Turns:
    """
    A lock for each key, there only while somebody holds it or waits for it.

    Read, change and write back of one application stand within its turn, so that of two
    changes made at the same time neither is lost. On another node they are guarded by the
    revision that was read: `change` begins anew if it is no longer there.
    """

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._waiting: dict[Hashable, int] = {}

    @contextlib.asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until nobody else is within the turn of this key."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                del self._locks[key]

    def undisturbed(
        self, renewal: int, application_id: int
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """From the second renewal of a message on nobody changes its application meanwhile, here at least."""
        return contextlib.nullcontext() if renewal < _IN_TURN else self.turn(application_id)

    async def change(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """
        What `make` gives within the turn of this key; it is called again where it was stale.

        It must read what it changes itself, and write it back by its revision. OverloadedError if
        others change it again and again meanwhile.
        """
        async with self.turn(key):
            for _ in range(TRIES):
                try:
                    return await make()
                except StaleError:
                    continue
        raise OverloadedError("This is changed faster than it can be changed here; try again.")
