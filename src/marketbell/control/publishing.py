"""Publish: a message that a caller gives is checked, matched, kept and on its way."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from marketbell.clock import Clock
from marketbell.control.batches import Batches
from marketbell.control.directory import Directory, Entry
from marketbell.control.drafts import MessageDraft
from marketbell.control.judging import NOT_YET, RENEWALS, Judge, settled
from marketbell.control.runs import Runs, result_of
from marketbell.control.schemas import Schemas
from marketbell.control.turns import Turns
from marketbell.delivery.intake import Intake, Keep
from marketbell.errors import InvalidError, MarketbellError, NotFoundError, StaleError
from marketbell.model import Millis
from marketbell.observe import Observer
from marketbell.store.base import Idempotency, Published, Store


class Publisher:
    """The way in for messages, one by one and in batches."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        intake: Intake,
        directory: Directory,
        schemas: Schemas,
        observer: Observer,
        turns: Turns,
        payload_retention: Millis,
    ) -> None:
        self._clock = clock
        self._store = store
        self._intake = intake
        self._directory = directory
        self._judge = Judge(clock, directory, schemas, payload_retention)
        self._observer = observer
        self._turns = turns
        self.runs = Runs(clock=clock, intake=intake, judge=self._judge, observer=observer)
        """The way in for messages of several callers that come at the same time."""
        self.publish_batch = Batches(
            clock=clock,
            store=store,
            intake=intake,
            directory=directory,
            judge=self._judge,
            observer=observer,
            turns=turns,
            runs=self.runs,
        ).publish
        """The way in for a batch; see `Batches.publish`."""

    async def publish(
        self,
        organization: str,
        application: str,
        draft: MessageDraft,
        idempotency: Idempotency | None = None,
    ) -> Published:
        """
        The message, on disk with its deliveries.

        Raises InvalidError, NotFoundError (no such application), ConflictError (eventId or
        idempotency key taken), OverloadedError, UnavailableError or OutcomeUnknownError.
        """
        try:
            entry = self._directory.peek(organization, application)
            if entry is None:
                entry = await self._directory.entry(organization, application)
            acceptance = await self._judge.judged_now(
                organization, application, entry, draft, idempotency
            )
            verdict = (await self._intake.accept([acceptance]))[0]
            for renewal in range(1, 1 + RENEWALS):
                if not isinstance(verdict, StaleError | NotFoundError):
                    break
                async with self._turns.undisturbed(renewal, acceptance.subscribers.application.id):
                    acceptance = await self._judge.renewed(organization, application, acceptance)
                    verdict = (await self._intake.accept([acceptance]))[0]
            if not isinstance(verdict, Published):
                raise settled(verdict)
        except InvalidError as fault:
            return await self._first_or(fault, idempotency)
        except MarketbellError as fault:
            self._observer.not_accepted(result_of(fault))
            raise
        self.runs.tell([acceptance], [verdict])
        return verdict

    async def publish_to(
        self,
        organization: str,
        application: str,
        endpoint: str,
        draft: MessageDraft,
        idempotency: Idempotency | None = None,
    ) -> Published:
        """
        The message, on disk with one delivery to this endpoint alone, whatever its filters.

        The endpoint is named by its public id. Raises as `publish`; NotFoundError for it too.
        """
        try:
            verdict: Published | MarketbellError = NOT_YET
            for _ in range(1 + RENEWALS):
                entry = await self._directory.entry(organization, application)
                entry = await self._directory.current(organization, application, entry)
                alone = self._directory.alone(entry, endpoint)
                acceptance = msgspec.structs.replace(
                    await self._judge.judged(organization, alone, draft, idempotency), aimed=True
                )
                verdict = (await self._intake.accept([acceptance]))[0]
                if not isinstance(verdict, StaleError):
                    break
                self._directory.forget(acceptance.subscribers.application.id)
            if not isinstance(verdict, Published):
                raise settled(verdict)
        except InvalidError as fault:
            return await self._first_or(fault, idempotency)
        except MarketbellError as fault:
            self._observer.not_accepted(result_of(fault))
            raise
        self.runs.tell([acceptance], [verdict])
        return verdict

    async def check(self, organization: str, entry: Entry, draft: MessageDraft) -> None:
        """Return if a message would be good for such an application. InvalidError."""
        await self._judge.judged(organization, entry, draft)

    async def repeated(self, idempotency: Idempotency | None) -> Published | None:
        """
        What an earlier request with this mark published; None if there was none, or without a mark.

        Raises ReusedKeyError if it had another body, NotFoundError if its message is no longer kept.
        """
        if idempotency is None:
            return None
        try:
            (first,) = await self._store.first_answers([idempotency], now=self._clock.now())
            if isinstance(first, MarketbellError):
                raise first
        except MarketbellError as fault:
            self._observer.not_accepted(result_of(fault))
            raise
        if first is not None:
            self._observer.not_accepted("repeated")
        return first

    async def _first_or(self, fault: InvalidError, idempotency: Idempotency | None) -> Published:
        """What was published before this was refused; else raises what refuses it now."""
        first = await self.repeated(idempotency)
        if first is None:
            self._observer.not_accepted(result_of(fault))
            raise fault
        return first

    def refused(self) -> None:
        """Count a message that was refused before it could be read."""
        self._observer.not_accepted("refused")

    async def publish_with(
        self, organization: str, application: str, drafts: Sequence[MessageDraft], keep: Keep
    ) -> list[Published]:
        """
        The messages, in order, kept by `keep` together with what they tell of: all or none.

        StaleError if the application or what `keep` guards has changed: decide anew and publish
        again. Raises as `publish` besides, and what `keep` raises; nothing is kept then.
        """
        try:
            entry = await self._directory.entry(organization, application)
            acceptances = [
                await self._judge.judged_now(organization, application, entry, draft)
                for draft in drafts
            ]
            verdicts = await self._intake.accept(acceptances, keep)
            kept = [verdict for verdict in verdicts if isinstance(verdict, Published)]
        except StaleError:
            raise
        except MarketbellError as fault:
            self._observer.not_accepted(result_of(fault), len(drafts))
            raise
        self.runs.tell(acceptances, kept)
        return kept
