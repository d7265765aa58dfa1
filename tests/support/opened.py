"""Stores that a test opens, closes, crashes and opens again by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from marketbell.clock import Clock
from marketbell.model import Application, DeliveryState
from marketbell.store.base import MessageFilter, Page
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock

SECRETS_KEY = bytes(range(32))


@asynccontextmanager
async def opened(
    path: Path,
    clock: Clock | None = None,
    *,
    secrets_key: bytes = SECRETS_KEY,
    old_keys: tuple[bytes, ...] = (),
    busy_ms: int = 50,
    search_s: float = 0.02,
    text_search_s: float = 0.2,
    **limits: Any,
) -> AsyncIterator[SqliteStore]:
    """A store on this file until the end of the block; `limits` are of WriterLimits."""
    store = SqliteStore(
        SqliteOptions(path=path, busy_ms=busy_ms, search_s=search_s, text_search_s=text_search_s),
        Box([secrets_key, *old_keys]),
        clock or FakeClock(),
        WriterLimits(**{"wait_s": 20.0, **limits}),
    )
    try:
        yield store
    finally:
        await store.aclose()


def after_a_crash(path: Path, folder: Path) -> Path:
    """The file as the next process finds it if this one is killed now: database and log, copied."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copyfile(source, folder / source.name)
    return folder / path.name


async def kept(store: SqliteStore, application: Application) -> dict[str, dict[str, DeliveryState]]:
    """Every message that is kept, with the states of its deliveries."""
    part = await store.messages(application.id, MessageFilter(), Page(limit=10_000))
    return {message.public_id: await store.delivery_states(message.id) for message in part.data}


def environment() -> dict[str, str]:
    """The environment of a script that sees the tests' support as we do."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
