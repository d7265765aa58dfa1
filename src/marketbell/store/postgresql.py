"""PostgreSQL: one connection used from one thread."""

from __future__ import annotations

import socket
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import asyncpg
import uvloop

from marketbell.errors import StoreError, UnavailableError
from marketbell.model import Millis
from marketbell.store.postgresql_errors import LOST, store_error
from marketbell.store.resource import StoreOptions

T = TypeVar("T")

_SPARE_S: Final = 2.0
"""How much longer than the server may take for a statement its answer is waited for."""
_TRANSACTION_S: Final = 30.0
"""How long a transaction may take, however many statements it has."""
_PAUSES_S: Final = (0.05, 1.0)
"""How long after a refused connection the next one is asked for: at first, and at most."""
_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
)
"""A machine that is gone without a word is noticed within ten seconds, on idle connections too."""
_WARM_S: Final = 1.0
"""So long after an answer a connection is taken to be there still."""
_ISOLATION: Final = "read committed"
"""Whatever the database's default is: locks are of use where a statement sees what others left."""
_BEGIN: Final = f"begin isolation level {_ISOLATION}"
_BEGIN_TO_READ: Final = "begin isolation level repeatable read read only"
_PIECE: Final = 50
"""Rows of a query that are fetched at once where not all may be wanted."""


class PostgresOptions(StoreOptions, frozen=True, kw_only=True):
    """How the database is used."""

    url: str
    """`postgresql://...`; what it leaves open is taken from the PG* variables."""
    schema: str = "marketbell"
    """The schema that all tables stand in."""
    pooled: bool = False
    """Whether a pooler stands between, which gives each transaction another connection."""
    connect_s: float = 5.0
    statement_s: float = 10.0
    """How long one statement may run, and wait for a lock."""
    idle_s: float = 5.0
    """
    How long the server waits within a transaction for the next statement, or for its answer to be
    read: a transaction waits for nothing but the server, so its node is frozen or gone.
    """
    late_s: float = 60.0
    """How much later than a message was accepted its transaction may begin, and it is still followed."""
    exact_below: Millis = 7 * 86_400_000
    """Shorter ages are kept to the millisecond, row by row; longer ones to the day, at once."""
    node_number: int = 0
    """This node's own among those that write, from 0 to 511; each of its writers has keys of its own."""


READING: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
}
"""
For connections that read: each query goes along an index, row by row, and stops when it has enough.

So its cost is that of its page whatever the figures say that a plan would else be chosen by.
"""


