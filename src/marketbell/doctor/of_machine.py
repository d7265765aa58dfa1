"""Verdicts on this machine: disk, keys, files, name servers, and the server of an SQLite file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from marketbell.doctor.findings import (
    Finding,
    failure,
    ok,
    size_told,
    time_told,
    unknown,
    warning,
)
from marketbell.doctor.machine import Disk, Kept, Limit

FREE_FAILURE: Final = 200_000_000
FREE_WARNING: Final = 2_000_000_000
FREE_SHARE: Final = 0.05
LOG_WARNING: Final = 512_000_000
SYNC_LEAST_NS: Final = 15_000
"""No disk that keeps what it is given answers within this; memory does."""
SYNC_SLOW_NS: Final = 100_000_000
PASSING: Final = frozenset({"tmpfs", "ramfs", "rootfs"})
SHARED: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph"})


def of_disk(disk: Disk, held: int, log: int = 0) -> Finding:
    """Whether there is room. `held` are the database's bytes, `log` those of its write-ahead log."""
    fact = (
        f"{size_told(disk.free)} free of {size_told(disk.size)}, the database has {size_told(held)}"
    )
    mend = "Make room, or keep less (payload_retention): on a full disk publishers get 503."
    if disk.free < FREE_FAILURE:
        return failure("disk", fact, mend)
    if disk.free < FREE_WARNING and disk.free < FREE_SHARE * disk.size:
        return warning("disk", fact, mend)
    if log > LOG_WARNING:
        return warning(
            "disk",
            f"{fact}, its log {size_told(log)}",
            "End what reads the file for so long, such as a shell or a backup.",
        )
    return ok("disk", fact)


def of_distant_disk(held: int) -> Finding:
    """The disk of a server whose files are not here."""
    return unknown(
        "disk",
        f"the database has {size_told(held)}; its server's disk cannot be seen from here",
        "Watch it there.",
    )


def of_syncs(took_ns: int, kind: str) -> Finding:
    """Whether an fsync where the SQLite file is reaches a disk, and how soon."""
    fact = f"fsync takes {took_ns / 1_000:.0f} us on {kind or 'an unknown file system'}"
    if kind in SHARED:
        return failure(
            "durability", fact, "Put the file on a local disk: SQLite's locks do not hold on this."
        )
    if kind in PASSING:
        return failure(
            "durability", fact, "Put the file on a disk: this is gone when the machine is off."
        )
    if kind == "overlay":
        return warning(
            "durability", fact, "Put the file on a volume: this is gone with the container."
        )
    if took_ns < SYNC_LEAST_NS:
        return failure(
            "durability", fact, "No disk is so quick: let the host give fsync to the disk."
        )
    if took_ns > SYNC_SLOW_NS:
        return warning("durability", fact, "Take a quicker disk: every message waits for it.")
    return ok("durability", fact)


def of_server(served: bool) -> Finding:
    """Whether a server has the SQLite file."""
    if served:
        return ok("nodes", "a server has the file")
    return warning("nodes", "no server has the file", "Start `marketbell serve`.")


def of_secrets_file(path: Path, found: Kept | None, database: Kept | None) -> Finding:
    """Whether the secrets beside an SQLite file are there, and nobody else's to read."""
    if found is None:
        if database is None:
            return ok("secrets", f"{path} is made at the first start")
        return failure(
            "secrets",
            f"{path} is missing",
            "Put it back from the backup: secrets cannot be opened.",
        )
    fact = f"{path} has mode {found.mode:04o}"
    if found.mode & 0o077:
        return failure(
            "secrets", fact, f"`chmod 600 {path}`, and think about who may have read it."
        )
    if database is not None and found.owner != database.owner:
        return warning(
            "secrets",
            f"{fact} and another owner than the database",
            "Give both to the server's user.",
        )
    return ok("secrets", fact)


def of_given_secrets(missing: Sequence[str], config: Path | None, found: Kept | None) -> Finding:
    """Whether the secrets that must be settings are, and the file that may hold them is closed."""
    if missing:
        return failure(
            "secrets",
            f"{' and '.join(missing)} not given",
            "Give every node the same: PostgreSQL has no file beside it that they could be kept in.",
        )
    if config is not None and found is not None and found.mode & 0o007:
        return warning(
            "secrets",
            f"given; everybody may read {config} (mode {found.mode:04o})",
            f"If they stand in it: `chmod 640 {config}`.",
        )
    return ok("secrets", "given as settings")


def of_files(limit: Limit, needed: int) -> Finding:
    """Whether as many files may be open as the settings ask for."""
    if limit.hard == -1 or limit.hard >= needed:
        most = "any number" if limit.hard == -1 else str(limit.hard)
        return ok("files", f"{needed} may be needed, {most} may be open")
    return failure(
        "files",
        f"{needed} may be needed, {limit.hard} may be open",
        "Raise `ulimit -Hn` (LimitNOFILE in systemd), or lower sockets_max and connections_max.",
    )


def of_resolvers(asked: Sequence[tuple[str, bool]]) -> Finding:
    """Whether the name servers answer."""
    if not asked:
        return warning(
            "resolvers",
            "no name server is named",
            "Name one in /etc/resolv.conf: endpoints' hosts cannot be found without.",
        )
    silent = [server for server, answered in asked if not answered]
    fact = f"{len(asked) - len(silent)} of {len(asked)} answer"
    if not silent:
        return ok("resolvers", f"{fact}: {', '.join(server for server, _ in asked)}")
    mend = f"See why {', '.join(silent)} does not answer, or take it out of /etc/resolv.conf."
    if len(silent) == len(asked):
        return failure("resolvers", fact, mend)
    return warning("resolvers", fact, mend)


def of_no_database(detail: str, took: int, *, file: bool) -> Finding:
    """A database that cannot be reached, after so many milliseconds; `file` if it is SQLite's."""
    return failure(
        "database",
        f"{detail.rstrip('.')} (after {time_told(took)})",
        "Name the server's own file in db; a new one is made at the first start."
        if file
        else "Start it, or mend its address, role or password (db); nodes recover by themselves.",
    )
