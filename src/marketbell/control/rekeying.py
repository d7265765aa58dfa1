"""A change of the secrets key: what older keys sealed is sealed anew, step by step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
import structlog

from marketbell.errors import StoreError
from marketbell.store.base import Sealed, SealedThings

STEP: Final = 200
"""Rows of one transaction."""
_REST_S: Final = 0.02
"""Between two steps beside a server's own work."""
_AGAIN_S: Final = 30.0
"""After a step that the store could not do."""

_log = structlog.get_logger("marketbell.secrets")


class Rekeyed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a walk through all ciphertext."""

    resealed: int = 0
    """Things that another key had sealed."""
    unreadable: int = 0
    """Things that none of the keys opens."""


async def rekey(
    store: SealedThings,
    *,
    step: int = STEP,
    rest_s: float = 0.0,
    progress: Callable[[Rekeyed], None] = lambda _so_far: None,
) -> Rekeyed:
    """
    Seal everything with the current key; what came of it.

    Broken off anywhere, everything stays readable as long as the old keys are given, and the
    next walk seals what is left. Raises StoreError.
    """
    so_far = Rekeyed()
    for what in Sealed:
        after, done = 0, False
        while not done:
            found = await store.reseal(what, after=after, limit=step)
            after, done = found.after, found.done
            so_far = Rekeyed(
                resealed=so_far.resealed + found.resealed,
                unreadable=so_far.unreadable + found.unreadable,
            )
            progress(so_far)
            if rest_s and not done:
                await asyncio.sleep(rest_s)
    return so_far


@contextlib.asynccontextmanager
async def rekeying(store: SealedThings, *, needed: bool) -> AsyncIterator[asyncio.Future[None]]:
    """
    Do so beside the server's own work for as long as the context is open, if it is `needed`.

    What it gives is done at the end of the walk.
    """
    task = asyncio.ensure_future(_rekey_behind(store) if needed else _nothing())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _nothing() -> None:
    return


async def _rekey_behind(store: SealedThings) -> None:
    while True:
        try:
            found = await rekey(store, rest_s=_REST_S)
        except StoreError as fault:
            _log.warning("secrets could not be sealed anew; trying again", reason=str(fault))
            await asyncio.sleep(_AGAIN_S)
            continue
        if found.unreadable:
            _log.error("some secrets open with no key", unreadable=found.unreadable)
        _log.info(
            "secrets are sealed with the current key; the old ones may be taken out",
            resealed=found.resealed,
            unreadable=found.unreadable,
        )
        return
