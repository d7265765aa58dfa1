"""Ends the servers of a test process that was killed, and removes their files."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Final

_SCRIPT: Final = """
read -r _ && exit
for file in "$1/data/postmaster.pid" "$1/server.pid"; do
  pid=$(head -n 1 "$file" 2> /dev/null)
  [ -n "$pid" ] && grep -q "$1" "/proc/$pid/cmdline" 2> /dev/null || continue
  kill -QUIT "$pid"
  kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.2
  done
  kill -KILL "$pid" 2> /dev/null
done
umount "$1/data" 2> /dev/null
rm -rf "$1"
"""
"""Its standard input closes by itself when the test process is gone; a line in it says good-bye."""


class Watchdog:
    """
    Watches over one server, whose process id stands in its folder and the folder in its command.

    The file is `data/postmaster.pid` or `server.pid`.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "sh", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @property
    def watches(self) -> bool:
        """Whether it has not been dismissed."""
        return self._process.poll() is None

    def dismiss(self) -> None:
        """There is nothing to watch any more."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(b"\n")
