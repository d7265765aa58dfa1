"""What the doctor found: a fact, a verdict on it, and the mend."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from marketbell.model import Millis


class Verdict(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be looked at; whatever is in the way of that has a verdict of its own."""
    WARNING = "warning"
    """Nothing is lost or late for it yet."""
    FAILURE = "failure"
    """Messages are refused, late or in danger."""


class Finding(msgspec.Struct, frozen=True):
    """What came of one check."""

    check: str
    verdict: Verdict
    fact: str
    """What was measured."""
    mend: str = ""
    """What is to be done; empty where nothing is."""


def ok(check: str, fact: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, fact)


def unknown(check: str, fact: str, mend: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(check, Verdict.UNKNOWN, fact, mend)


def warning(check: str, fact: str, mend: str) -> Finding:
    """To be seen to."""
    return Finding(check, Verdict.WARNING, fact, mend)


def failure(check: str, fact: str, mend: str) -> Finding:
    """To be seen to now."""
    return Finding(check, Verdict.FAILURE, fact, mend)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if nothing is wrong, 1 if something is to be seen to, 2 if now."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAILURE in verdicts:
        return 2
    return 1 if Verdict.WARNING in verdicts else 0


def time_told(time: Millis) -> str:
    """A time as a person says it: `850 ms`, `12 s`, `3 min`, `5 h`, `2 days`."""
    for size, unit in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if abs(time) >= 2 * size:
            return f"{time // size} {unit}"
    return f"{time} ms"


def size_told(size: int) -> str:
    """A size as a person says it: `512 B`, `12 MB`, `3 GB`."""
    for unit, name in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size // unit} {name}"
    return f"{size} B"
