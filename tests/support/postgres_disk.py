"""A PostgreSQL on a disk of a few megabytes that can be filled and freed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping

from support.needs import missing
from support.postgres import PostgresServer
from support.postgres_programs import give, run


class CrampedPostgres(PostgresServer):
    """
    A server whose data are on a file system of `size_mb` in memory; 25 are taken from the start.

    With `log_apart` the log of changes is on another, large disk: then a full disk fails the
    statements that need room (SQLSTATE 53100) and the server runs on. Else (at least 64 MB)
    the server ends by itself once its log cannot grow, and must be started when there is room.
    """

    def __init__(
        self,
        size_mb: int = 96,
        *,
        log_apart: bool = True,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        log = {} if log_apart else {"wal_keep_size": 0, "max_wal_size": "32MB"}
        # Parallel queries would keep their shared memory on the full disk too.
        alone = {"max_parallel_workers_per_gather": 0}
        super().__init__(settings={**alone, **log, **(settings or {})})
        self._size_mb = size_mb
        self.log_apart = log_apart
        self._ballast = self.data / "ballast"

    @property
    def free_bytes(self) -> int:
        """How much room is left."""
        return shutil.disk_usage(self.data).free

    def fill(self, leave: int = 0) -> None:
        """Take all room but this many bytes."""
        with self._ballast.open("ab") as ballast:
            taken = ballast.tell()
            with contextlib.suppress(OSError):
                os.posix_fallocate(ballast.fileno(), taken, max(1, self.free_bytes - leave))

    def free(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def _make_data(self) -> None:
        self.data.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m,mode=0700", "tmpfs"]
        mounted = subprocess.run([*command, self.data], check=False, capture_output=True, text=True)
        if mounted.returncode != 0:
            self.data.rmdir()
            missing(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
        account = self._programs.account
        give(self.data, account)
        run(["cp", "-a", f"{self._programs.cluster}/.", self.data], account)
        if self.log_apart:
            log = self.folder / "changes"
            run(["mv", self.data / "pg_wal", log], account)
            run(["ln", "-s", log, self.data / "pg_wal"], account)

    def _give_up_data(self) -> None:
        if self.data.is_mount():
            run(["umount", self.data])
