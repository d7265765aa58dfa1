"""Batches: many messages of one application, each with its own verdict, and one idempotency key for all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from marketbell.clock import Clock
from marketbell.control.directory import Directory, Entry
from marketbell.control.drafts import MessageDraft
from marketbell.control.judging import NOT_YET, RENEWALS, Judge, settled
from marketbell.control.runs import Runs, result_of
from marketbell.control.turns import Turns
from marketbell.delivery.intake import Acceptance, Intake
from marketbell.errors import (
    InvalidError,
    MarketbellError,
    NotFoundError,
    ReusedKeyError,
    StaleError,
    StoreError,
    TakenError,
)
from marketbell.observe import Observer
from marketbell.store.base import Idempotency, Published, Store

_TURN: Final = 100
"""Messages of a batch that are checked before others get their turn."""


class Batches:
    """The way in for many messages at once."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        intake: Intake,
        directory: Directory,
        judge: Judge,
        observer: Observer,
        turns: Turns,
        runs: Runs,
    ) -> None:
        self._clock = clock
        self._store = store
        self._intake = intake
        self._directory = directory
        self._judge = judge
        self._observer = observer
        self._turns = turns
        self._runs = runs

    async def publish(
        self,
        organization: str,
        application: str,
        drafts: Sequence[MessageDraft | InvalidError],
        idempotencies: Sequence[Idempotency | None],
    ) -> list[Published | MarketbellError]:
        """
        A verdict for each draft, in order; an error among the drafts is its own verdict.

        Raises NotFoundError for the application, ReusedKeyError if the batch's key came before
        with another batch, and what the store raises for all of them; once a part has been kept,
        that is the verdict of the others instead.
        """
        verdicts, waiting = await self._checked(organization, application, drafts, idempotencies)
        for renewal in range(1 + RENEWALS):
            if not waiting:
                break
            async with self._turns.undisturbed(renewal, _application(waiting)):
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
        if current is not entry:
            verdicts, waiting = await self._judged(organization, current, drafts, idempotencies)
        await self._repeat(drafts, idempotencies, verdicts, waiting)
        return verdicts, waiting

    async def _repeat(
        self,
        drafts: Sequence[MessageDraft | InvalidError],
        idempotencies: Sequence[Idempotency | None],
        verdicts: list[Published | MarketbellError],
        waiting: dict[int, Acceptance],
    ) -> None:
        """Give what is refused now the verdict that it had before. ReusedKeyError."""
        marks = {
            place: mark
            for place, mark in enumerate(idempotencies)
            if mark is not None and place not in waiting
        }
        if not marks:
            return
        found = await self._store.first_answers([*marks.values()], now=self._clock.now())
        for place, first in zip(marks, found, strict=True):
            if isinstance(first, ReusedKeyError):
                self._observer.not_accepted("conflict", len(drafts))
                raise first
            if first is not None and not isinstance(drafts[place], InvalidError):
                verdicts[place] = first
                if isinstance(first, Published):
                    self._observer.not_accepted("repeated")

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
            verdict: MarketbellError = NOT_YET
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
        reused: ReusedKeyError | None = None
        for place, answer in zip(places, answers, strict=True):
            verdicts[place] = answer
            if isinstance(answer, Published):
                kept.append(waiting.pop(place))
                published.append(answer)
            elif not isinstance(answer, StaleError | NotFoundError):
                del waiting[place]
                if isinstance(answer, ReusedKeyError):
                    reused = answer
        self._runs.tell(kept, published)
        if reused is not None:
            self._refuse(reused, waiting, verdicts)

    def _refuse(
        self,
        fault: ReusedKeyError,
        waiting: dict[int, Acceptance],
        verdicts: list[Published | MarketbellError],
    ) -> None:
        """Keep nothing more of a batch; raises the fault if nothing of it was kept."""
        if not any(isinstance(verdict, Published) for verdict in verdicts):
            self._observer.not_accepted("conflict", len(verdicts))
            raise fault
        verdicts[:] = [fault if place in waiting else one for place, one in enumerate(verdicts)]
        waiting.clear()

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
        fault = settled(verdict)
        if isinstance(fault, TakenError):
            return fault
        self._observer.not_accepted(result_of(fault))
        return fault


def _application(waiting: Mapping[int, Acceptance]) -> int:
    return next(iter(waiting.values())).subscribers.application.id
