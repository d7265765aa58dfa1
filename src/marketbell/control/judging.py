"""Drafts judged by what is known of their application, and anew where that has changed."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.clock import Clock
from marketbell.control import drafts as drafting
from marketbell.control.directory import Directory, Entry
from marketbell.control.drafts import EVENT_TYPE, MessageDraft
from marketbell.control.schemas import Schemas, Unknown
from marketbell.control.shapes import check_event_type
from marketbell.delivery.intake import Acceptance
from marketbell.dialects.schema import PayloadSchema
from marketbell.errors import InvalidError, MarketbellError, OverloadedError, StaleError
from marketbell.model import Instant, Millis
from marketbell.store.base import Idempotency

RENEWALS: Final = 5
"""How often a message is matched anew because its application changed."""
NOT_YET: Final = StaleError("This message has no verdict yet.")


class Judge:
    """
    What is in memory decides, and is never wrong for long.

    A message that is let through by what another node has changed meanwhile is found out by its
    revision when it is kept. One that is refused by it is judged by what is kept now before
    anybody is told.
    """

    def __init__(
        self, clock: Clock, directory: Directory, schemas: Schemas, payload_retention: Millis
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._schemas = schemas
        self._retention = payload_retention

    async def judged(
        self,
        organization: str,
        entry: Entry,
        draft: MessageDraft,
        idempotency: Idempotency | None = None,
    ) -> Acceptance:
        """A draft, checked against an application as this entry has it. InvalidError."""
        found = self.judged_at_once(organization, entry, draft, idempotency, self._clock.now())
        if found is not None:
            return found
        check_event_type(draft.event_type, EVENT_TYPE)
        schema = await self._schema(organization, entry, draft.event_type)
        return self.acceptance(entry, schema, draft, idempotency)

    def judged_at_once(
        self,
        organization: str,
        entry: Entry,
        draft: MessageDraft,
        idempotency: Idempotency | None,
        now: Instant,
    ) -> Acceptance | None:
        """The same if the event type's schema is in memory, else None. InvalidError."""
        schema = self._schemas.peek(organization, draft.event_type, entry.subscribers.event_types)
        if isinstance(schema, Unknown):
            return None
        return drafting.accept(
            entry, schema, draft, idempotency, now=now, retention=self._retention
        )

    def judged_from_memory(
        self,
        organization: str,
        application: str,
        draft: MessageDraft,
        idempotency: Idempotency | None,
        now: Instant,
    ) -> Acceptance | None:
        """The same if the application is in memory too, as it was; else None. InvalidError."""
        entry = self._directory.peek(organization, application)
        if entry is None:
            return None
        return self.judged_at_once(organization, entry, draft, idempotency, now)

    async def judged_now(
        self,
        organization: str,
        application: str,
        entry: Entry,
        draft: MessageDraft,
        idempotency: Idempotency | None = None,
    ) -> Acceptance:
        """The same, but refused only by what is so now. InvalidError, NotFoundError."""
        try:
            return await self.judged(organization, entry, draft, idempotency)
        except InvalidError:
            current = await self._directory.current(organization, application, entry)
            if current is entry:
                raise
        return await self.judged(organization, current, draft, idempotency)

    def acceptance(
        self,
        entry: Entry,
        schema: PayloadSchema | None,
        draft: MessageDraft,
        idempotency: Idempotency | None = None,
    ) -> Acceptance:
        """A draft, checked as of now against this schema; see `drafts.accept`. InvalidError."""
        return drafting.accept(
            entry,
            schema,
            draft,
            idempotency,
            now=self._clock.now(),
            retention=self._retention,
        )

    async def renewed(
        self, organization: str, application: str, acceptance: Acceptance
    ) -> Acceptance:
        """The same message for the application as it is now. InvalidError; NotFoundError if it is gone."""
        stale = acceptance.subscribers
        entry = self._directory.peek(organization, application)
        if entry is None or entry.subscribers is stale:
            self._directory.forget(stale.application.id)
            entry = await self._directory.entry(organization, application)
        message = acceptance.message
        schema = await self._schema(organization, entry, message.event_type)
        drafting.check_payload_anew(entry, schema, message)
        return msgspec.structs.replace(
            acceptance,
            subscribers=entry.subscribers,
            message=msgspec.structs.replace(
                message, application_id=entry.subscribers.application.id
            ),
        )

    async def _schema(
        self, organization: str, entry: Entry, event_type: str
    ) -> PayloadSchema | None:
        """The organization's own schema, no older than what is known of the application."""
        return await self._schemas.schema(organization, event_type, entry.subscribers.event_types)


def settled(verdict: MarketbellError) -> MarketbellError:
    """What the caller is told once a message is matched anew no more."""
    if isinstance(verdict, StaleError):
        return OverloadedError("The application is changed faster than messages can be matched.")
    return verdict
