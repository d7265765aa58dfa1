"""The store on one SQLite file: the whole contract over the writer and the readers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import apsw

from marketbell.clock import Clock
from marketbell.errors import MarketbellError
from marketbell.model import Claim, Instant
from marketbell.store import claiming, tasks
from marketbell.store.access import SqliteAccess
from marketbell.store.audit import audited
from marketbell.store.audit_plane import current_origin
from marketbell.store.base import (
    AccessChange,
    Announced,
    Change,
    Claimed,
    ClaimRequest,
    Publication,
    Published,
    Result,
)
from marketbell.store.batch import BatchStatistics, RefusedError, Writer
from marketbell.store.configuration import owner_and_endpoint
from marketbell.store.credentials import SqliteCredentials
from marketbell.store.marketplace import SqliteMarketplace
from marketbell.store.migrate import migrate
from marketbell.store.notices import SqliteNotices
from marketbell.store.portal import SqlitePortal
from marketbell.store.publishing import PublishWork
from marketbell.store.recording import RecordWork
from marketbell.store.resealing import SqliteSealedThings
from marketbell.store.resources import SqliteResources
from marketbell.store.sealing import Box
from marketbell.store.search_resource import SqliteSearch
from marketbell.store.sqlite import (
    Readers,
    SqliteExecutor,
    SqliteOptions,
    lock,
    open_writer,
    store_error,
)
from marketbell.store.statements import statements
from marketbell.store.task_resource import SqliteTasks
from marketbell.store.transaction import Transaction

T = TypeVar("T")

_SQL = statements("sqlite", "queue")

_log = logging.getLogger(__name__)


class WriterLimits:
    """Bounds on what waits for the writer; see `Writer`."""

    def __init__(
        self,
        *,
        rows_per_transaction: int = 2_000,
        waiting_rows: int = 20_000,
        waiting_bytes: int = 64_000_000,
        wait_s: float = 2.0,
        lost_claims: int = 20,
    ) -> None:
        self.rows_per_transaction = rows_per_transaction
        self.waiting_rows = waiting_rows
        self.waiting_bytes = waiting_bytes
        self.wait_s = wait_s
        self.lost_claims = lost_claims


class SqliteStore(
    SqliteResources,
    SqlitePortal,
    SqliteSearch,
    SqliteAccess,
    SqliteSealedThings,
    SqliteMarketplace,
    SqliteCredentials,
    SqliteTasks,
    SqliteNotices,
):
    """
    One SQLite file, held by this process alone for as long as the store is open.

    Opening turns every claim that the last process left into a lost one: none of them can
    be alive, and each may have been sent.
    """

    def __init__(
        self, options: SqliteOptions, box: Box, clock: Clock, limits: WriterLimits
    ) -> None:
        self._options = options
        self._box = box
        self._clock = clock
        self._listeners: list[Callable[[Change], None]] = []
        self._lock_file = lock(options.path)
        try:
            self._connection = open_writer(options)
            self.migrated = migrate(self._connection, now=clock.now())
            with self._connection:
                self.lost_at_open = claiming.lose_all(
                    Transaction(self._connection), clock.now(), limits.lost_claims
                )
                tasks.release_all(Transaction(self._connection), clock.now())
            executor = SqliteExecutor(self._connection, options, clock.now())
        except BaseException as error:
            self._lock_file.close()
            if isinstance(error, apsw.Error):
                raise store_error(error) from error
            raise
        self._readers = Readers(options)
        self._writer = Writer(
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
        """See Queue.publish."""
        future: asyncio.Future[list[Published | MarketbellError]] = (
            asyncio.get_running_loop().create_future()
        )
        self._writer.submit(PublishWork(publications, future))
        return await future

    async def claim(self, request: ClaimRequest) -> Claimed:
        """See Queue.claim."""

        def lookup(transaction: Transaction, endpoint_id: int):  # type: ignore[no-untyped-def]
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
        await self._write(lambda transaction: claiming.release(transaction, claims), bounded=False)

    async def hold(self, endpoint_id: int, until: Instant) -> None:
        """See Queue.hold."""
        await self._write(
            lambda transaction: transaction.change(
                _SQL["lane_hold"], {"endpoint_id": endpoint_id, "until": until}
            ),
            bounded=False,
        )

    async def note_health(self, endpoint_id: int, failing_since: Instant | None) -> None:
        """See Queue.note_health."""
        await self._write(
            lambda transaction: transaction.change(
                _SQL["lane_failing"], {"endpoint_id": endpoint_id, "since": failing_since}
            ),
            bounded=False,
        )

    # -- Store --------------------------------------------------------------------------

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """See Store.on_change."""
        self._listeners.append(listener)

    async def ping(self) -> None:
        """See Store.ping."""
        await self._write(lambda _transaction: None)

    async def aclose(self) -> None:
        """See Store.aclose."""
        await self._writer.aclose()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        with contextlib.suppress(apsw.Error):  # the disk is gone; what was committed is in the log
            self._connection.close()
        self._lock_file.close()

    def _announce(self, changes: list[Announced]) -> None:
        for change in changes:
            if isinstance(change, AccessChange):
                for told in self.access_listeners:
                    told(change)
                continue
            for listener in self._listeners:
                listener(change)

    def _write(
        self,
        effect: Callable[[Transaction], T],
        *,
        bounded: bool = True,
        rows: int = 1,
        size: int = 0,
    ) -> Awaitable[T]:
        # What is not bounded is the data plane's own work, whoever set it off.
        origin = current_origin() if bounded else None
        if origin is not None:
            effect = audited(effect, origin)
        return self._writer.run(effect, bounded=bounded, rows=rows, size=size)

    def _read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        return self._readers.run(query)
