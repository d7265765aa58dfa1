"""How a test comes to a data plane or to a server without knowing on which database it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from marketbell.clock import Clock
from support.cluster import SECRETS_KEY
from support.plane import Knobs, Plane
from support.postgres_plane import PostgresPlane
from support.server import Server

OpenPlane: TypeAlias = Callable[[Clock, Knobs], Plane]
"""Makes a data plane, for `async with`; each on the same database as the one before."""

NewServer: TypeAlias = Callable[..., Server]
"""
Makes a server with these settings, which is not started yet; each on the same database.

On SQLite only one of them may run at a time.
"""


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


def servers(database: str, folder: Path) -> NewServer:
    """Makes servers on a database, each with a folder of its own below this one for its log."""
    numbers = itertools.count()

    def new_server(**environment: str) -> Server:
        own = folder / f"server-{next(numbers)}"
        own.mkdir()
        where = {"MARKETBELL_DB": database}
        if not database.startswith("sqlite"):
            where["MARKETBELL_SECRETS_KEY"] = SECRETS_KEY
        return Server(own, **{**where, **environment})

    return new_server
