"""What a process takes of the machine at one moment: memory, file descriptors, sockets, threads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """What a process takes."""

    memory: int
    """Bytes of it that are in memory."""
    descriptors: int
    """Open files of every kind, sockets among them."""
    sockets: int
    threads: int


def footprint(pid: int | None = None) -> Footprint:
    """What a process takes now; this one unless told otherwise."""
    process = Path("/proc") / (str(pid) if pid else "self")
    descriptors = [_kind(entry) for entry in (process / "fd").iterdir()]
    return Footprint(
        memory=int((process / "statm").read_text().split()[1]) * _PAGE,
        descriptors=len(descriptors),
        sockets=descriptors.count("socket"),
        threads=sum(1 for _ in (process / "task").iterdir()),
    )


def _kind(descriptor: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return str(descriptor.readlink()).partition(":")[0]
    return "closed meanwhile"
