"""What the tests of faults run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.nodes import OpenPlane, opener, postgres_opener


@pytest.fixture(params=["sqlite", "postgresql"])
def open_plane(request: pytest.FixtureRequest, tmp_path: Path) -> OpenPlane:
    """Makes the data plane of one node on a database of the test's own, for `async with`."""
    if request.param == "sqlite":
        return opener(tmp_path)
    return postgres_opener(request.getfixturevalue("migrated_url"))
