"""What the doctor sees of a database: one look after the other, each for itself, nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import apsw
import asyncpg
import msgspec

from marketbell.errors import UnavailableError
from marketbell.model import Instant, Millis
from marketbell.store import keys
from marketbell.store.migrations import known
from marketbell.store.nodes_plane import NodeRow
from marketbell.store.postgresql import Connection, PostgresOptions
from marketbell.store.postgresql_errors import LOST, store_error
from marketbell.store.postgresql_transaction import PostgresTransaction
from marketbell.store.sqlite import SqliteTransaction, keep_plans
from marketbell.store.sqlite import store_error as sqlite_error
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value, Values

T = TypeVar("T")

MANY: Final = 10_000
"""Where counting ends."""

_MADE: Final = re.compile(r"^create (?:table|sequence) (\w+)", re.MULTILINE)
"""What a migration makes: others may have tables in the schema that are no business of nodes."""
_SQL: Final = statements("doctor")
_RETENTION: Final = statements("retention")
_OUTBOX: Final = statements("outbox")
_NODES: Final = statements("nodes")


class Inspection(Protocol):
    """A database that can be looked at."""

    def look(self, query: Callable[[Transaction], T]) -> T:
        """What a query gives over one snapshot. UnavailableError."""

    def close(self) -> None:
        """Let go of it."""


class SqliteInspection:
    """A file beside the server that writes it. UnavailableError if it is not there."""

    def __init__(self, path: Path, busy_ms: int = 2_000) -> None:
        if not path.exists():
            raise UnavailableError(f"There is no file {path}.")
        try:
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            keep_plans(self._connection)
            self._connection.set_busy_timeout(busy_ms)
        except apsw.Error as error:
            raise sqlite_error(error) from error

    def look(self, query: Callable[[Transaction], T]) -> T:
        """See Inspection.look."""
        try:
            self._connection.execute("begin")
            try:
                return query(SqliteTransaction(self._connection))
            finally:
                self._connection.execute("rollback")
        except apsw.Error as error:
            raise sqlite_error(error) from error

    def close(self) -> None:
        """See Inspection.close."""
        self._connection.close()


class PostgresInspection:
    """PostgreSQL by a connection of its own; for a thread without a loop. UnavailableError."""

    def __init__(self, options: PostgresOptions) -> None:
        self._connection = Connection(options, name="doctor")

    def look(self, query: Callable[[Transaction], T]) -> T:
        """See Inspection.look."""
        try:
            self._connection.begin(read_only=True)
            try:
                return query(PostgresTransaction(self._connection))
            finally:
                self._connection.roll_back()
        except (asyncpg.PostgresError, *LOST) as error:
            raise store_error(error) from error

    def close(self) -> None:
        """See Inspection.close."""
        self._connection.close()


# -- looks at both


class Count(msgspec.Struct, frozen=True):
    """How many there are, up to MANY, and since when there is the first."""

    number: int
    since: Instant | None = None


class Outbox(msgspec.Struct, frozen=True):
    """How the outbox stands."""

    waiting: int
    lag: Millis
    rejected: int


def oldest_due(look: Transaction, now: Instant) -> Instant | None:
    """Since when the endpoint that has waited longest could have been sent to."""
    return _first(look, _RETENTION, "oldest_due", {"now": now})[0]  # type: ignore[no-any-return]


def parked(look: Transaction) -> int:
    """Deliveries that wait for a person."""
    return int(_first(look, _RETENTION, "parked")[0])


def leases_over(look: Transaction, before: Instant) -> Count:
    """Claims whose lease was over before an instant."""
    return Count(*_first(look, _SQL, "leases_over", {"before": before, "limit": MANY}))


def outbox(look: Transaction) -> Outbox:
    """The outbox's figures."""
    waiting, lag, rejected = _first(look, _OUTBOX, "outbox_figures", {"limit": MANY})
    return Outbox(waiting, lag or 0, rejected)


def sealed_with(look: Transaction) -> dict[bytes, int]:
    """The ids of the keys that endpoints' newest secrets were sealed with, and how many each."""
    rows: list[Any] = look.rows(_SQL["sealed_keys"], {"limit": MANY})
    return {bytes(key): count for key, count in rows}


