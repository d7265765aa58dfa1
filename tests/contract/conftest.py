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

SECRETS_KEY = bytes(range(32))


@pytest.fixture(params=["sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    """Which database the store is on."""
    name: str = request.param
    return name


@pytest.fixture
def database_file(database: str, tmp_path: Path) -> Path:
    """The file of an SQLite database; tests of what stands in it ask for this."""
    assert database == "sqlite"
    return tmp_path / "marketbell.db"


@pytest.fixture
async def store(database_file: Path) -> AsyncIterator[Store]:
    """An open store, empty."""
    opened = SqliteStore(
        SqliteOptions(path=database_file),
        Box([SECRETS_KEY]),
        FakeClock(),
        WriterLimits(wait_s=20.0),
    )
    yield opened
    await opened.aclose()


@pytest.fixture
def scene(store: Store) -> Scene:
    """Short ways to fill that store."""
    return Scene(store)
