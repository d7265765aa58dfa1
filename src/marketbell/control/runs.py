"""Messages of several callers, checked by what is in memory and kept in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from marketbell.clock import Clock
from marketbell.control.judging import Judge
from marketbell.delivery.intake import Acceptance, Intake, Verdicts
from marketbell.errors import ConflictError, MarketbellError, NotFoundError, StaleError, StoreError
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
        for acceptance, verdict in zip(acceptances, verdicts, strict=True):
            if isinstance(verdict, Published):
                self.tell(acceptance, verdict)
            elif not isinstance(verdict, StaleError | NotFoundError):
                self._observer.not_accepted(result_of(verdict))
        return verdicts

    def tell(self, acceptance: Acceptance, published: Published) -> None:
        """Count a message that is on disk, now or from an earlier request."""
        if published.repeated:
            self._observer.not_accepted("repeated")
            return
        message, subscribers = published.message, acceptance.subscribers
        self._observer.accepted(
            message,
            application=subscribers.application,
            deliveries=len(subscribers.wanting(message.event_type, message.channels)),
            now=self._clock.now(),
        )


def result_of(fault: MarketbellError) -> NotAccepted:
    """What a message counts as that this kept out."""
    if isinstance(fault, ConflictError):
        return "conflict"
    return "unavailable" if isinstance(fault, StoreError) else "refused"
