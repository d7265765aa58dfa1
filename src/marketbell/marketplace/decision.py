"""What follows from a request to a marketplace: things as they are to be kept, and what is told of them."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from marketbell.model import Instant
from marketbell.store.marketplace_plane import Entity

Answer = TypeVar("Answer")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be announced to the seller."""

    event_type: str
    payload: object
    """The JSON text as bytes, else a Struct or dict that becomes it."""
    occurred_at: Instant | None = None
    """None for the instant of the decision."""


class Decision(msgspec.Struct, Generic[Answer], frozen=True, kw_only=True):
    """What follows from a request: entities as they are to be kept, and events in their order."""

    changes: tuple[Entity, ...] = ()
    """Each with the revision that it was read at; 0 for a new one. None of them twice."""
    events: tuple[Event, ...] = ()
    answer: Answer
    """Whatever the one who asked needs; given back once all is on disk."""
