"""A database in memory, filled by statements, for tests of what queries read and do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from marketbell import ids
from marketbell.store import following, retention
from marketbell.store.base import Ages, Pruned
from marketbell.store.marks import IndexedMarks
from marketbell.store.migrate import migrate
from marketbell.store.sqlite import SqliteTransaction, keep_plans
from marketbell.store.statements import texts
from marketbell.testing.clock import START

DAY = 86_400_000
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)


class Filled:
    """A database in memory that was filled by statements, and that counts what its queries do."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        keep_plans(self.connection)
        migrate(self.connection)
        self.transaction = SqliteTransaction(
            self.connection, IndexedMarks(SqliteTransaction(self.connection), START)
        )
        self.operations = 0

    def application(self, key: int = 1) -> None:
        """An application with one endpoint of the same key."""
        self.connection.execute(
            "insert into application (id, public_id, organization, name, metadata, revision,"
            " created_at, updated_at) values (?, ?, 'org_x', 'x', '{}', 1, ?, ?)",
            (key, f"app_{key}", START, START),
        )
        self.connection.execute(
            "insert into endpoint (id, public_id, application_id, url, description, metadata,"
            " disabled, paused, slot, revision, version, created_at, updated_at)"
            " values (?, ?, ?, 'https://x.example/', '', '{}', 0, 0, 0, 1, 1, ?, ?)",
            (key, f"ep_{key}", key, START, START),
        )
        self.connection.execute(
            "insert into lane (endpoint_id, slot, next_at) values (?, 0, null)", (key,)
        )

    def messages(self, count: int, *, step: int, application_id: int = 1) -> None:
        """So many messages with payloads, an attempt each, one every `step` milliseconds."""
        rows = [
            (ids.new_id(ids.MESSAGE, START + index * step), START + index * step)
            for index in range(count)
        ]
        self.connection.executemany(
            "insert into message (public_id, application_id, event_type, occurred_at, created_at,"
            f" payload_expires_at) values (?1, {application_id}, 'part.updated', ?2, ?2, ?2)",
            rows,
        )
        self.connection.execute("insert into payload select id, x'7b7d' from message")
        self.connection.execute(
            "insert into attempt (public_id, message_id, endpoint_id, claim_number, number,"
            " trigger, outcome, status_code, reason, url, address, started_at, duration)"
            " select 'atmpt_' || substr(public_id, 5), id, ?, 1, 1, 'scheduled', 'accepted', 200,"
            " '', '', '', created_at, 5 from message",
            (application_id,),
        )

    def noted(self) -> None:
        """What is written behind has come up to them."""
        while following.note_rows(self.transaction, 1_000):
            pass

    def pending(self) -> None:
        """An unfinished delivery of every message."""
        self.connection.execute(
            "insert into delivery select id, application_id, 'pending', created_at, 0, 0, 0,"
            " created_at, 'scheduled', null, id from message"
        )

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the database's operations, to 50."""
        self.operations = 0

        def tick() -> bool:
            self.operations += 50
            return False

        self.connection.set_progress_handler(tick, 50)
        try:
            yield
        finally:
            self.connection.set_progress_handler(None)

    def plan(self, file: str, name: str) -> list[str]:
        """The lines of a statement's query plan."""
        statement = texts("sqlite", file)[name]
        names = set(re.findall(r":(\w+)", statement))
        values = dict.fromkeys(names) if names else (None,) * statement.count("?")
        rows = self.connection.execute(f"explain query plan {statement}", values)
        return [str(row[3]) for row in rows]

    def prune(self, now: int, limit: int = 100) -> Pruned:
        """A first step of retention."""
        return retention.prune(
            self.transaction, retention.Walks(), AGES, now=now, real=now, limit=limit
        )
