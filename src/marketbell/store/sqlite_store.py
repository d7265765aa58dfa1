"""The store on one SQLite file: the whole contract over the writer and the readers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import apsw

from marketbell.clock import Clock
from marketbell.store import claiming, tasks
from marketbell.store.migrate import migrate
from marketbell.store.outbox import NoOutbox
from marketbell.store.sealing import Box
from marketbell.store.sqlite import (
    Readers,
    SqliteExecutor,
    SqliteOptions,
    SqliteTransaction,
    file_sizes,
    lock,
    open_writer,
    store_error,
)
from marketbell.store.transaction import Transaction
from marketbell.store.written_store import WriterLimits, WrittenStore

__all__ = ("SqliteStore", "WriterLimits")

T = TypeVar("T")


class SqliteStore(NoOutbox, WrittenStore):
    """
    One SQLite file, held by this process alone for as long as the store is open.

    Opening turns every claim that the last process left into a lost one: none of them can
    be alive, and each may have been sent.
    """

    def __init__(
        self, options: SqliteOptions, box: Box, clock: Clock, limits: WriterLimits
    ) -> None:
        self._options = self._file = options
        self._box = box
        self._clock = clock
        self._listeners = []
        self._lock_file = lock(options.path)
        try:
            self._connection = open_writer(options)
            self.migrated = migrate(self._connection)
            with self._connection:
                self.lost_at_open = claiming.lose_all(
                    SqliteTransaction(self._connection), clock.now(), limits.lost_claims
                )
                tasks.release_all(SqliteTransaction(self._connection), clock.now())
            executor = SqliteExecutor(self._connection, options, clock.now())
        except BaseException as error:
            self._lock_file.close()
            if isinstance(error, apsw.Error):
                raise store_error(error) from error
            raise
        self._readers = Readers(options)
        self._writer = self._control_writer = self._make_writer(executor, limits)

    async def aclose(self) -> None:
        """See Store.aclose."""
        await self._writer.aclose()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        with contextlib.suppress(apsw.Error):  # the disk is gone; what was committed is in the log
            self._connection.close()
        self._lock_file.close()

    def _read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        return self._readers.run(query)

    def _sizes(self) -> tuple[int, int]:
        return file_sizes(self._file.path)
