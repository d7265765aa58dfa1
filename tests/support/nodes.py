"""How a test comes to a data plane without knowing on which database it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from marketbell.clock import Clock
from support.plane import Knobs, Plane
from support.postgres_plane import PostgresPlane

OpenPlane: TypeAlias = Callable[[Clock, Knobs], Plane]
"""Makes a data plane, for `async with`; each on the same database as the one before."""


def opener(folder: Path) -> OpenPlane:
    """Makes data planes on the SQLite file of a folder."""

    def open_plane(clock: Clock, knobs: Knobs) -> Plane:
        return Plane(folder, clock, knobs)

    return open_plane


def postgres_opener(url: str) -> OpenPlane:
    """Makes data planes on a PostgreSQL database that has the schema."""

    def open_plane(clock: Clock, knobs: Knobs) -> Plane:
        return PostgresPlane(url, clock, knobs)

    return open_plane
