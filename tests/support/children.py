"""Processes as the kernel lists them."""

from __future__ import annotations

from pathlib import Path


def children_of(parent: int) -> list[int]:
    """The processes that this one started and that have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            state, of = _status(int(folder.name))
            if of == parent and state != "Z":
                found.append(int(folder.name))
    return found


def gone(pid: int) -> bool:
    """Whether it has ended; also if nobody has asked for its exit code yet."""
    return _status(pid)[0] in {"", "Z", "X"}


def _status(pid: int) -> tuple[str, int]:
    """The state's letter and the parent; nothing and 0 if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    state, parent, *_ = text[text.rindex(")") + 2 :].split()
    return state, int(parent)
