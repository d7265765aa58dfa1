"""One seller of Seller Center for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.selling import Stall, stall


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Stall]:
    """A seller with a user of the Action API, on a clock that stands still."""
    async with stall(tmp_path) as opened:
        yield opened
