"""How late this very machine is, with a plain timer and a plain write, measured beside what is judged."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path
from typing import Final, Self

from marketbell.model import Millis

BEAT_S: Final = 0.05
"""How long a beat waits before it writes."""


class Heartbeat:
    """
    A thread that 20 times a second waits, writes a byte to disk, and notes how late it was done.

    What makes it late makes a server on this machine late too: other programs that have the
    processor or the disk, a machine that was suspended. A server that blocks its own event loop
    does not make it late, so that is not excused. A context manager; it may be used once.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "heartbeat"
        self._worst_s = 0.0
        self._due = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._due = time.monotonic() + BEAT_S
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def late(self) -> Millis:
        """By how many real milliseconds the latest beat was late; one that is overdue now counts."""
        return math.ceil(1000 * max(self._worst_s, time.monotonic() - self._due))

    def _run(self) -> None:
        with self._file.open("wb", buffering=0) as file:
            while not self._over.wait(BEAT_S):
                os.pwrite(file.fileno(), b".", 0)
                os.fsync(file.fileno())
                now = time.monotonic()
                self._worst_s = max(self._worst_s, now - self._due)
                self._due = now + BEAT_S
