"""The schema on PostgreSQL: looked at, and brought up to date while nodes serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from marketbell.errors import LockedError, SchemaError, StoreError, UnavailableError
from marketbell.store.migrations import (
    LiveNode,
    Migration,
    Report,
    Standing,
    fault_to_serve,
    known,
    standing,
)
from marketbell.store.postgresql import Connection, PostgresOptions
from marketbell.store.postgresql_errors import LOST, said, store_error
from marketbell.store.postgresql_versions import too_old
from marketbell.store.statements import statements

_SQL: Final = statements("schema")

_MARK: Final = "Marketbell"
_LOCK_MS: Final = 500
"""How long a migration waits for a lock, while everything else waits behind it."""
_PAUSE_S: Final = 0.5
"""Between two tries; what waited behind the last one goes on meanwhile."""
_LONGEST_S: Final = 86_400.0
_IN_THE_WAY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


def migrate(
    options: PostgresOptions,
    *,
    dry_run: bool = False,
    patience_s: float = 60.0,
    ours: Sequence[Migration] | None = None,
) -> Report:
    """
    Bring a database up to date as far as the nodes that serve allow, one migration after another.

    Each is a transaction with its own record, so that after a crash the next call goes on. Where
    others are in the way of its locks it steps back and tries again for `patience_s`. Blocks: call
    it from a thread without a loop.

    SchemaError for a newer schema, one that is not ours, or a role that may not; LockedError if
    another migrates for longer than that; UnavailableError.
    """
    run = _Run(options, patience_s, ours or known("postgresql"))
    try:
        return run.dry() if dry_run else run.all()
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaError(
            f"The database's role may not change the schema: {said(error)} Grant it that, or"
            " migrate as the schema's owner."
        ) from error
    except (asyncpg.PostgresError, *LOST) as error:
        raise store_error(error) from error
    finally:
        run.close()


def look(options: PostgresOptions, ours: Sequence[Migration] | None = None) -> Standing:
    """
    Where a database is, which may be ahead of this program; nothing is written.

    Blocks; errors as from `migrate`, but a newer schema is one only where no node can serve on it.
    """
    run = _Run(options, 0.0, ours or known("postgresql"))
    try:
        return run.ahead() or run.look()
    except (asyncpg.PostgresError, *LOST) as error:
        raise store_error(error) from error
    finally:
        run.close()


def check(options: PostgresOptions, ours: Sequence[Migration] | None = None) -> None:
    """
    Return if a program can serve on a database; it may be of the version after or before.

    Blocks. SchemaError with the mend, UnavailableError.
    """
    ours = ours or known("postgresql")
    run = _Run(options, 0.0, ours)
    try:
        fault = run.fault_to_serve()
    except (asyncpg.PostgresError, *LOST) as error:
        raise store_error(error) from error
    finally:
        run.close()
    if fault:
        raise SchemaError(fault)


class _Run:
    """One look at a database, or one way through its migrations."""

    def __init__(
        self, options: PostgresOptions, patience_s: float, ours: Sequence[Migration]
    ) -> None:
        self._options = msgspec.structs.replace(options, statement_s=_LONGEST_S)
        self._connection = Connection(self._options, name="migrate")
        self._deadline = time.monotonic() + patience_s
        self._ours = ours
        self._before: int | None = None
        self._applied: list[str] = []

    def close(self) -> None:
        self._connection.roll_back()
        self._connection.close()

    def look(self) -> Standing:
        self._connection.begin(read_only=True)
        try:
            return self._standing()
        finally:
            self._connection.roll_back()

    def ahead(self) -> Standing | None:
        """Where a schema is that is newer, if a node can serve on it."""
        done = self._seen()
        newer = sum(number > self._ours[-1].number for number, _after in done)
        if not newer or self._fault(done):
            return None
        return Standing(done[-1][0], (), (), (), newer)

    def fault_to_serve(self) -> str | None:
        return self._fault(self._seen())

    def _fault(self, done: Sequence[tuple[int, bool]]) -> str | None:
        newer_after = [number for number, after in done if after]
        return fault_to_serve(self._ours, done[-1][0] if done else 0, newer_after)

    def _seen(self) -> list[tuple[int, bool]]:
        self._connection.begin(read_only=True)
        try:
            return self._done()
        finally:
            self._connection.roll_back()

    def dry(self) -> Report:
        found = self.look()
        self._before = found.current
        self._applied = [one.name for one in found.runnable]
        return self._report(found, found.runnable[-1:], dry_run=True)

    def all(self) -> Report:
        while True:
            try:
                found = self._next()
            except _IN_THE_WAY as error:
                self._connection.roll_back()
                self._pause_or(
                    UnavailableError(
                        f"The schema's next migration could not get its locks: {said(error)}"
                        " Nothing of it was kept; call it again when less goes on."
                    )
                )
                continue
            if found is None:
                self._pause_or(LockedError("Another program migrates this database; wait for it."))
            elif not found.runnable:
                return self._report(found, ())

    def _next(self) -> Standing | None:
        """Run the next migration; where the schema stood before. None if another program is at it."""
        connection = self._connection
        connection.begin()
        try:
            self._fetch("migrate_limits", lock_ms=str(_LOCK_MS))
            if not self._fetch("migrate_lock", schema=self._options.schema)[0]:
                return None
            found = self._standing()
            if self._before is None:
                self._before = found.current
            if found.runnable:
                if found.current == 0:
                    self._create()
                self._run(found.runnable[0])
                connection.commit()
                self._applied.append(found.runnable[0].name)
            return found
        finally:
            connection.roll_back()

    def _create(self) -> None:
        """What comes before the first migration."""
        if not self._fetch("schema_exists", schema=self._options.schema)[0]:
            self._connection.execute(f"create schema {self._quoted}")
        for name in ("migration_create", "migration_mark"):
            self._connection.execute(_SQL[name].postgresql.text)

    def _run(self, one: Migration) -> None:
        if one.alone:
            # The lock stays with this transaction. The last query's portal holds a snapshot, which
            # an index would wait for, until another statement takes its place.
            self._connection.execute("set local lock_timeout = 0")
            asyncio.run(self._run_alone(one))
        else:
            self._connection.execute(one.script)
        own = _SQL["migration_insert"].postgresql
        values = {"number": one.number, "name": one.name, "after": int(one.after)}
        self._connection.execute(own.text, own.values(values))

    async def _run_alone(self, one: Migration) -> None:
        connection = await asyncpg.connect(
            self._options.url, timeout=self._options.connect_s, statement_cache_size=0
        )
        try:
            for statement in one.statements:
                await connection.execute(statement.replace("{schema}", self._quoted))
        finally:
            await connection.close()

    @property
    def _quoted(self) -> str:
        return '"' + self._options.schema.replace('"', '""') + '"'

    def _standing(self) -> Standing:
        done = self._done()
        return standing(self._ours, done[-1][0] if done else 0, self._live_nodes() if done else ())

    def _done(self) -> list[tuple[int, bool]]:
        """The migrations that have run, with whether they ran after. SchemaError if it is not ours."""
        schema = self._options.schema
        encoding, version = self._fetch("encoding")
        if fault := too_old(version):
            raise SchemaError(fault)
        if encoding != "UTF8":
            raise SchemaError(f"The database is in {encoding}; make one in UTF8.")
        mark = self._fetch("schema_mark", schema=schema)
        if mark is None or mark[0] != _MARK:
            if mark is not None or self._fetch("schema_exists", schema=schema)[1]:
                raise SchemaError(
                    f"The schema {schema!r} holds another program's tables; name one of its own"
                    " with db_schema."
                )
            return []
        rows = self._connection.fetch(_SQL["migrations_all"].postgresql.text, ())
        return [(row[0], bool(row[1])) for row in rows]

    def _live_nodes(self) -> list[LiveNode]:
        if not self._fetch("nodes_there")[0]:
            return []
        rows = self._connection.fetch(_SQL["nodes_live"].postgresql.text, ())
        return [LiveNode(*row) for row in rows]

    def _fetch(self, name: str, **values: object) -> Any:
        own = _SQL[name].postgresql
        rows = self._connection.fetch(own.text, own.values(values))
        return rows[0] if rows else None

    def _pause_or(self, error: StoreError) -> None:
        """Wait a little, or raise what is in the way for too long."""
        if time.monotonic() > self._deadline:
            raise error
        time.sleep(_PAUSE_S)

    def _report(
        self, found: Standing, to_come: Sequence[Migration], *, dry_run: bool = False
    ) -> Report:
        return Report(
            database="postgresql",
            before=self._before or 0,
            schema=to_come[-1].number if to_come else found.current,
            applied=tuple(self._applied),
            waiting=tuple(one.name for one in found.waiting),
            held_up_by=tuple(node.name for node in found.held_up_by),
            dry_run=dry_run,
        )
