"""Several servers as one: they share a port, a log and a metrics page, and one that dies is started again."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from marketbell.cli.exits import Exit, tell
from marketbell.logs import Renderer, timestamp
from marketbell.settings import Settings
from marketbell.shared_metrics import end

_AGAIN_S: Final = (0.1, 10.0)
"""How long after its death a worker is started again: at first, and at most, twice as long each time."""
_WELL_S: Final = 60.0
"""One that lived so long begins anew with the first."""
_DEATHS_MAX: Final = 30
_DEATHS_S: Final = 300.0
"""So many deaths within so long, and it is given up."""
_SPARE_S: Final = 20.0
"""How much longer than drain_timeout a worker may take to stop before it is killed."""


class Share(msgspec.Struct, frozen=True):
    """What a worker has of its parent."""

    number: int
    folder: Path
    """Where metrics are kept."""
    listeners: tuple[socket.socket, ...]
    """For the management API, and for the marketplaces' own APIs if they are served."""
    ready: int
    """A descriptor that takes a line once the worker serves."""
    leash: int
    """A descriptor that ends when the parent does."""


Work = Callable[[Settings, Share], int]
"""What a worker does, in a process of its own; its exit code."""


class _Worker:
    """One of them, and what is read from it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.began_s = 0.0
        self.log = -1
        self.ready = -1
        self.said = b""
        self.facts: bytes = b""
        """What it said when it served first."""
        self.pause_s = _AGAIN_S[0]
        self.again_at_s: float | None = None


class Workers:
    """
    The parent: it serves nothing and only looks after its workers.

    SIGTERM and SIGINT reach all of them. If one cannot begin while none has served yet, all end
    with its exit code. It has no thread and no event loop, so that it may fork at any time.
    """

    def __init__(
        self, settings: Settings, listeners: tuple[socket.socket, ...], work: Work
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._work = work
        self._workers = [_Worker(number) for number in range(settings.workers)]
        self._selector = selectors.DefaultSelector()
        self._wakes, self._waked = socket.socketpair()
        self._leash, self._leashed = os.pipe()
        self._stopping_since_s: float | None = None
        self._deaths: list[float] = []
        self._code = int(Exit.OK)
        self._announced = False
        self._render = Renderer(console=settings.log_format == "console").render

    def run(self, announce: Callable[[bytes], None]) -> int:
        """Until they have all ended; the exit code. `announce` gets what the first one said once all serve."""
        self._watch_signals()
        with tempfile.TemporaryDirectory(prefix="marketbell-workers-") as folder:
            self._folder = Path(folder)
            for worker in self._workers:
                self._start(worker)
            while any(worker.pid for worker in self._workers):
                for key, _events in self._selector.select(self._next_s()):
                    key.data()
                self._reap()
                self._start_again()
                self._kill_late()
                if not self._announced and all(worker.facts for worker in self._workers):
                    self._announced = True
                    announce(self._workers[0].facts.partition(b"\n")[0])
        return self._code

    # -- workers ------------------------------------------------------------------------

    def _start(self, worker: _Worker) -> None:
        log, log_in = os.pipe()
        ready, ready_in = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become(worker, log_in, ready_in)
        os.close(log_in)
        os.close(ready_in)
        worker.pid, worker.log, worker.ready = pid, log, ready
        worker.began_s, worker.again_at_s, worker.said = time.monotonic(), None, b""
        for descriptor in (log, ready):
            os.set_blocking(descriptor, False)
        self._selector.register(log, selectors.EVENT_READ, lambda: self._relay(worker))
        self._selector.register(ready, selectors.EVENT_READ, lambda: self._hear(worker))

    def _become(self, worker: _Worker, log: int, ready: int) -> NoReturn:
        """Go on as a worker, with nothing of the parent's but its share."""
        code: int = Exit.DEFECT
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(log, 2)
            os.close(log)
            os.close(self._leashed)
            self._selector.close()
            for other in self._workers:
                for descriptor in (other.log, other.ready):
                    if descriptor >= 0:
                        os.close(descriptor)
            self._wakes.close()
            self._waked.close()
            share = Share(worker.number, self._folder, self._listeners, ready, self._leash)
            code = self._work(self._settings, share)
        except BaseException as error:
            code = tell(error, as_json=self._settings.log_format == "json")
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for worker in self._workers:
                if worker.pid == pid:
                    self._died(worker, os.waitstatus_to_exitcode(status))

    def _died(self, worker: _Worker, code: int) -> None:
        now_s = time.monotonic()
        self._relay(worker)
        self._hear(worker)
        for descriptor in (worker.log, worker.ready):
            self._selector.unregister(descriptor)
            os.close(descriptor)
        worker.pid, worker.log, worker.ready = 0, -1, -1
        end(self._folder, worker.number)
        if self._stopping_since_s is not None:
            self._code = self._code or (max(0, code))
            return
        self._deaths = [at for at in self._deaths if at > now_s - _DEATHS_S] + [now_s]
        if not any(one.facts for one in self._workers) or len(self._deaths) > _DEATHS_MAX:
            self._code = code if code > 0 else int(Exit.FAILED)
            self._stop(signal.SIGTERM)
            return
        if now_s - worker.began_s > _WELL_S:
            worker.pause_s = _AGAIN_S[0]
        self._say("a worker has ended; it is started again", worker, exit_code=code)
        worker.again_at_s = now_s + worker.pause_s
        worker.pause_s = min(_AGAIN_S[1], 2 * worker.pause_s)

    def _start_again(self) -> None:
        if self._stopping_since_s is not None:
            return
        for worker in self._workers:
            if worker.again_at_s is not None and worker.again_at_s <= time.monotonic():
                self._start(worker)

    # -- signals ------------------------------------------------------------------------

    def _watch_signals(self) -> None:
        self._wakes.setblocking(False)
        self._waked.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._waked.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakes, selectors.EVENT_READ, self._signalled)

    def _signalled(self) -> None:
        for number in self._wakes.recv(4_096):
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._stop(number)

    def _stop(self, number: int) -> None:
        """Pass a signal on; nothing is started again from now on."""
        if self._stopping_since_s is None:
            self._stopping_since_s = time.monotonic()
        for worker in self._workers:
            worker.again_at_s = None
            if worker.pid:
                os.kill(worker.pid, number)

    def _kill_late(self) -> None:
        since_s = self._stopping_since_s
        limit_s = self._settings.drain_timeout / 1000 + _SPARE_S
        if since_s is not None and time.monotonic() - since_s > limit_s:
            for worker in self._workers:
                if worker.pid:
                    os.kill(worker.pid, signal.SIGKILL)

    def _next_s(self) -> float:
        """How long nothing is to be done by itself."""
        if self._stopping_since_s is not None:
            return 0.5
        times = [one.again_at_s for one in self._workers if one.again_at_s is not None]
        return max(0.0, min(times) - time.monotonic()) if times else 60.0

    # -- what they say ------------------------------------------------------------------

    def _relay(self, worker: _Worker) -> None:
        """Write whole lines of its log to ours, so that none is torn by another's."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(worker.log, 65_536):
                whole, line_feed, worker.said = (worker.said + data).rpartition(b"\n")
                _write(whole + line_feed)
            if worker.said:  # it has ended in the middle of a line
                _write(worker.said + b"\n")
                worker.said = b""

    def _hear(self, worker: _Worker) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(worker.ready, 65_536):
                worker.facts += data

    def _say(self, event: str, worker: _Worker, **facts: object) -> None:
        fields = {
            "time": timestamp(time.time_ns() // 1_000_000),
            "level": "error",
            "event": event,
            "worker": worker.number,
            **facts,
        }
        _write(self._render(fields) + b"\n")


def _write(data: bytes) -> None:
    """To standard error; what nobody reads any more is lost."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]
