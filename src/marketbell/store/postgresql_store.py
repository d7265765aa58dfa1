"""The store on PostgreSQL: the whole contract over two writers and the readers of one node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from marketbell.clock import Clock
from marketbell.errors import MarketbellError, UnavailableError
from marketbell.model import Instant
from marketbell.store import tasks
from marketbell.store.base import Claimed, ClaimRequest, Idempotency, Published, Result
from marketbell.store.keys import TimedKeys
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_claiming import ClaimWork, lose_slots
from marketbell.store.postgresql_executor import PostgresExecutor
from marketbell.store.postgresql_history import PostgresHistory
from marketbell.store.postgresql_transaction import Readers
from marketbell.store.recording import RecordWork
from marketbell.store.repeating import first_answers
from marketbell.store.sealing import Box
from marketbell.store.shared_marks import SharedMarks
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction
from marketbell.store.written_store import WriterLimits, WrittenStore

T = TypeVar("T")

_SQL = statements("queue")

_WRITERS: Final = (("data", False), ("control", True), ("results", False))
"""Each with whether its transactions are one at a time over all nodes."""
_LOST_AT_ONCE: Final = 500


def _key_numbers(node_number: int) -> tuple[int, int]:
    """
    Of the data plane and of the control plane: two that gave out keys of one number would give
    out the same.
    """
    return 2 * node_number, 2 * node_number + 1


class PostgresStore(PostgresHistory, WrittenStore):
    """
    One node's way to a PostgreSQL that many nodes share.

    The schema must be there (`migrate_postgresql.migrate`). The data plane and the control plane
    have a writer each, so that a change which waits for another node's holds up no message; so has
    what claims and records, so that a long claim does not either.
    """

    def __init__(
        self, options: PostgresOptions, box: Box, clock: Clock, limits: WriterLimits
    ) -> None:
        self._options = options
        self._box = box
        self._clock = clock
        self._listeners = []
        self._begin_history()
        self._readers = Readers(options, wait_s=limits.wait_s)
        data, control = map(TimedKeys, _key_numbers(options.node_number))
        self._keys = (data, control)
        self._executors = tuple(
            PostgresExecutor(options, timed_keys, name=name, alone=alone)
            for timed_keys, (name, alone) in zip((data, control, data), _WRITERS, strict=True)
        )
        self._writer, self._control_writer, self._results_writer = (
            self._make_writer(executor, limits) for executor in self._executors
        )
        # Both are the data plane's, and counted as one.
        self._results_writer.statistics = self._writer.statistics

    def renumber(self, node_number: int) -> None:
        """Give out keys of another node's number from now on: that of before may be given to another node."""
        for timed_keys, number in zip(self._keys, _key_numbers(node_number), strict=True):
            timed_keys.renumber(number)

    async def lose_claims(self, slots: Collection[int], *, now: Instant, lost_max: int) -> int:
        """
        Turn all claims in these slots into lost ones, in steps; how many there were.

        For slots whose last node cannot answer for them any more, before another one claims there.
        Background tasks are due at once, since a step of one may have been lost with that node;
        a step that lives is fenced by the next one.
        """
        lost, found = 0, _LOST_AT_ONCE
        given = sorted(slots)
        while found == _LOST_AT_ONCE:
            found = await self._write(
                lambda transaction: lose_slots(
                    transaction, given, now=now, lost_max=lost_max, limit=_LOST_AT_ONCE
                ),
                bounded=False,
            )
            lost += found
        await self._write(lambda transaction: tasks.release_all(transaction, now), bounded=False)
        return lost

    async def first_answers(
        self, marks: Sequence[Idempotency], *, now: Instant
    ) -> list[Published | MarketbellError | None]:
        """See Queue.first_answers; here no writer is needed for it."""
        return await self._read(
            lambda transaction: first_answers(transaction, SharedMarks(), marks, now)
        )

    async def claim(self, request: ClaimRequest) -> Claimed:
        """See Queue.claim."""
        future: asyncio.Future[Claimed] = asyncio.get_running_loop().create_future()
        self._results_writer.submit(ClaimWork(request, self._box, future))
        return await future

    async def _record(self, results: Sequence[Result]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._results_writer.submit(RecordWork(results, future))
        await future

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be written now."""
        return self._writer.waiting_rows + self._results_writer.waiting_rows

    async def ping(self) -> None:
        """See Store.ping."""

        def look(transaction: Transaction) -> None:
            if transaction.rows(_SQL["read_only"]) != [(False,)]:
                raise UnavailableError("The database is read-only, perhaps a replica.")

        await self._writer.run(look)

    async def aclose(self) -> None:
        """See Store.aclose."""
        for writer in (self._writer, self._results_writer, self._control_writer):
            await writer.aclose()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        for executor in self._executors:
            executor.close()

    def _read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        return self._readers.run(query)

    def _sizes(self) -> tuple[int, int]:
        return 0, 0
