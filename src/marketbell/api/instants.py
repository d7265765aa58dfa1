"""Instants as they stand on the wire: ISO 8601 with milliseconds, in UTC."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Final

from marketbell.control.shapes import Field
from marketbell.errors import InvalidError
from marketbell.model import Instant

LEAST: Final[Instant] = 0
GREATEST: Final[Instant] = 253_402_214_399_999
"""The last millisecond of 9999-12-30: a day early, so that no zone ahead of UTC is in a year 10000."""

_MILLIS_FROM: Final = 100_000_000_000
"""A number from here on counts milliseconds; as seconds it would be the year 5138."""
_TEXT_MAX: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@functools.lru_cache(maxsize=256)
def iso(instant: Instant) -> str:
    """Such as `2026-11-21T09:30:00.125Z`."""
    second, millis = divmod(instant, 1000)
    return f"{_second(second)}.{millis:03d}Z"


def instant_of(value: str | float, field: Field) -> Instant:
    """
    An instant from ISO 8601, or from a number of seconds or milliseconds since 1970.

    A time without an offset is UTC. Raises InvalidError.
    """
    if isinstance(value, str):
        return _from_text(value, field)
    number = value if abs(value) >= _MILLIS_FROM else value * 1000
    if not LEAST <= number <= GREATEST:
        raise _outside(value, field)
    return int(number)


def _from_text(text: str, field: Field) -> Instant:
    try:
        if len(text) > _TEXT_MAX or "T" not in text.upper():
            raise ValueError
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        instant = (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise InvalidError(
            field,
            f"{text[:_TEXT_MAX]!r} is not a time; write it as 2026-11-21T09:30:00Z",
        ) from None
    if not LEAST <= instant <= GREATEST:
        raise _outside(text, field)
    return instant


def _outside(value: str | float, field: Field) -> InvalidError:
    return InvalidError(field, f"{value!r} is not between 1970-01-01 and 9999-12-30, in UTC")


@functools.lru_cache(maxsize=256)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
