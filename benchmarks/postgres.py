"""A PostgreSQL of a run's own: what it has used, what it was asked, and what it keeps."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psycopg

from benchmarks import machine
from marketbell.store.migrate_postgresql import migrate
from marketbell.store.postgresql import PostgresOptions

# The server that the tests start and break is the one that is measured.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.children import children_of
from support.postgres import PostgresServer

SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "track_io_timing": "off",
}
"""What an operator would set on a machine of this size; all else as PostgreSQL comes, fsync too."""

KINDS: Final = ("both", "publish", "record", "claim", "lost", "endpoints")
"""Statements of the hot path, as they are counted."""

_HOT: Final = """
select case
    when query like '%record\\_attempts%publish\\_messages%' then 'both'
    when query like '%publish\\_messages(%' then 'publish'
    when query like '%record\\_attempts(%' then 'record'
    when query like '%from claim\\_deliveries(%' then 'claim'
    when query like '%lose\\_claims(%' then 'lost'
    when query like '%cross join lateral%from secret k%' then 'endpoints'
    else 'other'
  end, sum(calls)::bigint, sum(total_exec_time)::float8
from pg_stat_statements s join pg_database d on d.oid = s.dbid and d.datname = current_database()
where toplevel
group by 1
"""


@contextlib.contextmanager
def server(folder: Path, core: int) -> Iterator[PostgresServer]:
    """A server that is durable, below `folder` and on one core; nothing is left of it."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        it = PostgresServer(durable=True, settings=SETTINGS)
    finally:
        tempfile.tempdir = before
    with it:
        # Those that come later are its children and stay where it is.
        for pid in (it.pid, *children_of(it.pid)):
            machine.pin(core, pid)
        yield it


class Database:
    """One database on it with Marketbell's schema."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.name = server.create_database()
        self.url = server.url(self.name)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(migrate, PostgresOptions(url=self.url)).result()
        self._connection = psycopg.connect(
            server.url(self.name, "postgres"), autocommit=True, options="-csearch_path=marketbell"
        )
        self.execute("create extension if not exists pg_stat_statements schema public")
        self.execute("set search_path to marketbell, public")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser; its rows."""
        done = self._connection.execute(statement.encode())
        return done.fetchall() if done.description else []

    def number(self, statement: str) -> float:
        """The one number that a query gives."""
        return float(str(self.execute(statement)[0][0]))

    def drop(self) -> None:
        """Remove it."""
        self._connection.close()
        self.server.drop_database(self.name)

    def size(self) -> float:
        """Bytes on disk."""
        return self.number("select pg_database_size(current_database())")

    def used(self) -> Counter[str]:
        """
        What all of the server's processes have used and been asked so far.

        `cpu_s` seconds, `wal` bytes, `query KIND` calls and `ms KIND` of the server's own time.
        """
        used: Counter[str] = Counter()
        used["wal"] = self.number("select pg_current_wal_insert_lsn() - '0/0'")  # type: ignore[assignment]
        for kind, calls, took_ms in self.execute(_HOT):
            used[f"query {kind}"] = int(str(calls))
            used[f"ms {kind}"] = float(str(took_ms))  # type: ignore[assignment]
        used["cpu_s"] = self._cpu_s()  # type: ignore[assignment]
        return used

    def _cpu_s(self) -> float:
        parent = self.server.pid
        total = machine.usage(parent, with_ended=True).cpu_s
        for child in children_of(parent):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += machine.usage(child).cpu_s
        return total

    # -- what it keeps ------------------------------------------------------------------

    def attempts(self) -> int:
        """Accepted attempts on record."""
        return int(self.number("select count(*) from attempt where outcome = 'accepted'"))

    def failed(self) -> list[tuple[str, int]]:
        """Reasons of attempts that failed, and how many."""
        rows = self.execute(
            "select reason, count(*) from attempt where outcome not in ('accepted', 'closed')"
            " group by reason"
        )
        return [(str(reason), int(str(count))) for reason, count in rows]

    def waiting(self) -> int:
        """Deliveries that are not finished."""
        return int(self.number("select count(*) from delivery"))