class Connection:
    """
    One connection with an event loop of its own, for one thread: every call waits for its answer.

    It is opened by the first transaction, and anew after it was lost.
    """

    def __init__(
        self, options: PostgresOptions, *, name: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self._options = options
        self._loop = uvloop.new_event_loop()
        self._settings = {
            "search_path": f'"{options.schema}"',
            "statement_timeout": str(int(options.statement_s * 1000)),
            "lock_timeout": str(int(options.statement_s * 1000)),
            "idle_in_transaction_session_timeout": str(int(options.idle_s * 1000)),
            "tcp_user_timeout": str(int(options.idle_s * 1000)),
            "jit": "off",
            **(settings or {}),
        }
        self._name = name
        self._open: asyncpg.Connection | None = None
        self._ends_by = 0.0
        """When the transaction's time is over, by the monotonic clock."""
        self._silent = False
        """Whether it was dropped because no answer came in time."""
        self._refusal: StoreError | None = None
        """Why there was no connection when it was last asked for."""
        self._ask_again_at = 0.0
        self._pause_s = 0.0
        self._answered_at = 0.0
        self.queries = 0
        """How often an answer was waited for."""

    @property
    def warm(self) -> bool:
        """Whether a statement may be sent at once: it has answered just now, and is the same one to the server."""
        return (
            self._open is not None
            and not self._options.pooled
            and not self._open.is_closed()
            and time.monotonic() - self._answered_at < _WARM_S
        )

    def begin(self, *, read_only: bool = False) -> None:
        """
        Begin a transaction; a read-only one sees one snapshot.

        Raises UnavailableError if there is no connection to be had, at once if that was found
        out just now. One that was lost while nothing happened on it is not noticed by the caller.
        """
        spare_s = max(_TRANSACTION_S, self._options.statement_s + _SPARE_S)
        self._ends_by = time.monotonic() + spare_s
        self._silent = False
        self._wait(self._begin(read_only))

    def commit(self) -> None:
        """Make it durable. Whatever it raises but an error of severity ERROR, it may have been kept."""
        # No cancelling: a server that waits for its replica would say that it has committed.
        tag = self._wait(self._live.execute("commit"))
        if tag != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("the transaction had failed before")

    def roll_back(self) -> None:
        """Undo it, if the connection is still there."""
        if self._open is None or self._open.is_closed():
            return
        try:
            self._wait(self._live.execute("rollback"))
        except (asyncpg.PostgresError, *LOST):
            self.drop()

    def drop(self) -> None:
        """Leave the connection as it is; the next transaction opens another one."""
        if self._open is not None:
            self._open.terminate()

    def alone(self, text: str, values: Sequence[Any]) -> list[Any]:
        """
        The rows of a statement that is a transaction of its own, on a connection that is warm.

        Whatever it raises but an error of severity ERROR, it may have been kept.
        """
        self._ends_by = time.monotonic() + _TRANSACTION_S
        self._silent = False
        return self._wait(self._live.fetch(text, *values))

    def fetch(self, text: str, values: Sequence[Any]) -> list[Any]:
        """The rows of a statement."""
        return self._wait(self._live.fetch(text, *values))

    def fetch_row(self, text: str, values: Sequence[Any]) -> Any:
        """The first row, or None."""
        return self._wait(self._live.fetchrow(text, *values))

    def fetch_many(self, text: str, values: Iterable[Sequence[Any]]) -> list[Any]:
        """The rows of a statement for each of `values`, in one round trip."""
        return self._wait(self._live.fetchmany(text, values))

    def execute(self, text: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        tag: str = self._wait(self._live.execute(text, *values))
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    def execute_many(self, text: str, values: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of `values`, in one round trip."""
        self._wait(self._live.executemany(text, values))

    def cursor(self, text: str, values: Sequence[Any]) -> Cursor:
        """A query whose rows are fetched a few at a time, until the transaction ends."""
        if not self._options.pooled:
            return Cursor(self, self._wait(self._cursor(text, values)))
        # A prepared statement would stay with a connection of the pooler's, in another node's way.
        name = f"marketbell_{self.queries}"
        self.execute(f"declare {name} no scroll cursor for {text}", values)
        return Cursor(self, _Declared(self._live, name))

    def close(self) -> None:
        """Close it; called when no thread uses it any more."""
        if self._open is not None and not self._open.is_closed():
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                self._wait(self._open.close(timeout=1.0))
        self._loop.close()

    # -- within -------------------------------------------------------------------------

    @property
    def _live(self) -> asyncpg.Connection:
        if self._open is None:
            raise asyncpg.InterfaceError("there is no connection")
        return self._open

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """
        What it gives, or the connection is dropped when its time is over.

        The server is not asked to cancel anything: over a network that is stalled that would be
        waited for too, and the server bounds its statements by itself.
        """
        own_s = self._options.statement_s + _SPARE_S
        limit_s = max(0.0, min(own_s, self._ends_by - time.monotonic()))
        timer = self._loop.call_later(limit_s, self._give_up)
        self.queries += 1
        try:
            answer = self._loop.run_until_complete(coroutine)
            self._answered_at = time.monotonic()
            return answer
        except (asyncpg.PostgresError, *LOST) as error:
            if self._silent:
                raise TimeoutError("It does not answer.") from error
            raise
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._silent = True
        self.drop()

    async def _cursor(self, text: str, values: Sequence[Any]) -> Any:
        return await self._live.cursor(text, *values)

    async def _begin(self, read_only: bool) -> None:
        text = _BEGIN_TO_READ if read_only else _BEGIN
        if self._options.pooled:
            settings = (f"set local {name} = {value}" for name, value in self._settings.items())
            text = "; ".join((text, *settings))
        connection = self._open
        if connection is not None and not connection.is_closed():
            try:
                await connection.execute(text)
            except (*LOST, asyncpg.OperatorInterventionError):
                if self._silent:
                    raise
                self.drop()  # it was lost since the last transaction: nothing of this one was
            else:
                return
        connection = self._open = await self._reconnect()
        await connection.execute(text)

    async def _reconnect(self) -> asyncpg.Connection:
        """A new connection; not asked for again and again of a server that gives none."""
        if self._refusal is not None and time.monotonic() < self._ask_again_at:
            raise UnavailableError(self._refusal.detail, self._refusal.cause)
        try:
            connection = await self._connect()
        except (asyncpg.PostgresError, *LOST) as error:
            self._pause_s = min(_PAUSES_S[1], 2 * self._pause_s or _PAUSES_S[0])
            self._ask_again_at = time.monotonic() + self._pause_s
            self._refusal = store_error(error)
            raise self._refusal from error
        self._refusal, self._pause_s = None, 0.0
        return connection

    async def _connect(self) -> asyncpg.Connection:
        options = self._options
        pooled = options.pooled
        connection: asyncpg.Connection = await asyncpg.connect(
            options.url,
            timeout=options.connect_s,
            statement_cache_size=0 if pooled else 1_000,
            max_cached_statement_lifetime=0,
            server_settings={
                "application_name": f"marketbell {self._name}",
                **(
                    {}
                    if pooled
                    else {"default_transaction_isolation": _ISOLATION, **self._settings}
                ),
            },
        )
        own: Any = connection
        peer = own._transport.get_extra_info("socket")  # noqa: SLF001 - nothing public gives it
        if peer is not None and peer.family != socket.AF_UNIX:
            for level, option, value in _ALIVE:
                peer.setsockopt(level, option, value)
        return connection


class _Declared:
    """A cursor that ends with its transaction, whatever connection that is on."""

    def __init__(self, connection: asyncpg.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def fetch(self, count: int) -> Any:
        return await self._connection.fetch(f"fetch {count} from {self._name}")


class Cursor:
    """Rows of a query, fetched a few at a time."""

    def __init__(self, connection: Connection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor

    def fetch(self) -> list[Any]:
        """The next rows; none when there are no more."""
        rows: list[Any] = self._connection._wait(self._cursor.fetch(_PIECE))  # noqa: SLF001
        return rows
