"""What a search asks for, as parameters of its statements. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from marketbell import ids
from marketbell.model import Millis
from marketbell.store.base import AttemptFilter, MessageFilter
from marketbell.store.transaction import Value

_ENCODE: Final = msgspec.json.Encoder()
_TYPES_MERGED: Final = 16
"""More event types than these are looked for among all messages."""


class Kind(msgspec.Struct, frozen=True):
    """How rows of one kind are found by their time, and named."""

    table: str
    prefix: str
    slack: Millis
    """How much later than it was made a row may be committed, and still be found by its time."""
    follower: str
    """Who notes them for the lists, where that is done behind."""


MESSAGES: Final = Kind("message", ids.MESSAGE, 60_000, "labels")
ATTEMPTS: Final = Kind("attempt", ids.ATTEMPT, 600_000, "attempts")


def labels_of(which: MessageFilter) -> list[str] | None:
    """The labels of which a message must have one; None if the filter asks for none, or too many."""
    if which.tag is not None:
        return [f"t{which.tag}"]
    if which.channel is not None:
        return [f"c{which.channel}"]
    types = which.event_types
    if types is None or len(types) > _TYPES_MERGED:
        return None
    return [f"e{name}" for name in types]


def refused_of(which: AttemptFilter) -> str:
    """Which index serves: that over the attempts that were not accepted, or that over all."""
    refused = which.succeeded is False or which.status_code_class not in {None, 200}
    return "refused_" if refused else ""


def filter_of(which: MessageFilter | AttemptFilter) -> dict[str, Value]:
    """Parameters of what a message must be, to pass."""
    types = which.event_types
    return {
        "event_types": None if types is None else names_of(types),
        "channel": which.channel,
        "tag": which.tag,
        "since": which.since,
        "until": which.until,
    }


def attempt_filter_of(which: AttemptFilter) -> dict[str, Value]:
    """The same of an attempt and its message."""
    return {
        "endpoint_id": which.endpoint_id,
        "succeeded": which.succeeded,
        "status_code_class": which.status_code_class,
        **filter_of(which),
    }


def names_of(names: Iterable[str]) -> str:
    """Names as a JSON list."""
    return _ENCODE.encode(sorted(names)).decode()
