"""What the tests of faults run on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from support.nodes import NewServer, OpenPlane, opener, postgres_opener, servers

_LONG: Final = {"test_long_outage"}
"""Half a minute on PostgreSQL."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for a database, or for what runs on one, run on both: `[sqlite]`, `[postgresql]`."""
    if "database" in metafunc.fixturenames:
        waits = metafunc.module.__name__.rpartition(".")[2] in _LONG
        metafunc.parametrize(
            "database",
            [
                pytest.param(name, marks=pytest.mark.proof if waits and name != "sqlite" else ())
                for name in ("sqlite", "postgresql")
            ],
            indirect=True,
        )


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database of the test's own is: a file that is yet to be made, or one that has the schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/marketbell.db"
    url: str = request.getfixturevalue("migrated_url")
    return url


@pytest.fixture
def open_plane(database: str, tmp_path: Path) -> OpenPlane:
    """Makes the data plane of one node on a database of the test's own, for `async with`."""
    return opener(tmp_path) if database.startswith("sqlite") else postgres_opener(database)


@pytest.fixture
def new_server(database: str, tmp_path: Path) -> NewServer:
    """Makes a real server on a database of the test's own; its arguments are settings."""
    return servers(database, tmp_path)
