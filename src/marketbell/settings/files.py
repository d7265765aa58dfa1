"""Room for open files: as many as the settings allow connections."""

from __future__ import annotations

import resource
from typing import Final

from marketbell.errors import SettingsError
from marketbell.settings.fields import Settings

SPARE_FILES: Final = 200
"""For the database, logs and the resolver."""


def files_needed(settings: Settings) -> int:
    """How many files the server may have open at a time."""
    return (
        settings.sockets_max
        + settings.idle_connections_max
        + settings.connections_max
        + SPARE_FILES
    )


def ensure_files(settings: Settings) -> None:
    """
    Let this process open as many files as its settings ask for.

    Raises the soft limit as far as needed; raises SettingsError if the hard limit forbids it.
    """
    needed = files_needed(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SettingsError(
            [
                (
                    f"sockets_max, idle_connections_max, connections_max: {needed} open files are needed and this"
                    f" process may have {hard}; raise `ulimit -Hn` (LimitNOFILE in systemd) or set them lower"
                )
            ]
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
