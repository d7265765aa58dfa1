"""Messages of several callers, checked by what is in memory and kept in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from marketbell.clock import Clock
from marketbell.control.judging import Judge
from marketbell.delivery.intake import Acceptance, Intake, Verdicts
from marketbell.errors import ConflictError, MarketbellError, NotFoundError, StaleError, StoreError
from marketbell.model import Application, Message
from marketbell.observe import NotAccepted, Observer
from marketbell.store.base import Published


class Runs:
    """
    The quick way in for many messages that come at the same time.

    Whatever cannot be said at once and for good is left to `Publisher.publish`, message by message.
    """

    def __init__(self, *, clock: Clock, intake: Intake, judge: Judge, observer: Observer) -> None:
        self._clock = clock
        self._intake = intake
        self._observer = observer
        self.ready = judge.judged_from_memory
        """A message that is good by what is in memory, which is never wrong for long; None or InvalidError: publish it by itself."""

    async def publish(self, acceptances: Sequence[Acceptance]) -> Verdicts:
        """
        A verdict for each, in order; what is `Published` is on disk with its deliveries.

        After StaleError and NotFoundError publish that message by itself: its application has
        changed. Raises OverloadedError, UnavailableError or OutcomeUnknownError for all of them.
        """
        try:
            verdicts = await self._intake.accept(acceptances)
        except MarketbellError as fault:
            self._observer.not_accepted(result_of(fault), len(acceptances))
            raise
        self.tell(acceptances, verdicts)
        return verdicts

    def tell(self, acceptances: Sequence[Acceptance], verdicts: Verdicts) -> None:
        """Count messages by what became of them, save those that are to be published by themselves."""
        kept: list[tuple[Message, Application]] = []
        deliveries = 0
        for acceptance, verdict in zip(acceptances, verdicts, strict=True):
            if not isinstance(verdict, Published):
                if not isinstance(verdict, StaleError | NotFoundError):
                    self._observer.not_accepted(result_of(verdict))
            elif verdict.repeated:
                self._observer.not_accepted("repeated")
            else:
                message, subscribers = verdict.message, acceptance.subscribers
                deliveries += len(subscribers.wanting(message.event_type, message.channels))
                kept.append((message, subscribers.application))
        if kept:
            self._observer.accepted_all(kept, deliveries=deliveries, now=self._clock.now())


def result_of(fault: MarketbellError) -> NotAccepted:
    """What a message counts as that this kept out."""
    if isinstance(fault, ConflictError):
        return "conflict"
    return "unavailable" if isinstance(fault, StoreError) else "refused"
