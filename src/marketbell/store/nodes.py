"""The nodes of a PostgreSQL, over one connection that is theirs alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg

from marketbell.errors import UnavailableError
from marketbell.model import Instant, Millis
from marketbell.store.migrations import known
from marketbell.store.nodes_plane import Node, NodeDraft, NodeRow, Registered, Seen
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_errors import LOST, store_error
from marketbell.store.statements import statements

_SQL = statements("nodes")

_NUMBERS: Final = 511
_REMEMBERED: Final[Millis] = 3_600_000
"""For how long a lost node is."""

_log = logging.getLogger(__name__)


class PostgresNodes:
    """
    `Nodes` in PostgreSQL, each call one statement on a connection of the running event loop.

    That loop is the node's own: while it hangs, no sign of life is given. With a pooler between
    there is nobody to hear what others tell.
    """

    alone = False

    def __init__(self, options: PostgresOptions, *, lease: Millis) -> None:
        self._options = options
        self._limit_s = lease / 3000
        self._lease = lease
        self._open: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._listeners: list[Callable[[str], None]] = []
        self._channel = options.schema
        milliseconds = str(max(1, int(self._limit_s * 1000)))
        self._settings = {
            "search_path": f'"{options.schema}"',
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
        }

    @property
    def told(self) -> bool:
        """See Nodes.told."""
        open_ = self._open
        return not self._options.pooled and open_ is not None and not open_.is_closed()

    async def time(self) -> Instant:
        """See Nodes.time."""
        return int((await self._rows("clock_now"))[0][0])

    async def register(self, draft: NodeDraft, *, skew: Millis = 0) -> Registered:
        """See Nodes.register."""
        await self._rows("nodes_reap", age=_REMEMBERED)
        for _ in range(_NUMBERS):
            number = (await self._rows("node_number"))[0][0]
            made = await self._rows(
                "node_register",
                number=number,
                name=draft.name,
                role=draft.role,
                version=draft.version,
                schema=known("postgresql")[-1].number,
                skew=skew,
                lease=draft.lease,
            )
            if made:
                return Registered(made[0][0], number)
        raise UnavailableError("There are as many nodes as can be; let some of them end.")

    async def beat(self, node_id: int, *, leaving: bool, fit: bool, skew: Millis) -> Seen:
        """See Nodes.beat."""
        row = (
            await self._rows(
                "node_beat",
                id=node_id,
                lease=self._lease,
                leaving=int(leaving),
                fit=int(fit),
                skew=skew,
            )
        )[0]
        nodes = zip(*(column or () for column in row[3:8]), strict=True)
        return Seen(
            now=row[0],
            known=row[1],
            up=row[2],
            nodes=tuple(
                Node(one, bool(worker), bool(leaves), bool(fits), left)
                for one, worker, leaves, fits, left in nodes
            ),
            slots=tuple(zip(row[8], row[9], strict=True)),
        )

    async def take(self, node_id: int, fences: Mapping[int, int]) -> dict[int, int]:
        """See Nodes.take."""
        slots = sorted(fences)
        rows = await self._rows(
            "slots_take", id=node_id, slots=slots, fences=[fences[slot] for slot in slots]
        )
        return {row[0]: row[1] for row in rows}

    async def give_up(self, node_id: int, slots: Collection[int]) -> None:
        """See Nodes.give_up."""
        await self._rows("slots_give_up", id=node_id, slots=sorted(slots))

    async def leave(self, node_id: int) -> None:
        """See Nodes.leave."""
        await self._rows("node_leave", id=node_id)

    async def tell(self, text: str) -> None:
        """See Nodes.tell."""
        await self._rows("tell", channel=self._channel, payload=text)

    def on_told(self, listener: Callable[[str], None]) -> None:
        """See Nodes.on_told."""
        self._listeners.append(listener)

    async def all(self) -> tuple[NodeRow, ...]:
        """See Nodes.all."""
        return tuple(
            NodeRow(
                number=row[0],
                name=row[1],
                role=row[2],
                version=row[3],
                schema=row[4],
                leaving=bool(row[5]),
                skew=row[6],
                started_at=row[7],
                left=row[8],
                slots=row[9],
                fit=bool(row[10]),
            )
            for row in await self._rows("nodes_all")
        )

    async def aclose(self) -> None:
        """See Nodes.aclose."""
        open_, self._open = self._open, None
        if open_ is not None:
            with suppress(asyncpg.PostgresError, *LOST):
                await open_.close(timeout=1.0)

    # -- within -------------------------------------------------------------------------

    async def _rows(self, statement: str, /, **values: object) -> Sequence[Any]:
        own = _SQL[statement].postgresql
        async with self._lock:
            try:
                async with asyncio.timeout(self._limit_s):
                    connection = await self._connection()
                    rows = await self._fetch(connection, own.text, own.values(values))
            except (asyncpg.PostgresError, *LOST) as error:
                self._drop()
                raise store_error(error) from error
            except BaseException:
                self._drop()
                raise
            return rows

    async def _fetch(
        self, connection: asyncpg.Connection, text: str, values: Sequence[Any]
    ) -> Sequence[Any]:
        if not self._options.pooled:
            rows: Sequence[Any] = await connection.fetch(text, *values)
            return rows
        async with connection.transaction(isolation="read_committed"):
            settings = (f"set local {name} = {value}" for name, value in self._settings.items())
            await connection.execute("; ".join(settings))
            return await connection.fetch(text, *values)

    def _drop(self) -> None:
        """Whatever state it is in, the next call has a new one."""
        open_, self._open = self._open, None
        if open_ is not None:
            open_.terminate()

    async def _connection(self) -> asyncpg.Connection:
        if self._open is not None and not self._open.is_closed():
            return self._open
        options = self._options
        self._open = await asyncpg.connect(
            options.url,
            timeout=min(options.connect_s, self._limit_s),
            statement_cache_size=0 if options.pooled else 100,
            max_cached_statement_lifetime=0,
            server_settings={
                "application_name": "marketbell node",
                **({} if options.pooled else self._settings),
            },
        )
        if not options.pooled:
            await self._open.add_listener(self._channel, self._heard)
            self._heard(None, 0, "", "")  # what was told meanwhile was missed
        return self._open

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        for listener in self._listeners:
            listener(str(payload))
