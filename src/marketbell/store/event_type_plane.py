"""What a store promises of the event types that an organization made itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from marketbell.model import Instant
from marketbell.store.control_plane import Once, Page, Repeated, Slice

_VERSIONS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """An event type that an organization made itself."""

    organization: str
    name: str
    description: str
    schemas: bytes | None = None
    """JSON: `{"1": {...}, "2": {...}}`, a JSON Schema for each version; None for none."""
    archived: bool = False
    deprecated: bool = False
    group_name: str | None = None
    feature_flags: tuple[str, ...] = ()
    """Hidden from applications' tokens that lack one of these."""
    created_at: Instant
    updated_at: Instant

    @property
    def schema(self) -> bytes | None:
        """JSON Schema that payloads must meet, that of the greatest version; None for anything."""
        if self.schemas is None:
            return None
        versions = _VERSIONS.decode(self.schemas)
        return bytes(versions[max(versions, key=int)])


class EventTypes(Protocol):
    """Event types that an organization made itself."""

    async def create_event_type(
        self, event_type: EventType, *, limit: int | None = None, once: Once | None = None
    ) -> EventType | Repeated:
        """
        A new event type; an archived one of that name is revived.

        ConflictError if it is live; LimitReachedError if the organization has `limit` already.
        None is for what the server makes itself.
        """

    async def put_event_types(
        self,
        event_types: Sequence[EventType],
        *,
        now: Instant,
        limit: int | None = None,
        revision: int | None = None,
        once: Once | None = None,
    ) -> Repeated | None:
        """
        Keep each as it is given, new or not, archived or not; all of one organization.

        `now` is the mark's, which is kept even if there is nothing else to keep. What exists keeps
        its `created_at`. LimitReachedError if there would be more than `limit`; StaleError if
        anything of the organization's has changed since `revision`.
        """

    async def delete_event_type(self, organization: str, name: str) -> None:
        """Remove it for good, archived or not. NotFoundError."""

    async def event_type(self, organization: str, name: str) -> EventType:
        """One event type, archived or not. NotFoundError."""

    async def event_type_in_force(
        self, organization: str, name: str
    ) -> tuple[EventType | None, int]:
        """One that is not archived, if there is one, and the revision that it was read at."""

    async def event_types_revision(self, organization: str) -> int:
        """How often anything of the organization's event types has changed."""

    async def event_types(
        self,
        organization: str,
        page: Page,
        *,
        include_archived: bool = False,
        feature_flags: frozenset[str] | None = None,
    ) -> Slice[EventType]:
        """
        A slice, in order of names; `page.after` and `page.before` are names.

        With `feature_flags`, those alone whose flags are all among them.
        """
