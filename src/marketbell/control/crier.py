"""Publishes what operators are to be told: notices become messages, each once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from marketbell.control.drafts import MessageDraft
from marketbell.control.operational import APPLICATION, payload
from marketbell.control.publishing import Publisher
from marketbell.errors import ConflictError, MarketbellError, NotFoundError, StoreError
from marketbell.store.base import Notices, Published, WaitingNotice
from marketbell.store.operational_plane import HIDDEN

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 200
_LOOK_S: Final = 0.5
"""How often it looks; what changes an endpoint rings besides."""
_LONGEST_PAUSE_S: Final = 30.0


class _Stuck(msgspec.Struct, frozen=True):
    """An organization that could not be told: how long it rests, and until when."""

    rest_s: float
    until_s: float


class Crier:
    """
    Follows the notices of a store.

    A notice is forgotten once its message is on disk, and its own id is the message's eventId:
    a crash in between publishes it again, and the store refuses the second one. Of many nodes only
    the one that `leads` looks.
    """

    def __init__(
        self, store: Notices, publisher: Publisher, leads: Callable[[], bool] = lambda: True
    ) -> None:
        self._leads = leads
        self._store = store
        self._publisher = publisher
        self._bell = asyncio.Event()
        self._stopping = False
        self._stuck: dict[str, _Stuck] = {}
        """Organizations that could not be told when they were last tried."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End after what is under way; the rest waits for the next start."""
        self._stopping = True
        self._bell.set()
        if self._task is not None:
            await self._task

    def ring(self) -> None:
        """There may be something to tell."""
        self._bell.set()

    async def look(self) -> int:
        """
        Publish what waits, up to a bound; how many notices are dealt with.

        An organization that cannot be told holds up no other: it is tried again later and later.
        """
        now_s = asyncio.get_running_loop().time()
        but = [name for name, stuck in self._stuck.items() if stuck.until_s > now_s]
        waiting = await self._store.notices(_AT_ONCE, but=but)
        by_organization: dict[str, list[WaitingNotice]] = {}
        for notice in waiting:
            by_organization.setdefault(notice.organization, []).append(notice)
        dealt = 0
        for organization, notices in by_organization.items():
            try:
                done = await self._publish(organization, notices)
            except MarketbellError as fault:  # such as a secret that no key opens
                if organization not in self._stuck:
                    _log.warning("operational messages wait", extra={"reason": str(fault)})
                self._put_off(organization, now_s)
                continue
            self._stuck.pop(organization, None)
            if done:
                await self._store.drop_notices(done)
            dealt += len(done)
        return dealt

    def _put_off(self, organization: str, now_s: float) -> None:
        before = self._stuck.get(organization)
        rest_s = _LOOK_S if before is None else min(_LONGEST_PAUSE_S, 2 * before.rest_s)
        self._stuck[organization] = _Stuck(rest_s, now_s + rest_s)

    async def _publish(
        self, organization: str, notices: Sequence[WaitingNotice]
    ) -> list[WaitingNotice]:
        """Those that need not be published again."""
        drafts = [
            MessageDraft(
                event_type=waiting.notice.kind.value,
                payload=payload(waiting.notice),
                event_id=waiting.public_id,
            )
            for waiting in notices
        ]
        try:
            verdicts = await self._publisher.publish_batch(
                HIDDEN + organization, APPLICATION, drafts, [None] * len(drafts)
            )
        except NotFoundError:  # nobody is left to be told
            return list(notices)
        done: list[WaitingNotice] = []
        for waiting, verdict in zip(notices, verdicts, strict=True):
            if isinstance(verdict, StoreError):
                continue
            if not isinstance(verdict, Published | ConflictError):
                _log.error(
                    "an operational message cannot be published",
                    extra={"id": waiting.public_id, "reason": str(verdict)},
                )
            done.append(waiting)
        return done

    async def _run(self) -> None:
        pause_s = _LOOK_S
        while not self._stopping:
            self._bell.clear()
            try:
                dealt = await self.look() if self._leads() else 0
                pause_s = _LOOK_S
            except MarketbellError as error:
                if pause_s == _LOOK_S:
                    _log.warning("operational messages wait", extra={"reason": str(error)})
                dealt, pause_s = 0, min(_LONGEST_PAUSE_S, 2 * pause_s)
            except Exception:
                # Nobody else would notice that operators are told nothing any more.
                _log.exception("telling operators broke off; it goes on")
                dealt, pause_s = 0, _LONGEST_PAUSE_S
            if dealt < _AT_ONCE:
                await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._bell.wait(), seconds)
        except TimeoutError:
            return
