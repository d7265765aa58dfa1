"""The event types of a store: their protocol over the writer and the readers."""

from __future__ import annotations

from collections.abc import Sequence

from marketbell.model import Instant
from marketbell.store import configuration, event_types
from marketbell.store.base import EventType, Once, Page, Repeated, Slice
from marketbell.store.resource import Resource


class EventTypeResource(Resource):
    """EventTypes over a writer and readers."""

    async def create_event_type(
        self, event_type: EventType, *, limit: int | None = None, once: Once | None = None
    ) -> EventType | Repeated:
        """See EventTypes.create_event_type."""
        return await self._write(
            lambda transaction: event_types.create_event_type(
                transaction, event_type, limit=limit, mark=once
            )
        )

    async def put_event_types(
        self,
        given: Sequence[EventType],
        *,
        now: Instant,
        limit: int | None = None,
        revision: int | None = None,
        once: Once | None = None,
    ) -> Repeated | None:
        """See EventTypes.put_event_types."""
        return await self._write(
            lambda transaction: event_types.put_event_types(
                transaction, given, now=now, limit=limit, revision=revision, mark=once
            )
        )

    async def delete_event_type(self, organization: str, name: str) -> None:
        """See EventTypes.delete_event_type."""
        await self._write(
            lambda transaction: event_types.delete_event_type(transaction, organization, name)
        )

    async def event_type(self, organization: str, name: str) -> EventType:
        """See EventTypes.event_type."""
        return await self._read(
            lambda transaction: event_types.event_type(transaction, organization, name)
        )

    async def event_type_in_force(
        self, organization: str, name: str
    ) -> tuple[EventType | None, int]:
        """See EventTypes.event_type_in_force."""
        return await self._read(
            lambda transaction: event_types.event_type_in_force(transaction, organization, name)
        )

    async def event_types_revision(self, organization: str) -> int:
        """See EventTypes.event_types_revision."""
        return await self._read(
            lambda transaction: configuration.event_types_revision(transaction, organization)
        )

    async def event_types(
        self,
        organization: str,
        page: Page,
        *,
        include_archived: bool = False,
        feature_flags: frozenset[str] | None = None,
    ) -> Slice[EventType]:
        """See EventTypes.event_types."""
        return await self._read(
            lambda transaction: event_types.event_types(
                transaction,
                organization,
                page,
                include_archived=include_archived,
                feature_flags=feature_flags,
            )
        )
