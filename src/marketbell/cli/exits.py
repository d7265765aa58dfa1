"""The exit codes of every command, and how a failure is told."""

from __future__ import annotations

import enum
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from marketbell.errors import (
    InvalidError,
    MarketbellError,
    RateLimitedError,
    SettingsError,
    StoreError,
)

CODES: Final = (
    "Exit codes: 0 done, 1 not as it should be or refused, 2 usage or settings, 3 unavailable,"
    " 70 a defect, 130 interrupted."
)
EPILOGUE: Final = f"Every command takes --json. {CODES}"

SETTINGS_EPILOGUE: Final = (
    "Every setting is also a variable, MARKETBELL_ and its name in capitals"
    " (MARKETBELL_BODY_MAX), and a key of the TOML file. A flag wins over the variable,"
    " the variable over the file. Durations: 500ms 20s 5m 2h 90d. Sizes: 20kB 1MB 1MiB."
)


_REQUEST_PARTS: Final = frozenset({"body", "query"})
"""Where in a request a fault is; a command has options instead."""


class Exit(enum.IntEnum):
    """What the exit code of a command says; each member's `meaning` is its documentation."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A member whose value is the code alone."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Done, and all is as it should be."
    FAILED = 1, "Done, and something is not as it should be; or the request was refused."
    USAGE = 2, "The command line, a setting or a value is wrong; nothing was done."
    UNAVAILABLE = 3, "The database, a file, an address or a server cannot be had now."
    DEFECT = 70, "A defect of Marketbell itself."
    INTERRUPTED = 130, "Interrupted from the keyboard."


def exit_of(error: BaseException) -> Exit:
    """The exit code that tells this failure."""
    if isinstance(error, SettingsError | InvalidError):
        return Exit.USAGE
    if isinstance(error, StoreError | RateLimitedError | OSError):
        return Exit.UNAVAILABLE
    if isinstance(error, MarketbellError):
        return Exit.FAILED
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return Exit.DEFECT


def tell(error: BaseException, *, as_json: bool) -> Exit:
    """Say on stderr what went wrong, as sentences or as one JSON object; the exit code for it."""
    code = exit_of(error)
    if code is Exit.INTERRUPTED:
        return code
    details = _sentences(error)
    if as_json:
        word = error.code if isinstance(error, MarketbellError) else code.name.lower()
        report = {"code": word, "detail": details[0] if len(details) == 1 else details}
        print(msgspec.json.encode(report).decode(), file=sys.stderr)
    else:
        for detail in details:
            print(f"marketbell: {detail}", file=sys.stderr)
    return code


def tell_usage(detail: str, *, as_json: bool) -> Exit:
    """Say on stderr that the command line is wrong."""
    if as_json:
        report = {"code": "usage", "detail": detail}
        print(msgspec.json.encode(report).decode(), file=sys.stderr)
    else:
        print(f"marketbell: {detail}", file=sys.stderr)
    return Exit.USAGE


def place_of(field: Sequence[str | int]) -> str:
    """The place of a fault as people read it: without the part of the request that it is in."""
    inside = field[1:] if field and field[0] in _REQUEST_PARTS else field
    return ".".join(str(part) for part in inside)


def give_up_stdout() -> None:
    """Whoever reads the output has enough (`| head`): what is left of it goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _sentences(error: BaseException) -> list[str]:
    match error:
        case SettingsError():
            return list(error.faults)
        case InvalidError():
            where = place_of(error.field)
            return [f"{where}: {error.detail}" if where else error.detail]
        case MarketbellError():
            return [str(error)]
        case OSError():
            return [_of_system(error)]
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)
    return [f"unexpected {type(error).__name__}: {error}{where}; please report it"]


def _of_system(error: OSError) -> str:
    said = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"the address is taken by another program ({said}); choose another with --port"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EACCES) and error.filename is None:
        return f"the address cannot be listened on ({said}); choose another with --host or --port"
    return f"{error.filename}: {said}" if error.filename is not None else said
