"""The part of a store that is the same on every database: the resources, over its writers."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import msgspec

from marketbell.errors import MarketbellError, OutcomeUnknownError, StoreError
from marketbell.model import Application, Claim, Endpoint, Instant
from marketbell.store import claiming
from marketbell.store.access import AccessResource
from marketbell.store.audit import audited
from marketbell.store.audit_plane import current_origin
from marketbell.store.base import (
    AccessChange,
    Announced,
    Cancelled,
    Change,
    Claimed,
    ClaimRequest,
    Idempotency,
    Publication,
    Published,
    Result,
)
from marketbell.store.batch import BatchStatistics, Executor, RefusedError, Writer
from marketbell.store.configuration import owner_and_endpoint
from marketbell.store.credentials import CredentialResource
from marketbell.store.event_type_resource import EventTypeResource
from marketbell.store.marketplace import EntityResource
from marketbell.store.notices import NoticeResource
from marketbell.store.outbox import OutboxResource
from marketbell.store.portal import PortalResource
from marketbell.store.publishing import PublishWork
from marketbell.store.recording import RecordWork
from marketbell.store.repeating import first_answers
from marketbell.store.resealing import SealedResource
from marketbell.store.resources import CoreResource
from marketbell.store.search_resource import SearchResource
from marketbell.store.statements import statements
from marketbell.store.task_resource import TaskResource
from marketbell.store.transaction import Transaction

T = TypeVar("T")

_SQL = statements("queue")

_log = logging.getLogger(__name__)


class WriterLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what waits for the writer; see `Writer`. By default as the settings' own."""

    rows_per_transaction: int = 2_000
    waiting_rows: int = 20_000
    waiting_bytes: int = 32_000_000
    wait_s: float = 2.0
    lost_claims: int = 20


class WrittenStore(
    CoreResource,
    EventTypeResource,
    PortalResource,
    SearchResource,
    AccessResource,
    SealedResource,
    EntityResource,
    CredentialResource,
    TaskResource,
    NoticeResource,
    OutboxResource,
):
    """
    All of a store but opening it, reading it and closing it.

    The data plane's writer and that of the control plane are the same one where the database
    has but one.
    """

    _writer: Writer
    """Of the data plane."""
    _control_writer: Writer
    _listeners: list[Callable[[Change], None]]
    lost_at_open = 0
    """Claims that the last process left, made lost ones when the store was opened."""

    on_cancelled: Callable[[int], None] = staticmethod(lambda _deliveries: None)
    """Called on the event loop with how many deliveries were cancelled, their payload being gone."""

    def _make_writer(self, executor: Executor, limits: WriterLimits) -> Writer:
        return Writer(
            executor,
            rows_max=limits.rows_per_transaction,
            waiting_rows_max=limits.waiting_rows,
            waiting_bytes_max=limits.waiting_bytes,
            wait_s=limits.wait_s,
            on_changes=self._announce,
        )

    @property
    def statistics(self) -> BatchStatistics:
        """What the writer has done so far."""
        return self._writer.statistics

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be written now."""
        return self._writer.waiting_rows

    # -- Queue --------------------------------------------------------------------------

    async def publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | MarketbellError]:
        """See Queue.publish; where the database refuses one, those beside it are kept apart from it."""
        try:
            return await self._publish(publications)
        except RefusedError:
            if len(publications) == 1:
                raise
        middle = len(publications) // 2
        first = await self._publish_part(publications[:middle])
        return first + await self._publish_part(publications[middle:])

    async def _publish_part(
        self, publications: Sequence[Publication]
    ) -> list[Published | MarketbellError]:
        try:
            return await self.publish(publications)
        except OutcomeUnknownError:
            raise  # for all of them: born claims of a call are known or forgotten together
        except StoreError as error:
            return [error] * len(publications)

    async def _publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | MarketbellError]:
        future: asyncio.Future[list[Published | MarketbellError]] = (
            asyncio.get_running_loop().create_future()
        )
        self._writer.submit(PublishWork(publications, future))
        return await future

    async def first_answers(
        self, marks: Sequence[Idempotency], *, now: Instant
    ) -> list[Published | MarketbellError | None]:
        """See Queue.first_answers."""
        return await self._writer.run(
            lambda transaction: first_answers(transaction, transaction.marks, marks, now)
        )

    async def claim(self, request: ClaimRequest) -> Claimed:
        """See Queue.claim."""

        def lookup(transaction: Transaction, endpoint_id: int) -> tuple[Application, Endpoint]:
            return owner_and_endpoint(transaction, self._box, endpoint_id, request.now)

        return await self._write(
            lambda transaction: claiming.claim(transaction, request, lookup), bounded=False
        )

    async def record(self, results: Sequence[Result]) -> None:
        """See Queue.record; an attempt that the database refuses is logged and left to its lease."""
        try:
            await self._record(results)
        except RefusedError as error:
            if len(results) == 1:
                public_id = results[0].attempt.public_id
                _log.error(
                    "an attempt cannot be kept", extra={"id": public_id, "reason": str(error)}
                )
                return
            middle = len(results) // 2
            await self.record(results[:middle])
            await self.record(results[middle:])

    async def _record(self, results: Sequence[Result]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.submit(RecordWork(results, future))
        await future

    async def release(self, claims: Sequence[Claim]) -> None:
        """See Queue.release."""
        await self._change_lanes(
            {claim.endpoint_id for claim in claims},
            lambda transaction: claiming.release(transaction, claims),
        )

    async def hold(self, endpoint_id: int, until: Instant) -> None:
        """See Queue.hold."""
        await self._change_lanes(
            (endpoint_id,),
            lambda transaction: transaction.change(
                _SQL["lane_hold"], {"endpoint_id": endpoint_id, "until": until}
            ),
        )

    async def note_health(self, endpoint_id: int, failing_since: Instant | None) -> None:
        """See Queue.note_health."""
        await self._change_lanes(
            (endpoint_id,),
            lambda transaction: transaction.change(
                _SQL["lane_failing"], {"endpoint_id": endpoint_id, "since": failing_since}
            ),
        )

    async def _change_lanes(
        self, lanes: Collection[int], effect: Callable[[Transaction], object]
    ) -> None:
        await self._writer.run(effect, bounded=False, lanes=lanes)

    # -- Store --------------------------------------------------------------------------

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """See Store.on_change."""
        self._listeners.append(listener)

    @abstractmethod
    async def aclose(self) -> None:
        """See Store.aclose."""

    async def ping(self) -> None:
        """See Store.ping."""
        await self._writer.run(lambda _transaction: None)

    def hear(self, changes: list[Announced]) -> None:
        """What another node has changed: listeners are told as if it were this one."""
        self._announce(changes)

    def _announce(self, changes: list[Announced]) -> None:
        for change in changes:
            if isinstance(change, AccessChange):
                for told in self.access_listeners:
                    told(change)
                continue
            if isinstance(change, Cancelled):
                self.on_cancelled(change.deliveries)
                continue
            for listener in self._listeners:
                listener(change)

    def _write(
        self,
        effect: Callable[[Transaction], T],
        *,
        bounded: bool = True,
        configures: bool = False,
        rows: int = 1,
        size: int = 0,
    ) -> Awaitable[T]:
        if not bounded:  # the server's own work, whoever set it off
            writer = self._control_writer if configures else self._writer
            return writer.run(effect, bounded=False, rows=rows, size=size)
        origin = current_origin()
        if origin is not None:
            effect = audited(effect, origin)
        return self._control_writer.run(effect, rows=rows, size=size)
