"""Log lines: one shape, JSON or console, and a writer that never holds up the event loop."""

from __future__ import annotations

import functools
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import IO, Final

import msgspec
import structlog

from marketbell.model import Instant

_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_BUFFER_MAX: Final = 8 * 1024 * 1024
_GATHER_S: Final = 0.05
_RETRY_S: Final = 0.05
_CLOSE_S: Final = 2.0
_TEXT_MAX: Final = 16_384
_ESCAPES: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


class LineWriter:
    """
    Writes lines to a stream from a thread of its own, in one write per 50 ms.

    What waits is bounded in bytes; beyond that lines are counted in `dropped` and lost. Nothing
    here raises or waits for the stream, save `flush` and `close`, and those only for a bounded
    time: a reader that is slow, stuck or gone does not slow the program down.
    """

    def __init__(
        self, stream: IO[str], *, buffer_max: int = _BUFFER_MAX, gather_s: float = _GATHER_S
    ) -> None:
        self.dropped = 0
        """Lines that were lost: no room, or the stream refused them."""
        self._stream = stream
        self._fd = _descriptor(stream)
        self._buffer_max = buffer_max
        self._gather_s = gather_s
        self._lock = threading.Lock()
        self._state = threading.Condition(self._lock)
        self._lines: list[bytes] = []
        self._size = 0
        self._busy = self._hurry = self._closed = self._broken = False
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Add one line, given without its line feed. From any thread."""
        self.write_each((line,))

    def write_each(self, lines: Sequence[bytes]) -> None:
        """Add lines in order; those that there is no room for are lost. From any thread."""
        with self._lock:
            if self._closed or self._broken:
                self.dropped += len(lines)
                return
            waiting, size, room = self._lines, self._size, self._buffer_max
            was_empty = not waiting
            for line in lines:
                if size + len(line) > room:
                    self.dropped += 1
                else:
                    waiting.append(line)
                    size += len(line)
            self._size = size
            if was_empty and waiting:
                self._wake()

    def flush(self, timeout: float = _CLOSE_S) -> bool:
        """Wait until all that was added has been written; False if the stream is too slow for it."""
        with self._state:
            self._hurry = True
            self._state.notify_all()
            done = self._state.wait_for(lambda: not self._lines and not self._busy, timeout)
            self._hurry = False
            return done

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Write what was added, as far as the stream lets us in time, and drop all that comes later."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="marketbell-log", daemon=True)
            self._thread.start()
        else:
            self._state.notify_all()

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._lines or self._closed)
                self._state.wait_for(lambda: self._hurry or self._closed, self._gather_s)
                lines, self._lines, self._size = self._lines, [], 0
                self._busy = True
            lost = 0 if self._emit(lines) else len(lines)
            with self._state:
                self._busy = False
                self.dropped += lost
                self._state.notify_all()
                if self._closed and not self._lines:
                    return

    def _emit(self, lines: list[bytes]) -> bool:
        if self._broken or not lines:
            return not lines
        data = b"\n".join(lines) + b"\n"
        try:
            if self._fd is None:
                self._stream.write(data.decode())
                self._stream.flush()
            else:
                self._emit_to_descriptor(self._fd, memoryview(data))
        except BrokenPipeError:
            self._broken = True
            return False
        except (
            OSError,
            ValueError,
        ):  # a full disk may have room later; a closed stream is a ValueError
            return False
        return True

    def _emit_to_descriptor(self, fd: int, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:  # somebody made the descriptor non-blocking
                if self._closed:
                    raise
                select.select([], [fd], [], _RETRY_S)


class Renderer:
    """Turns the fields of one log line into bytes: JSON, or for people."""

    def __init__(self, *, console: bool, colour: bool = False) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode
        self.render: Callable[[Mapping[str, object]], bytes] = (
            self._console if console else self._encode
        )
        """`time`, `level` and `event` come first; console lines leave out None and empty text."""
        self._colour = colour

    def _console(self, fields: Mapping[str, object]) -> bytes:
        rest = dict(fields)
        instant, level, event = (str(rest.pop(name, "")) for name in ("time", "level", "event"))
        trace = rest.pop("exception", None)
        facts = " ".join(
            f"{self._dim(name + '=')}{self._plain(value)}"
            for name, value in rest.items()
            if value is not None and value != ""
        )
        line = (
            f"{self._dim(instant)} {self._paint(level, f'{level:<7}')} {event:<24} {facts}".rstrip()
        )
        if trace:
            line += "\n" + str(trace)
        return line.encode(errors="backslashreplace")

    def _plain(self, value: object) -> str:
        if isinstance(value, str):
            text = value
        elif isinstance(value, bool | int | float):
            return str(value)
        else:
            text = self._encode(value).decode()
        return text if text.isprintable() and " " not in text else self._encode(text).decode()

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._colour else text

    def _paint(self, level: str, text: str) -> str:
        return f"\x1b[{_ESCAPES.get(level, '0')}m{text}\x1b[0m" if self._colour else text


class Log:
    """Where a program's log lines go: a level, a form and a writer. Made by `configure_logging`."""

    def __init__(self, *, console: bool, level: int, stream: IO[str]) -> None:
        self.console = console
        self.level = level
        """As the standard library counts: 10 for debug to 40 for error."""
        self.writer = LineWriter(stream)
        coloured = console and _is_terminal(stream) and "NO_COLOR" not in os.environ
        self.renderer = Renderer(console=console, colour=coloured)


