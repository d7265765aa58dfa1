"""The versions of PostgreSQL that the store can do with, and those that it is tested on."""

from __future__ import annotations

from typing import Final

OLDEST: Final = 15
"""Whatever is older lacks statements that the store is written in."""
NEWEST: Final = 18
"""The last that the tests run on; a later one is taken, and `marketbell doctor` says so."""


def too_old(version: int) -> str | None:
    """Why a server cannot be used, as a sentence; None if it can. `version` is its `server_version_num`."""
    major = version // 10_000
    if major >= OLDEST:
        return None
    return (
        f"The server is PostgreSQL {major}; Marketbell needs {OLDEST} or later. Upgrade the server"
        " (pg_upgrade), or name another one in db."
    )


def untested(version: int) -> bool:
    """Whether a server is of a later version than any that the tests run on."""
    return version // 10_000 > NEWEST