# -- looks at one of them


def newest_in_file(look: Transaction) -> Instant | None:
    """When the newest message of a file was accepted."""
    row: Any = look.row(_SQL["newest"])
    return row[0] if row else None


def held_in_file(look: Transaction, before: Instant) -> Count:
    """Messages from before an instant that unfinished deliveries still need."""
    return Count(*_first(look, _SQL, "payloads_held", {"before": before, "limit": MANY}))


def held_in_postgresql(look: Transaction, before: Instant) -> Count:
    """The same; their keys say when they were accepted."""
    values = {"before": keys.floor(before), "limit": MANY}
    number, key = _first(look, _SQL, "payloads_held", values)
    return Count(number, None if key is None else keys.instant(key))


class Here(msgspec.Struct, frozen=True):
    """A server of PostgreSQL's."""

    now: Instant
    version: str
    number: int
    """Its `server_version_num`."""
    replica: bool
    size: int


def here(look: Transaction) -> Here:
    """What the server says of itself."""
    now, version, number, replica, size = _first(look, _SQL, "here")
    return Here(now, version, number, bool(replica), size)


def durability(look: Transaction) -> dict[str, str]:
    """`fsync`, `synchronous_commit` and `full_page_writes` as they are for this connection."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    return dict(zip(names, _first(look, _SQL, "durability"), strict=True))


def data_directory(look: Transaction) -> str:
    """Where the server's files are. UnavailableError for a role that may not know."""
    return str(_first(look, _SQL, "data_directory")[0])


def partitions(look: Transaction) -> dict[str, list[str]]:
    """The tables of history, and the names of the partitions of each."""
    found: dict[str, list[str]] = {}
    rows: list[Any] = look.rows(_SQL["partitions"])
    for table, name in rows:
        found.setdefault(table, []).extend([] if name is None else [name])
    return found


def connections(look: Transaction) -> tuple[int, int]:
    """How many connections there are, and how many there may be."""
    used, most = _first(look, _SQL, "connections")
    return int(used), int(most)


class Transactions(msgspec.Struct, frozen=True):
    """What holds up the removal of dead rows."""

    oldest: Millis
    prepared: Millis
    unread_slots: str


def transactions(look: Transaction) -> Transactions:
    """The oldest transaction that this role can see, and the like."""
    oldest, prepared, unread = _first(look, _SQL, "transactions")
    return Transactions(oldest or 0, prepared or 0, unread or "")


class Rights(msgspec.Struct, frozen=True):
    """What the role that a node comes in as may do in its schema."""

    role: str
    schema: str
    owner: str
    """Of the tables."""
    owns: bool
    """Whether the role is that one, or has what it has."""
    usage: bool
    table: str = ""
    """The first table that it may not read or write."""
    sequence: str = ""
    """The first that it may not count on."""


def rights(look: Transaction, schema: str) -> Rights | None:
    """Those of the role that looks; None where there is no schema of ours."""
    ours = [name for one in known("postgresql") for name in _MADE.findall(one.script)]
    asked: dict[str, Value] = {"schema": schema, "ours": msgspec.json.encode(ours).decode()}
    rows: list[Any] = look.rows(_SQL["rights"], asked)
    if not rows:
        return None
    role, owner, owns, usage, table, sequence = rows[0]
    return Rights(role, schema, owner, owns, usage, table or "", sequence or "")


def nodes(look: Transaction) -> list[NodeRow]:
    """Every node that is remembered."""
    rows: list[Any] = look.rows(_NODES["nodes_all"])
    names = NodeRow.__struct_fields__
    return [
        NodeRow(
            **{
                **dict(zip(names, row, strict=True)),
                "leaving": bool(row[5]),
                "fit": bool(row[10]),
            }
        )
        for row in rows
    ]


def _first(
    look: Transaction, sql: Mapping[str, Any], name: str, values: Values = ()
) -> tuple[Any, ...]:
    (row,) = look.rows(sql[name], values)
    return row