def configure_logging(log_format: str, level: str, stream: IO[str] | None = None) -> Log:
    """
    Send structlog's and the standard library's log lines to `stream` (standard error), from now on.

    `log_format` is `json`, `console`, or `auto`: console on a terminal and JSON elsewhere;
    `level` is `debug`, `info`, `warning` or `error`. One shape for all lines: `time` (RFC 3339,
    UTC, milliseconds), `level`, `event`, then the facts. Console lines are coloured only where
    the stream is a terminal and NO_COLOR is not set. The caller closes `.writer` at its end;
    until then nothing that logs waits for the stream.
    """
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and _is_terminal(stream))
    log = Log(console=console, level=_LEVELS[level], stream=stream)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _shape,
            _Last(log),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(log.level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Bridge):
            root.removeHandler(old)
    root.addHandler(_Bridge())
    root.setLevel(max(log.level, logging.INFO))
    return log


@functools.lru_cache(maxsize=1024)
def timestamp(instant: Instant) -> str:
    """An instant as log lines show it: `2026-11-21T22:00:00.123Z`."""
    seconds, millis = divmod(instant, 1000)
    return f"{_second(seconds)}{millis:03d}Z"


@functools.lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds}."


def _shape(_logger: object, _method: str, event: MutableMapping[str, object]) -> dict[str, object]:
    """The three fields of every line first, and no text longer than the bound."""
    fields: dict[str, object] = {
        "time": timestamp(time.time_ns() // 1_000_000),
        "level": event.pop("level", "info"),
        "event": event.pop("event", ""),
    }
    fields.update(event)
    for name, value in fields.items():
        if isinstance(value, str) and len(value) > _TEXT_MAX:
            fields[name] = f"{value[: _TEXT_MAX // 2]} [...] {value[-_TEXT_MAX // 2 :]}"
    return fields


class _Last:
    """The last of structlog's processors: renders the line and hands it to the writer."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __call__(self, _logger: object, _method: str, fields: MutableMapping[str, object]) -> str:
        try:
            self._log.writer.write(self._log.renderer.render(fields))
        except Exception:
            self._log.writer.dropped += 1
        raise structlog.DropEvent


_EVERY_RECORD: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))
"""What a record has that was given nothing `extra`."""


class _Bridge(logging.Handler):
    """Passes what the standard library's loggers say on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, object] = {"logger": record.name}
        if record.exc_info:
            facts["exc_info"] = record.exc_info
        if record.name.startswith("marketbell"):
            facts.update((name, vars(record)[name]) for name in vars(record).keys() - _EVERY_RECORD)
        try:
            structlog.get_logger().log(record.levelno, record.getMessage(), **facts)
        except Exception:
            self.handleError(record)


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except (ValueError, AttributeError):
        return False


def _descriptor(stream: IO[str]) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
