"""Times on the Action API's wire: as callers write them, and as they are answered. Pure."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from typing import Final

from marketbell.model import Instant, Millis

_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(\.\d{1,9})?(Z|[+-]\d{2}:?\d{2})"
)
_FILTER: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?(Z|[+-]\d{2}:?\d{2})?)?"
)
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLI: Final = datetime.timedelta(milliseconds=1)


def read_timestamp(text: str) -> Instant | None:
    """The instant of an ISO 8601 time with an offset or Z, None if it is none."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    day, time, fraction, offset = match.groups()
    return _instant(f"{day}T{time}{(fraction or '')[:7]}", offset, datetime.UTC)


def read_filter(text: str, zone: datetime.tzinfo) -> Instant | None:
    """The instant of a date, or of a time with or without an offset; what is not said is `zone`'s."""
    match = _FILTER.fullmatch(text)
    if match is None:
        return None
    day, time, offset = match.groups()
    return _instant(f"{day}T{time or '00:00:00'}", offset, zone)


def is_current(at: Instant, now: Instant, window: Millis) -> bool:
    """Whether a request's time lies within the window on either side of the present."""
    return abs(now - at) <= window


def head_time(at: Instant, zone: datetime.tzinfo) -> str:
    """As in heads: `2016-06-07T18:35:09+0200`, an offset without a colon."""
    return _local(at, zone).strftime("%Y-%m-%dT%H:%M:%S%z")


def plain_time(at: Instant, zone: datetime.tzinfo) -> str:
    """As in feeds, orders and products: `2018-12-17 13:46:25`, no zone."""
    return _local(at, zone).strftime("%Y-%m-%d %H:%M:%S")


def zone_of(name: str) -> datetime.tzinfo:
    """The time zone of that name. Raises ValueError if there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


def _local(at: Instant, zone: datetime.tzinfo) -> datetime.datetime:
    return (_EPOCH + at * _MILLI).astimezone(zone)


def _instant(text: str, offset: str | None, zone: datetime.tzinfo) -> Instant | None:
    try:
        local = datetime.datetime.fromisoformat(text + (offset or ""))
        if local.tzinfo is None:
            local = local.replace(tzinfo=zone)
        return (local - _EPOCH) // _MILLI
    except (ValueError, OverflowError):
        return None
