"""A real store of each kind, opened on a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from marketbell.store.base import Store
from marketbell.testing import FakeClock
from marketbell.testing.stores import Scene
from support.grounds import Ground, PostgresGround, SqliteGround
from support.postgres import PostgresServer, fresh_database

_ONE_OF = {"database_file": "sqlite", "many": "postgresql"}
"""Fixtures that only one database has; tests that ask for one run on that one alone."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a store runs on both databases, as `[sqlite]` and `[postgresql]`."""
    names = metafunc.fixturenames
    if "database" in names:
        alone = [database for fixture, database in _ONE_OF.items() if fixture in names]
        metafunc.parametrize("database", alone or ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """Which database the store is on."""
    name: str = request.param
    return name


@pytest.fixture
def ground(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The database itself, for tests that open stores by themselves; `store` is on it too."""
    if database == "sqlite":
        yield SqliteGround(tmp_path / "marketbell.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("migrated_template")
    with ExitStack() as until:
        name = until.enter_context(fresh_database(server, template))
        yield PostgresGround(server, name, until)


@pytest.fixture
def many(ground: Ground) -> PostgresGround:
    """The same where many nodes share it; SQLite has one."""
    assert isinstance(ground, PostgresGround)
    return ground


@pytest.fixture
def database_file(ground: Ground) -> Path:
    """The file of an SQLite database; tests of what stands in it, and how, ask for this."""
    assert isinstance(ground, SqliteGround)
    return ground.path


@pytest.fixture
async def store(ground: Ground) -> AsyncIterator[Store]:
    """An open store, empty."""
    async with ground.opened(FakeClock(), wait_s=20.0) as opened:
        yield opened


@pytest.fixture
def scene(store: Store) -> Scene:
    """Short ways to fill that store."""
    return Scene(store)
