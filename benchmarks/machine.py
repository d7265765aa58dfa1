"""The machine and its processes: cores, memory, CPU time, and what to call it in a report."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from pathlib import Path
from typing import Final

import msgspec

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """What a process has used so far."""

    cpu_s: float
    """User and system time of all its threads."""
    rss: int
    """Bytes of memory that are resident now."""
    rss_peak: int


def pin(core: int, pid: int = 0) -> bool:
    """Keep a process on one core; False on a machine that has no such core."""
    try:
        os.sched_setaffinity(pid, {core})
    except OSError:
        return False
    return True


def cores() -> set[int]:
    """The cores that this process may run on."""
    return set(os.sched_getaffinity(0))


def stay_awake(loop: asyncio.AbstractEventLoop) -> None:
    """
    Let a loop poll without ever sleeping, for as long as it runs.

    A receiver on the same machine that sleeps between two requests has to be woken for each, and
    the sender pays for it: 15 to 20 us a request in a virtual machine, more than the request
    itself. No sender pays that for a receiver on another machine.
    """
    loop.call_soon(stay_awake, loop)


def in_memory(folder: Path) -> bool:
    """Whether a folder lies on a file system without a disk."""
    best = ("", "")
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mount, kind = line.split()[:3]
        if folder.resolve().is_relative_to(mount) and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1] in ("tmpfs", "ramfs")


def usage(pid: int, *, with_ended: bool = False) -> Usage:
    """
    Of a process that runs, and of its children that have ended if asked.

    FileNotFoundError if it has ended itself.
    """
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = {
        line.partition(":")[0]: line.split()[1]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith(("VmRSS", "VmHWM"))
    }
    return Usage(
        cpu_s=sum(map(int, after_name[11 : 15 if with_ended else 13])) / _TICKS,
        rss=int(memory.get("VmRSS", "0")) * 1024,
        rss_peak=int(memory.get("VmHWM", "0")) * 1024,
    )


def description() -> dict[str, str]:
    """The machine in words, for the head of a report."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
    }
