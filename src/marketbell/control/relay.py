"""Takes messages from the outbox: each is published as a POST would be, or kept as rejected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

import msgspec

from marketbell.clock import Clock
from marketbell.control.drafts import DELIVER_PAST_MAX, MessageDraft
from marketbell.control.publishing import Publisher
from marketbell.errors import (
    InvalidError,
    MarketbellError,
    NotFoundError,
    StoreError,
    TakenError,
    TooLargeError,
)
from marketbell.model import Instant, Millis
from marketbell.store.base import (
    OutboxAsk,
    OutboxFigures,
    OutboxKey,
    OutboxLook,
    OutboxRow,
    OutboxRows,
    OutboxShare,
    OutboxSight,
    Published,
    Rejection,
)
from marketbell.store.batch import RefusedError

_log = logging.getLogger(__name__)

Read: TypeAlias = Callable[[bytes], MessageDraft]
"""What a body says, as the API reads it. InvalidError."""

Share: TypeAlias = Callable[[], Collection[int] | None]
"""The slots whose applications are this node's to look for; None for all."""

_Group: TypeAlias = "tuple[str, str]"
"""An organization, and an application as its messages name it."""

_LATE_MS: Final[Millis] = 500
"""What has waited longer is taken by every node, not only by the one whose share it is."""
_WHOLE_S: Final = 1.0
"""How often all of the outbox is looked at, not only what has come since the last time."""
_WHOLE_SHARE: Final = 20
"""Such looks take at most one part in so many of the time."""
_FIGURES_S: Final = 2.0
_PRUNE_S: Final = 60.0
_PRUNED: Final = 500
_REST_S: Final = 0.1
_LONGEST_REST_S: Final = 5.0
_RESTING_MAX: Final = 1_000


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is taken at once, how often, and how long what was refused is kept."""

    body_max: int
    rejected_retention: Millis
    rows: int = 500
    bytes_max: int = 8_000_000
    pause_s: float = 0.04
    """Between two looks at an outbox that was empty; what is committed waits no longer."""


class _Rest(msgspec.Struct, frozen=True):
    """An application whose messages could not be published: how long it rests, and until when."""

    rest_s: float
    until_s: float


class Relay:
    """
    Follows the outbox of a store; as many nodes as there are may do so at once.

    A row is looked at without a lock, and taken away by the transaction that keeps its message:
    after a crash it is there, or the message is. Two nodes that look at the same one publish it
    once. What cannot be published for now stays, and holds up no other application.
    """

    def __init__(
        self,
        store: OutboxRows,
        publisher: Publisher,
        clock: Clock,
        *,
        read: Read,
        limits: RelayLimits,
        share: Share = lambda: None,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._read = read
        self._limits = limits
        self._share = share
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sight = OutboxSight()
        self._whole_at_s = 0.0
        self._figures_at_s = 0.0
        self._prune_at_s = 0.0
        self._resting: dict[str, _Rest] = {}
        """By the application's name."""
        self.figures = OutboxFigures(waiting=0, lag=0, rejected=0)
        """How the outbox stood when it was last asked."""

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End after what is under way; the rest waits for the next start."""
        self._end.set()
        if self._task is not None:
            await self._task

    async def look(self) -> bool:
        """Take what has come, up to a bound; whether there may be more."""
        started_s = asyncio.get_running_loop().time()
        whole = started_s >= self._whole_at_s
        now = self._clock.now()
        resting = [name for name, rest in self._resting.items() if rest.until_s > started_s]
        look = await self._store.look_into_outbox(
            OutboxAsk(
                since=OutboxSight() if whole else self._sight,
                share=OutboxShare(self._share(), now - _LATE_MS),
                but=resting,
                rows=self._limits.rows,
                bytes_max=self._limits.bytes_max,
                body_max=self._limits.body_max,
            )
        )
        if whole:
            took_s = asyncio.get_running_loop().time() - started_s
            self._whole_at_s = started_s + max(_WHOLE_S, _WHOLE_SHARE * took_s)
        dealt = await self._take(look, now)
        if dealt == len(look.rows) and not look.more and not resting:
            self._sight = look.sight
        return look.more

    async def _take(self, look: OutboxLook, now: Instant) -> int:
        """Publish or reject these rows, each application's in order; how many are gone."""
        if not look.rows:
            return 0
        unnamed = {row.application for row in look.rows if row.organization is None}
        owners = await self._store.outbox_owners(unnamed) if unnamed else {}
        groups: dict[_Group, list[tuple[OutboxRow, MessageDraft]]] = {}
        refused: list[Rejection] = []
        for row in look.rows:
            organization = row.organization or owners.get(row.application)
            try:
                if organization is None:
                    raise InvalidError(
                        ("organization",),
                        f"It is not clear whose application {row.application!r} is; name the "
                        "organization with the message",
                    )
                draft = self._draft(row, now)
            except InvalidError as fault:
                refused.append(_rejection(row.key, organization, fault))
                continue
            groups.setdefault((organization, row.application), []).append((row, draft))
        dealt = await asyncio.gather(*(self._publish(*one) for one in groups.items()))
        if refused:
            await self._reject(refused)
        return len(refused) + sum(dealt)

    def _draft(self, row: OutboxRow, now: Instant) -> MessageDraft:
        """What a row says. InvalidError."""
        if row.body is None:
            raise TooLargeError(
                ("body",), f"The message is more than {self._limits.body_max} bytes"
            )
        draft = self._read(row.body)
        occurred_at, deliver_at = draft.occurred_at, draft.deliver_at
        # It was in time when it was given; that it is taken late must not refuse it.
        if deliver_at is not None and row.created_at - DELIVER_PAST_MAX <= deliver_at <= now:
            deliver_at = None
        return msgspec.structs.replace(
            draft,
            occurred_at=row.created_at if occurred_at is None else occurred_at,
            deliver_at=deliver_at,
            outbox=row.key,
        )

    async def _publish(self, group: _Group, rows: Sequence[tuple[OutboxRow, MessageDraft]]) -> int:
        """Publish messages of one application; how many of their rows are gone by this."""
        organization, application = group
        drafts = [draft for _, draft in rows]
        refused: list[Rejection] = []
        waits: MarketbellError | None = None
        dealt = 0
        try:
            verdicts = await self._publisher.publish_batch(
                organization, application, drafts, [None] * len(drafts)
            )
        except NotFoundError:
            missing = f"There is no application {application[:64]!r} in {organization}; check both."
            verdicts = [NotFoundError(missing)] * len(rows)
        except MarketbellError as fault:
            verdicts = [fault] * len(rows)
        except Exception as fault:
            if len(rows) > 1:
                return sum([await self._publish(group, [one]) for one in rows])
            _log.exception("a message of the outbox cannot be published")
            verdicts = [MarketbellError(f"The server failed: {fault!r}")]
        for (row, _), verdict in zip(rows, verdicts, strict=True):
            if isinstance(verdict, Published):
                dealt += 1
            elif isinstance(verdict, RefusedError):
                blamed = InvalidError(("body",), verdict.detail)
                refused.append(_rejection(row.key, organization, blamed))
            elif isinstance(verdict, StoreError):
                waits = verdict
            elif not isinstance(verdict, TakenError):
                refused.append(_rejection(row.key, organization, verdict))
        self._settle(application, waits)
        return dealt + (await self._reject(refused) if refused else 0)

    async def _reject(self, rejections: Sequence[Rejection]) -> int:
        gone = await self._store.reject_from_outbox(rejections, now=self._clock.now())
        self._figures_at_s = 0.0  # a person may be looking at them
        if gone:  # else another node was quicker, and has said so
            first = rejections[0]
            _log.warning(
                "messages of the outbox are rejected",
                extra={"count": gone, "code": first.code, "reason": first.reason},
            )
        return gone

    def _settle(self, application: str, waits: MarketbellError | None) -> None:
        """Let an application rest that could not be published, longer and longer."""
        if waits is None:
            self._resting.pop(application, None)
            return
        before = self._resting.get(application)
        rest_s = _REST_S if before is None else min(_LONGEST_REST_S, 2 * before.rest_s)
        until_s = asyncio.get_running_loop().time() + rest_s
        if before is not None or len(self._resting) < _RESTING_MAX:
            self._resting[application] = _Rest(rest_s, until_s)
        if before is None:
            _log.warning("messages of the outbox wait", extra={"reason": str(waits)})

    async def _run(self) -> None:
        pause_s = self._limits.pause_s
        while not self._end.is_set():
            more = False
            try:
                await self._look_after()
                more = await self.look()
                pause_s = self._limits.pause_s
            except MarketbellError as error:
                if pause_s == self._limits.pause_s:
                    _log.warning("the outbox waits", extra={"reason": str(error)})
                pause_s = min(_LONGEST_REST_S, 2 * max(_REST_S, pause_s))
            except Exception:
                # Nobody else would notice that nothing is taken any more.
                pause_s = _LONGEST_REST_S
                _log.exception("taking from the outbox broke off; it goes on")
            if not more:
                await self._pause(pause_s)

    async def _look_after(self) -> None:
        """Now and then, see how the outbox stands, and forget what was rejected long ago."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._figures_at_s:
            self._figures_at_s = now_s + _FIGURES_S
            self.figures = await self._store.outbox_figures()
        if now_s >= self._prune_at_s:
            self._prune_at_s = now_s + _PRUNE_S
            before = self._clock.now() - self._limits.rejected_retention
            if await self._store.prune_rejected(before=before, limit=_PRUNED) == _PRUNED:
                self._prune_at_s = now_s

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._end.wait(), seconds)
        except TimeoutError:
            return


def _rejection(key: OutboxKey, organization: str | None, fault: MarketbellError) -> Rejection:
    where = ".".join(map(str, fault.field)) if isinstance(fault, InvalidError) else ""
    reason = f"{where}: {fault.detail}" if where else fault.detail
    return Rejection(
        key=key, organization=organization, code=fault.code, reason=reason.replace("\0", "")[:2_000]
    )
