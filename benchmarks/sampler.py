"""
Where a Python program spends its time: its stack, looked at many times per second of CPU.

    python -m benchmarks.sampler OUT MODULE [ARGUMENT ...]

runs the module as `python -m` would, under a timer of CPU time (ITIMER_PROF), and writes to OUT
what it saw, in microseconds of CPU: for each function how long it was the one that ran, and
how long it was on the stack. SIGUSR1 begins anew, SIGUSR2 writes.

Python handles signals between two bytecodes of the main thread, so time within C code (system
calls, SQLite, TLS) counts for the function that called it, or for the next one that runs. What
other threads used counts as `(other threads)`.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

_INTERVAL_S: Final = 0.001
_DEPTH_MAX: Final = 60


class Sampler:
    """Adds up CPU time by what it finds on the main thread's stack."""

    def __init__(self) -> None:
        self.own: Counter[tuple[str, str]] = Counter()
        """By file and function, microseconds as the innermost one."""
        self.held: Counter[tuple[str, str]] = Counter()
        """By file and function, microseconds on the stack."""
        self.lines: Counter[tuple[str, str]] = Counter()
        """By file and line, microseconds."""
        self.samples = 0
        self._main = time.thread_time_ns()
        self._all = time.process_time_ns()

    def start(self) -> None:
        """Begin to look."""
        signal.signal(signal.SIGPROF, self._look)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def stop(self) -> None:
        """Look no more."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def clear(self) -> None:
        """Forget what was seen."""
        for counter in (self.own, self.held, self.lines):
            counter.clear()
        self.samples = 0

    def _look(self, _number: int, frame: FrameType | None) -> None:
        before_main, self._main = self._main, time.thread_time_ns()
        before_all, self._all = self._all, time.process_time_ns()
        here = (self._main - before_main) // 1000
        elsewhere = max(0, (self._all - before_all) // 1000 - here)
        self.samples += 1
        self.own["", "(other threads)"] += elsewhere
        seen: set[tuple[str, str]] = set()
        while frame is not None and len(seen) < _DEPTH_MAX:
            code = frame.f_code
            place = (code.co_filename, code.co_qualname)
            if not seen:
                self.own[place] += here
                self.lines[code.co_filename, str(frame.f_lineno)] += here
            seen.add(place)
            frame = frame.f_back
        for place in seen:
            self.held[place] += here

    def write(self, path: Path) -> None:
        """Keep what was seen as JSON."""
        text = json.dumps(
            {
                "samples": self.samples,
                "own": [[*place, us] for place, us in self.own.most_common(200)],
                "held": [[*place, us] for place, us in self.held.most_common(400)],
                "lines": [[*place, us] for place, us in self.lines.most_common(200)],
            }
        )
        whole = path.with_suffix(".part")
        whole.write_text(text)
        whole.rename(path)


def main() -> None:
    """Run a module under the sampler; SIGUSR1 begins anew, SIGUSR2 writes what was seen so far."""
    out, module, *arguments = sys.argv[1:]
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, lambda *_: sampler.clear())
    signal.signal(signal.SIGUSR2, lambda *_: sampler.write(Path(out)))
    sampler.start()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sampler.stop()
        sampler.write(Path(out))


if __name__ == "__main__":
    main()
