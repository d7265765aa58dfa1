"""What the doctor sees of this machine: disks, locks, files, name servers."""

from __future__ import annotations

import os
import resource
import secrets
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

_SYNCS: Final = 12
_ANSWER_S: Final = 2.0
_MOUNTS: Final = Path("/proc/self/mountinfo")
_LOCKS: Final = Path("/proc/locks")
_QUESTION: Final = struct.Struct(">HHHHHH")


class Disk(msgspec.Struct, frozen=True):
    """Where files are."""

    free: int
    """Bytes that this user may still write."""
    size: int


class Kept(msgspec.Struct, frozen=True):
    """Who may do what with a file."""

    mode: int
    """Permission bits."""
    owner: int


class Limit(msgspec.Struct, frozen=True):
    """How many files a process of this kind may let itself have open; -1 is no limit."""

    hard: int


def disk_of(folder: Path) -> Disk:
    """The disk that a folder is on. OSError."""
    found = os.statvfs(folder)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def sync_time(folder: Path, clock: Callable[[], int] = time.perf_counter_ns) -> int:
    """Nanoseconds that an fsync of one written page takes in a folder: the median. OSError."""
    took: list[int] = []
    with _passing_file(folder) as descriptor:
        for _ in range(_SYNCS):
            os.write(descriptor, b"\0" * 4_096)
            begun = clock()
            os.fsync(descriptor)
            took.append(clock() - begun)
    return sorted(took)[_SYNCS // 2]


@contextmanager
def _passing_file(folder: Path) -> Iterator[int]:
    path = folder / f".marketbell-doctor-{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        path.unlink()


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that a path is on, such as `ext4`; '' where that cannot be told."""
    whole = path.resolve()
    best, kind = -1, ""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(fields[4].encode().decode("unicode_escape"))  # a space stands as \040
        if len(point.parts) >= best and whole.is_relative_to(point):
            best, kind = len(point.parts), after.split()[0]
    return kind


def is_locked(path: Path, locks: Path = _LOCKS) -> bool:
    """
    Whether a process has a lock on a file, as far as this one can see.

    Nothing is locked to find out, so that a server which starts meanwhile is not in the way of.
    """
    try:
        found = path.stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return False
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any(" FLOCK " in line and name in line.split() for line in lines)


def kept(path: Path) -> Kept | None:
    """Who may do what with a file; None if it is not there. OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Kept(stat.S_IMODE(found.st_mode), found.st_uid)


def file_limit() -> Limit:
    """The limit of this process, which a server started like it has too."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limit(-1 if hard == resource.RLIM_INFINITY else hard)


def name_servers(path: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The name servers of this machine, in order; none if there is no such file."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [one[1] for one in words if len(one) > 1 and one[0] == "nameserver"]


def answers(server: str, port: int = 53, limit_s: float = _ANSWER_S) -> bool:
    """
    Whether a name server answers a question over UDP, whatever the answer (RFC 1035).

    It is asked for the name servers of the root.
    """
    number = secrets.randbits(16)
    question = _QUESTION.pack(number, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">HH", 2, 1)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            server, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.settimeout(limit_s)
            asked.connect(address)
            asked.send(question)
            end = time.monotonic() + limit_s
            while (left := end - time.monotonic()) > 0:
                asked.settimeout(left)
                answer = asked.recv(4_096)
                if len(answer) >= 12 and answer[:2] == question[:2] and answer[2] & 0x80:
                    return True
    except OSError:
        return False
    return False
