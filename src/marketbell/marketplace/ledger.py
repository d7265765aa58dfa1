"""The one way in which a marketplace changes: what happened and what is told of it, kept together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from marketbell.control.drafts import MessageDraft
from marketbell.control.services import Services
from marketbell.control.turns import Turns
from marketbell.errors import OverloadedError, StaleError
from marketbell.marketplace.decision import Decision, Event
from marketbell.model import Application, Instant

__all__ = ["TRIES", "Decision", "Event", "Ledger"]

Loaded = TypeVar("Loaded")
Answer = TypeVar("Answer")

TRIES: Final = 8
"""How often a decision is made anew because what it was made on has changed."""


class Ledger:
    """
    Changes of marketplace entities together with their messages.

    All that one seller's requests decide is decided one after the other within this process;
    against other processes the revisions stand guard.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turns = Turns()

    async def act(
        self,
        application: Application,
        load: Callable[[], Awaitable[Loaded]],
        decide: Callable[[Loaded, Instant], Decision[Answer]],
    ) -> Answer:
        """
        Read, decide, and keep what was decided; the decision's answer.

        `decide` is pure and may be called more than once, each time on what `load` has read
        anew. What it raises is raised here, with nothing changed and nothing announced. When
        this returns, changes and messages are on disk in one transaction, and deliveries have
        begun. Raises NotFoundError if the application is gone, InvalidError for a payload that
        breaks the event type's schema, and what the store raises.
        """
        clock = self._services.clock
        async with self._turns.turn(application.id):
            for _ in range(TRIES):
                loaded = await load()
                now = clock.now()
                decision = decide(loaded, now)
                if not decision.changes and not decision.events:
                    return decision.answer
                try:
                    await self._keep(application, decision, now)
                except StaleError:
                    self._services.directory.forget(application.id)
                    continue
                return decision.answer
        raise OverloadedError("The seller's things change faster than they can be changed here.")

    async def _keep(
        self, application: Application, decision: Decision[Answer], now: Instant
    ) -> None:
        services = self._services
        await services.publisher.publish_with(
            application.organization,
            application.public_id,
            [_draft(event, now) for event in decision.events],
            lambda publications: services.store.change_entities(
                application.id, decision.changes, publications, now=now
            ),
        )


def _draft(event: Event, now: Instant) -> MessageDraft:
    payload = event.payload
    return MessageDraft(
        event_type=event.event_type,
        payload=payload if isinstance(payload, bytes) else msgspec.json.encode(payload),
        occurred_at=now if event.occurred_at is None else event.occurred_at,
    )
