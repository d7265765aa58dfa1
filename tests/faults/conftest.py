"""What the tests of faults run on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from support.nodes import OpenPlane, opener, postgres_opener

_SQLITE_ALONE: Final = {"test_hostile_receivers"}
"""They count the sockets of this process, to which connections to a database would add."""
_LONG: Final = {"test_long_outage"}
"""Half a minute on PostgreSQL."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that open a data plane run on both databases, as `[sqlite]` and `[postgresql]`."""
    if "open_plane" in metafunc.fixturenames:
        alone = metafunc.module.__name__.rpartition(".")[2] in _SQLITE_ALONE
        databases = ["sqlite"] if alone else ["sqlite", "postgresql"]
        waits = metafunc.module.__name__.rpartition(".")[2] in _LONG
        metafunc.parametrize(
            "open_plane",
            [
                pytest.param(name, marks=pytest.mark.proof if waits and name != "sqlite" else ())
                for name in databases
            ],
            indirect=True,
        )


@pytest.fixture
def open_plane(request: pytest.FixtureRequest, tmp_path: Path) -> OpenPlane:
    """Makes the data plane of one node on a database of the test's own, for `async with`."""
    if request.param == "sqlite":
        return opener(tmp_path)
    return postgres_opener(request.getfixturevalue("migrated_url"))
