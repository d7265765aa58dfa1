"""An intake that lets the marketplaces' events meet their fate; never part of a server."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from marketbell.clock import Clock
from marketbell.delivery.intake import Acceptance, Intake, Keep, Verdicts
from marketbell.errors import MarketbellError
from marketbell.model import DeliveryState, Message
from marketbell.sandbox.chaos import DEFAULT, Fate, Odds, fate
from marketbell.store.base import Published, Store

LOST_KEPT: Final = 100
"""How many lost messages are remembered."""

_log = structlog.get_logger("marketbell.sandbox")


class MisbehavingIntake:
    """
    Hands over to the real intake, with what the fates make of each event.

    Only what the marketplaces themselves tell has a fate; messages that somebody posts to the
    management API go their usual way. Repetitions that are still to come do not survive the end
    of the process.
    """

    def __init__(
        self, intake: Intake, store: Store, clock: Clock, seed: int, odds: Odds = DEFAULT
    ) -> None:
        self._intake = intake
        self._store = store
        self._clock = clock
        self._seed = seed
        self._odds = odds
        self._numbers = itertools.count(1)
        self._resends: set[asyncio.Task[None]] = set()
        self.lost: deque[str] = deque(maxlen=LOST_KEPT)
        """The public ids of the latest messages that nobody was told of."""

    def wake(self) -> None:
        """See Intake.wake."""
        self._intake.wake()

    async def accept(self, acceptances: Sequence[Acceptance], keep: Keep | None = None) -> Verdicts:
        """See Intake.accept; messages that are lost are kept, without a delivery."""
        if keep is None:
            return await self._intake.accept(acceptances)
        fates = [fate(self._seed, next(self._numbers), self._odds) for _ in acceptances]
        met = [_meeting(one, its) for one, its in zip(acceptances, fates, strict=True)]
        verdicts = await self._intake.accept(met, keep)
        for acceptance, its, verdict in zip(acceptances, fates, verdicts, strict=True):
            if isinstance(verdict, Published) and not verdict.repeated:
                self._follow(acceptance, its, verdict.message)
        return verdicts

    def _follow(self, acceptance: Acceptance, its: Fate, message: Message) -> None:
        if its.lost:
            self.lost.append(message.public_id)
        if its.again is None:
            return
        when = self._clock.now() + its.delay + its.again
        for endpoint in acceptance.subscribers.endpoints:
            if endpoint.wants(message.event_type, message.channels):
                self._clock.call_at(
                    when,
                    lambda reference=endpoint.public_id: self._again(message, reference),  # type: ignore[misc]
                )

    def _again(self, message: Message, endpoint: str) -> None:
        task = asyncio.ensure_future(self._resend(message, endpoint))
        self._resends.add(task)
        task.add_done_callback(self._resends.discard)

    async def _resend(self, message: Message, endpoint: str) -> None:
        """Once more, if it has arrived: what is still being retried keeps to its own clock."""
        try:
            states = await self._store.delivery_states(message.id)
            if states.get(endpoint) is not DeliveryState.DELIVERED:
                return
            await self._store.resend(
                message.application_id, message.public_id, endpoint, now=self._clock.now()
            )
        except MarketbellError as fault:  # the endpoint is gone or disabled by now
            _log.debug("not repeated", message=message.public_id, reason=fault.detail)
        else:
            self._intake.wake()


def _meeting(acceptance: Acceptance, its: Fate) -> Acceptance:
    if its.lost:
        nobody = msgspec.structs.replace(acceptance.subscribers, endpoints=())
        return msgspec.structs.replace(acceptance, subscribers=nobody)
    if its.delay:
        return msgspec.structs.replace(acceptance, due_at=acceptance.due_at + its.delay)
    return acceptance
