"""A sandbox's stage over a data plane in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from marketbell.clock import Clock
from marketbell.sandbox.stage import Stage, open_stage
from marketbell.testing import FakeClock
from support.bazaar import Bazaar
from support.knobs import AS_A_SERVER, Knobs


@contextlib.asynccontextmanager
async def staged(
    folder: Path, *, seed: int = 7, clock: Clock | None = None, knobs: Knobs = AS_A_SERVER
) -> AsyncIterator[tuple[Bazaar, Stage]]:
    """The two sellers of a sandbox with their stock."""
    async with Bazaar(folder, clock or FakeClock(), knobs) as bazaar:
        yield bazaar, await open_stage(bazaar.services, seed)
