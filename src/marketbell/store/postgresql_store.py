"""The store on PostgreSQL: the whole contract over two writers and the readers of one node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from marketbell.clock import Clock
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_transaction import PostgresExecutor, Readers
from marketbell.store.sealing import Box
from marketbell.store.transaction import Transaction
from marketbell.store.written_store import WriterLimits, WrittenStore

T = TypeVar("T")


class PostgresStore(WrittenStore):
    """
    One node's way to a PostgreSQL that many nodes share.

    The schema must be there (`migrate_postgresql.migrate`). The data plane and the control plane
    have a writer each, so that a change which waits for another node's holds up no message.
    """

    def __init__(
        self, options: PostgresOptions, box: Box, clock: Clock, limits: WriterLimits
    ) -> None:
        self._options = options
        self._box = box
        self._clock = clock
        self._listeners = []
        self._readers = Readers(options)
        self._executors = (
            PostgresExecutor(options, name="data", alone=False),
            PostgresExecutor(options, name="control", alone=True),
        )
        self._writer = self._make_writer(self._executors[0], limits)
        self._control_writer = self._make_writer(self._executors[1], limits)

    async def aclose(self) -> None:
        """See Store.aclose."""
        await self._writer.aclose()
        await self._control_writer.aclose()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        for executor in self._executors:
            executor.close()

    def _read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        return self._readers.run(query)

    def _sizes(self) -> tuple[int, int]:
        return 0, 0
