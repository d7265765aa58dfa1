"""The audit log: who changed what, when and from where, written in the very transaction of the change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from marketbell.model import Instant
from marketbell.store.control_plane import Page, Slice

SERVER: Final = "marketbell"
"""The actor of what the server does by itself."""


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of what was changed; UNSET values are kept back, as of secrets and headers."""

    field: str
    """Its name on the wire: `throttleRate`, `metadata.tier`, `headers.X-Key`, `secret`."""
    old: object | UnsetType = UNSET
    new: object | UnsetType = UNSET


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf, by what and from where a change is made."""

    organization: str
    actor: str
    operation: str
    """Such as `v1.endpoint.patch`."""
    at: Instant
    application: str | None = None
    """The application that is named in the request, by public id or uid."""
    endpoint: str | None = None
    """The endpoint that is named in the request, by public id or uid."""
    path: str = ""
    """The path of the request."""
    address: str = ""
    """Where the request came from."""
    request_id: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change as the log has it."""

    public_id: str
    organization: str
    at: Instant
    actor: str
    operation: str
    application: str | None
    """The public id of the application that was changed, or that has what was."""
    endpoint: str | None
    path: str
    address: str
    """Empty for what the server did by itself."""
    request_id: str
    fields: tuple[FieldChange, ...]


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of the log; None does not filter."""

    since: Instant | None = None
    """Made at or after."""
    until: Instant | None = None
    """Made before."""
    actor: str | None = None
    operation: str | None = None
    application: str | None = None
    """A public id."""


class Audit(Protocol):
    """The log of changes."""

    async def audit_log(
        self, organization: str, which: AuditFilter, page: Page
    ) -> Slice[AuditEntry]:
        """
        A slice of an organization's entries, newest first.

        Every control-plane method that is called within `changing(origin)` leaves one entry if
        its transaction changed anything, and none if it is rolled back or repeats an answer.
        Fields are there for applications, endpoints, their secrets and headers, and event types.
        """


class _Change:
    """An origin for as long as its request lasts; a task that outlives it leaves no entries."""

    __slots__ = ("origin", "over")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.over = False


_CURRENT: Final[ContextVar[_Change | None]] = ContextVar("marketbell-origin", default=None)


@contextmanager
def changing(origin: Origin) -> Iterator[None]:
    """Let what the store is asked to change meanwhile, in this task, be logged as this origin's."""
    change = _Change(origin)
    token = _CURRENT.set(change)
    try:
        yield
    finally:
        change.over = True
        _CURRENT.reset(token)


@contextmanager
def unlogged() -> Iterator[None]:
    """Let what the store is asked to change meanwhile be the server's own housekeeping, not the caller's."""
    token = _CURRENT.set(None)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_origin() -> Origin | None:
    """Whose change is under way in this task, None for the server's own work."""
    change = _CURRENT.get()
    return None if change is None or change.over else change.origin
