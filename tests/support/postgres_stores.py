"""Stores on a real PostgreSQL: a database with the schema for each test, and a store on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from marketbell.clock import Clock
from marketbell.model import NEVER
from marketbell.store.migrate_postgresql import migrate
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sealing import Box
from marketbell.store.written_store import WriterLimits
from marketbell.testing import FakeClock


def migrated(url: str) -> None:
    """Give a database the schema."""
    # A connection waits for its answers with a loop of its own, which no running one lets it have.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate, PostgresOptions(url=url)).result()


def postgres_store(
    url: str,
    secrets_key: bytes,
    clock: Clock | None = None,
    *,
    old_keys: tuple[bytes, ...] = (),
    wait_s: float = 20.0,
    waiting_rows: int = 20_000,
    **options: Any,
) -> PostgresStore:
    """
    A store on a database that has the schema; `options` are of PostgresOptions.

    It keeps to all ages exactly, if not told otherwise.
    """
    return PostgresStore(
        PostgresOptions(url=url, **{"exact_below": NEVER, **options}),
        Box([secrets_key, *old_keys]),
        clock or FakeClock(),
        WriterLimits(wait_s=wait_s, waiting_rows=waiting_rows),
    )
