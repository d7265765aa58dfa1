"""
What a store promises, whole: the queue of the data plane, and the resources of the control plane.

Every method is one transaction unless it says otherwise. After a crash either all of a
transaction is there or nothing of it. Instants come from the caller, so that tests and the
database agree on time. What a store cannot do raises StoreError and changes nothing, save
OutcomeUnknownError, after which it may or may not have been kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from marketbell.errors import StaleError
from marketbell.model import Outcome, Trigger
from marketbell.store.control_plane import (
    Ages,
    ApplicationDraft,
    Applications,
    AttemptFilter,
    AttemptRow,
    EndpointDraft,
    Endpoints,
    EventType,
    EventTypes,
    Gauges,
    History,
    MessageFilter,
    Once,
    Page,
    Pruned,
    Repeated,
    Retention,
    Slice,
    Subscribers,
)
from marketbell.store.data_plane import (
    Birth,
    Claimed,
    ClaimRequest,
    Idempotency,
    Publication,
    Published,
    Queue,
    Result,
)


class Change(msgspec.Struct, frozen=True):
    """Which configuration has changed; caches forget it."""

    application_id: int
    endpoint_id: int | None


class Store(Queue, Applications, Endpoints, EventTypes, History, Retention, Protocol):
    """All of it. `sqlite_store.SqliteStore` is the one on an SQLite file."""

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call back on the event loop after each commit that changed an application or endpoint."""

    async def ping(self) -> None:
        """Raise UnavailableError unless a write transaction can be made."""

    async def aclose(self) -> None:
        """Write what was accepted, then let go of the database."""


__all__ = [
    "Ages",
    "ApplicationDraft",
    "Applications",
    "AttemptFilter",
    "AttemptRow",
    "Birth",
    "Change",
    "ClaimRequest",
    "Claimed",
    "EndpointDraft",
    "Endpoints",
    "EventType",
    "EventTypes",
    "Gauges",
    "History",
    "Idempotency",
    "MessageFilter",
    "Once",
    "Outcome",
    "Page",
    "Pruned",
    "Publication",
    "Published",
    "Queue",
    "Repeated",
    "Result",
    "Retention",
    "Slice",
    "StaleError",
    "Store",
    "Subscribers",
    "Trigger",
]
