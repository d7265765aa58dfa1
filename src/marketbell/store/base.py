"""
What a store promises, whole: the queue of the data plane, and the resources of the control plane.

Every method is one transaction unless it says otherwise. After a crash either all of a
transaction is there or nothing of it. Instants come from the caller, so that tests and the
database agree on time. What a store cannot do raises StoreError and changes nothing, save
OutcomeUnknownError, after which it may or may not have been kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from marketbell.errors import StaleError
from marketbell.model import Outcome, Trigger
from marketbell.store.access_plane import (
    AccessChange,
    AccessControl,
    ApiKey,
    ApiKeyDraft,
    KeyLogin,
)
from marketbell.store.audit_plane import (
    Audit,
    AuditEntry,
    AuditFilter,
    FieldChange,
    Origin,
    changing,
    unlogged,
)
from marketbell.store.control_plane import (
    ApplicationDraft,
    Applications,
    AttemptFilter,
    AttemptRow,
    EndpointDraft,
    Endpoints,
    History,
    MessageFilter,
    Once,
    Page,
    Repeated,
    Slice,
    Stop,
    Subscribers,
)
from marketbell.store.data_plane import (
    Birth,
    Claimed,
    ClaimRequest,
    Idempotency,
    OutboxKey,
    Publication,
    Published,
    Queue,
    Result,
)
from marketbell.store.event_type_plane import EventType, EventTypes
from marketbell.store.marketplace_plane import (
    CREDENTIALS_MAX,
    Credential,
    Credentials,
    Entities,
    Entity,
    EntityFilter,
)
from marketbell.store.operational_plane import Notice, Notices, WaitingNotice
from marketbell.store.outbox_plane import (
    OutboxAsk,
    OutboxFigures,
    OutboxLook,
    OutboxRow,
    OutboxRows,
    OutboxShare,
    OutboxSight,
    Rejected,
    Rejection,
)
from marketbell.store.portal_plane import PortalAccess, PortalGrant, PortalSession
from marketbell.store.retention_plane import Ages, Gauges, Pruned, Retention, Waiting
from marketbell.store.sealed_plane import Resealed, Sealed, SealedThings
from marketbell.store.search_plane import DeliveryRow, Destination, Owned, Owner, Search
from marketbell.store.statistics_plane import AttemptFigures, EndpointFigures, Statistics
from marketbell.store.task_plane import (
    Candidate,
    ParkedPlace,
    Selection,
    Sight,
    Step,
    Task,
    TaskDraft,
    TaskFilter,
    TaskKind,
    Tasks,
    TaskStatus,
)


class Change(msgspec.Struct, frozen=True):
    """Which configuration has changed; caches forget it."""

    application_id: int
    endpoint_id: int | None


class Cancelled(msgspec.Struct, frozen=True):
    """How many deliveries were cancelled because their payload is gone, in one go."""

    deliveries: int


Announced: TypeAlias = Change | AccessChange | Cancelled
"""What a transaction has changed, told to listeners after the commit."""


class Store(
    Queue,
    Applications,
    Endpoints,
    EventTypes,
    SealedThings,
    History,
    Search,
    Statistics,
    Audit,
    PortalAccess,
    Retention,
    AccessControl,
    Entities,
    Credentials,
    Tasks,
    Notices,
    OutboxRows,
    Protocol,
):
    """
    All of it.

    `sqlite_store.SqliteStore` is the one on an SQLite file, `postgresql_store.PostgresStore` that
    on PostgreSQL.
    """

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call back on the event loop after each commit that changed an application or endpoint."""

    async def ping(self) -> None:
        """Raise UnavailableError unless a write transaction can be made."""

    async def aclose(self) -> None:
        """Write what was accepted, then let go of the database."""


__all__ = [
    "CREDENTIALS_MAX",
    "AccessChange",
    "AccessControl",
    "Ages",
    "Announced",
    "ApiKey",
    "ApiKeyDraft",
    "ApplicationDraft",
    "Applications",
    "AttemptFigures",
    "AttemptFilter",
    "AttemptRow",
    "Audit",
    "AuditEntry",
    "AuditFilter",
    "Birth",
    "Cancelled",
    "Candidate",
    "Change",
    "ClaimRequest",
    "Claimed",
    "Credential",
    "DeliveryRow",
    "Destination",
    "EndpointDraft",
    "EndpointFigures",
    "Endpoints",
    "Entity",
    "EntityFilter",
    "EventType",
    "EventTypes",
    "FieldChange",
    "Gauges",
    "History",
    "Idempotency",
    "KeyLogin",
    "MessageFilter",
    "Notice",
    "Notices",
    "Once",
    "Origin",
    "OutboxAsk",
    "OutboxFigures",
    "OutboxKey",
    "OutboxLook",
    "OutboxRow",
    "OutboxRows",
    "OutboxShare",
    "OutboxSight",
    "Outcome",
    "Owned",
    "Owner",
    "Page",
    "ParkedPlace",
    "PortalAccess",
    "PortalGrant",
    "PortalSession",
    "Pruned",
    "Publication",
    "Published",
    "Queue",
    "Rejected",
    "Rejection",
    "Repeated",
    "Resealed",
    "Result",
    "Retention",
    "Sealed",
    "SealedThings",
    "Search",
    "Selection",
    "Sight",
    "Slice",
    "StaleError",
    "Statistics",
    "Step",
    "Stop",
    "Store",
    "Subscribers",
    "Task",
    "TaskDraft",
    "TaskFilter",
    "TaskKind",
    "TaskStatus",
    "Tasks",
    "Trigger",
    "Waiting",
    "WaitingNotice",
    "changing",
    "unlogged",
]
