"""What the tests of faults run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.nodes import OpenPlane, opener


@pytest.fixture
def open_plane(tmp_path: Path) -> OpenPlane:
    """Makes the data plane of one node on a database of the test's own, for `async with`."""
    return opener(tmp_path)
