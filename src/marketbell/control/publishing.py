"""Publish: a message that a caller gives is checked, matched, kept and on its way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import msgspec

from marketbell.clock import Clock
from marketbell.control.directory import Directory, Entry
from marketbell.control.drafts import MessageDraft
from marketbell.control.judging import Judge
from marketbell.control.runs import Runs, result_of
from marketbell.control.schemas import Schemas
from marketbell.control.turns import Turns
from marketbell.delivery.intake import Acceptance, Intake, Keep
from marketbell.errors import (
    InvalidError,
    MarketbellError,
    NotFoundError,
    OverloadedError,
    StaleError,
    StoreError,
    TakenError,
)
from marketbell.model import Millis
from marketbell.observe import Observer
from marketbell.store.base import Idempotency, Published

_RENEWALS: Final = 5
"""How often a message is matched anew because its application changed."""
_IN_TURN: Final = 2
"""The renewal from which on it is done within the application's turn."""
_TURN: Final = 100
"""Messages of a batch that are checked before others get their turn."""

_NOT_YET: Final = StaleError("This message has no verdict yet.")


class Publisher:
    """The way in for messages, one by one and in batches."""

    def __init__(
        self,
        *,
        clock: Clock,
        intake: Intake,
        directory: Directory,
        schemas: Schemas,
        observer: Observer,
        turns: Turns,
        payload_retention: Millis,
    ) -> None:
        self._clock = clock
        self._intake = intake
        self._directory = directory
        self._judge = Judge(clock, directory, schemas, payload_retention)
        self._observer = observer
        self._turns = turns
        self.runs = Runs(clock=clock, intake=intake, judge=self._judge, observer=observer)
        """The way in for messages of several callers that come at the same time."""

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
            for renewal in range(1, 1 + _RENEWALS):
                if not isinstance(verdict, StaleError | NotFoundError):
                    break
                async with self._undisturbed(renewal, acceptance):
                    acceptance = await self._judge.renewed(organization, application, acceptance)
                    verdict = (await self._intake.accept([acceptance]))[0]
            if not isinstance(verdict, Published):
                raise _settled(verdict)
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
            verdict: Published | MarketbellError = _NOT_YET
            for _ in range(1 + _RENEWALS):
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
                raise _settled(verdict)
        except MarketbellError as fault:
            self._observer.not_accepted(result_of(fault))
            raise
        self.runs.tell([acceptance], [verdict])
        return verdict

    async def check(self, organization: str, entry: Entry, draft: MessageDraft) -> None:
        """Return if a message would be good for such an application. InvalidError."""
        await self._judge.judged(organization, entry, draft)

    def refused(self) -> None:
        """Count a message that was refused before it could be read."""
        self._observer.not_accepted("refused")

    async def publish_batch(
        self,
        organization: str,
        application: str,
        drafts: Sequence[MessageDraft | InvalidError],
        idempotencies: Sequence[Idempotency | None],
    ) -> list[Published | MarketbellError]:
        """
        A verdict for each draft, in order; an error among the drafts is its own verdict.

        Raises NotFoundError for the application, and what the store raises for all of them;
        once a part has been kept, that is the verdict of the others instead.
        """
        verdicts, waiting = await self._checked(organization, application, drafts, idempotencies)
        for renewal in range(1 + _RENEWALS):
            if not waiting:
                break
            async with self._undisturbed(renewal, next(iter(waiting.values()))):
                if renewal:
                    await self._renew(organization, application, waiting, verdicts)
                await self._accept(waiting, verdicts, first=not renewal)
        return [self._settle(verdict) for verdict in verdicts]

    async def _checked(
        self,
        organization: str,
        application: str,
        drafts: Sequence[MessageDraft | InvalidError],
        idempotencies: Sequence[Idempotency | None],
    ) -> tuple[list[Published | MarketbellError], dict[int, Acceptance]]:
        """The verdict of each draft that is refused; by place, those that are not."""
        entry = await self._directory.entry(organization, application)
        verdicts, waiting = await self._judged(organization, entry, drafts, idempotencies)
        if len(waiting) == len(drafts):
            return verdicts, waiting
        current = await self._directory.current(organization, application, entry)
        if current is entry:
            return verdicts, waiting
        return await self._judged(organization, current, drafts, idempotencies)

    async def _judged(
        self,
        organization: str,
        entry: Entry,
        drafts: Sequence[MessageDraft | InvalidError],
        idempotencies: Sequence[Idempotency | None],
    ) -> tuple[list[Published | MarketbellError], dict[int, Acceptance]]:
        """The same against an application as this entry has it."""
        verdicts: list[Published | MarketbellError] = []
        waiting: dict[int, Acceptance] = {}
        now = self._clock.now()
        for place, draft in enumerate(drafts):
            verdict: MarketbellError = _NOT_YET
            if isinstance(draft, InvalidError):
                verdict = draft
            else:
                try:
                    mark = idempotencies[place]
                    judged = self._judge.judged_at_once(organization, entry, draft, mark, now)
                    if judged is None:
                        judged = await self._judge.judged(organization, entry, draft, mark)
                    waiting[place] = judged
                except InvalidError as fault:
                    verdict = fault
            verdicts.append(verdict)
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
        return verdicts, waiting

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

    async def _accept(
        self,
        waiting: dict[int, Acceptance],
        verdicts: list[Published | MarketbellError],
        *,
        first: bool,
    ) -> None:
        """Hand over all that waits; what need not be matched anew no longer waits."""
        places = list(waiting)
        answers: Sequence[Published | MarketbellError]
        try:
            answers = await self._intake.accept(list(waiting.values()))
        except StoreError as fault:
            if first:
                self._observer.not_accepted("unavailable", len(waiting))
                raise
            answers = [fault] * len(places)
        kept: list[Acceptance] = []
        published: list[Published] = []
        for place, answer in zip(places, answers, strict=True):
            verdicts[place] = answer
            if isinstance(answer, StaleError | NotFoundError):
                continue
            acceptance = waiting.pop(place)
            if isinstance(answer, Published):
                kept.append(acceptance)
                published.append(answer)
        self.runs.tell(kept, published)

    def _undisturbed(
        self, renewal: int, acceptance: Acceptance
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """From the second renewal on nobody changes the application meanwhile, here at least."""
        if renewal < _IN_TURN:
            return contextlib.nullcontext()
        return self._turns.turn(acceptance.subscribers.application.id)

    async def _renew(
        self,
        organization: str,
        application: str,
        waiting: dict[int, Acceptance],
        verdicts: list[Published | MarketbellError],
    ) -> None:
        """Match all that waits anew; what cannot be gets its verdict."""
        for place, acceptance in list(waiting.items()):
            try:
                waiting[place] = await self._judge.renewed(organization, application, acceptance)
            except MarketbellError as fault:
                verdicts[place] = fault
                del waiting[place]

    def _settle(self, verdict: Published | MarketbellError) -> Published | MarketbellError:
        if isinstance(verdict, Published):
            return verdict
        fault = _settled(verdict)
        if isinstance(fault, TakenError):
            return fault
        self._observer.not_accepted(result_of(fault))
        return fault


def _settled(verdict: MarketbellError) -> MarketbellError:
    if isinstance(verdict, StaleError):
        return OverloadedError("The application is changed faster than messages can be matched.")
    return verdict
