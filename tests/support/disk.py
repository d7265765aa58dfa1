"""A disk under a real SQLite that fails as it is told to."""

from __future__ import annotations

from typing import Any

import apsw


class Disk(apsw.VFS):
    """The disk of every database opened while it is there; its logs fail as they are told to."""

    def __init__(self) -> None:
        self.writes: int = apsw.SQLITE_OK
        self.syncs: int = apsw.SQLITE_OK
        super().__init__("failing", base="unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file of this disk."""
        return File(self, name, flags)


class File(apsw.VFSFile):
    """One file of such a disk."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("unix", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write, or fail."""
        if self._is_log and self._disk.writes != apsw.SQLITE_OK:
            raise apsw.exception_for(self._disk.writes)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync, or fail."""
        if self._is_log and self._disk.syncs != apsw.SQLITE_OK:
            raise apsw.exception_for(self._disk.syncs)
        super().xSync(flags)
