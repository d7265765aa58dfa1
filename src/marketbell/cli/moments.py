"""Times on the command line: `2h` or ISO 8601 in; the clock's time and how long ago out."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from marketbell.errors import InvalidError

_SPAN: Final = re.compile(r"\s*(?:\d{1,9}(?:ms|s|m|h|d)\s*)+")
_PART: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHOWN: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def moment_of(text: str, option: str, now: float | None = None) -> str:
    """
    A time for the API from `2h` (that long before now), `2026-11-21T09:30:00Z` or `2026-11-21`.

    A time without an offset is UTC, a day is its first moment. InvalidError names the option.
    """
    if _SPAN.fullmatch(text):
        back = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        moment = datetime.fromtimestamp(time.time() if now is None else now, UTC)
        try:
            return _iso(moment - timedelta(milliseconds=back))
        except OverflowError:
            raise InvalidError((option,), f"{text!r} is longer ago than there are years") from None
    try:
        moment = datetime.fromisoformat(text)
        return _iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidError(
            (option,),
            f"{text[:64]!r} is no time; write how long ago (90s, 2h, 7d) or 2026-11-21T09:30:00Z",
        ) from None


def seconds_of(text: str, option: str) -> int:
    """
    Whole seconds from `90s`, `2h 30m` or a bare number of seconds.

    InvalidError names the option.
    """
    if text.isascii() and text.isdigit():
        return int(text[:12])
    if _SPAN.fullmatch(text):
        millis = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        if millis % 1000 == 0:
            return millis // 1000
    raise InvalidError(
        (option,), f"{text[:64]!r} is no time in whole seconds; write it as 90s, 2h or 7d"
    )


def told(iso: str | None, now: float | None = None) -> str:
    """A time of the API as `2026-11-21 09:30:00Z (2h ago)`; empty for none."""
    if iso is None:
        return ""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    apart = (time.time() if now is None else now) - moment.timestamp()
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ} ({_apart(apart)})"


def clock_of(iso: str) -> str:
    """Of a time of the API only the time of day, for what happens now: `09:30:00.125`."""
    return iso[11:23]


def _apart(seconds: float) -> str:
    whole = int(abs(seconds))
    unit, size = next(((unit, size) for unit, size in _SHOWN if whole >= size), ("s", 1))
    if whole == 0:
        return "now"
    length = f"{whole // size}{unit}"
    return f"{length} ago" if seconds > 0 else f"in {length}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
