"""A real store of each kind, opened on a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from marketbell.store.base import Store
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock
from marketbell.testing.stores import Scene
from support.postgres_stores import postgres_store

SECRETS_KEY = bytes(range(32))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Which database the store is on."""
    name: str = request.param
    return name


@pytest.fixture
def database_file(database: str, tmp_path: Path) -> Path:
    """The file of an SQLite database; tests of what stands in it ask for this."""
    if database != "sqlite":
        pytest.skip("of the SQLite file alone")
    return tmp_path / "marketbell.db"


@pytest.fixture
async def store(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Store]:
    """An open store, empty."""
    opened: Store
    if database == "sqlite":
        opened = SqliteStore(
            SqliteOptions(path=tmp_path / "marketbell.db"),
            Box([SECRETS_KEY]),
            FakeClock(),
            WriterLimits(wait_s=20.0),
        )
    else:
        opened = postgres_store(request.getfixturevalue("migrated_url"), SECRETS_KEY)
    yield opened
    await opened.aclose()


@pytest.fixture
def scene(store: Store) -> Scene:
    """Short ways to fill that store."""
    return Scene(store)
