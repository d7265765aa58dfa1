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
from support.plane import Plane


@contextlib.asynccontextmanager
async def staged(
    where: Path | Plane, *, seed: int = 7, clock: Clock | None = None, knobs: Knobs = AS_A_SERVER
) -> AsyncIterator[tuple[Bazaar, Stage]]:
    """The two sellers of a sandbox with their stock, on a file of their own if not told."""
    async with Bazaar(where, clock or FakeClock(), knobs) as bazaar:
        yield bazaar, await open_stage(bazaar.services, seed)
