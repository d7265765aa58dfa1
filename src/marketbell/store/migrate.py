"""The schema of an SQLite file: looked at, or brought up to date by whoever alone writes it."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from marketbell.errors import SchemaError
from marketbell.store.migrations import Migration, Report, Standing, known, standing

_APPLICATION_ID = 0x4D42454C
"""`MBEL`, kept in the file's header, so that no other program's file is taken for ours."""


def check(connection: apsw.Connection, ours: Sequence[Migration] | None = None) -> Standing:
    """
    Where a file is. Nothing is written.

    One process writes it, so nothing waits for another node. SchemaError if this is another
    program's database, or one of a newer Marketbell.
    """
    mark: int = connection.pragma("application_id")
    if mark not in (0, _APPLICATION_ID) or (mark == 0 and _has_tables(connection)):
        raise SchemaError("This is another program's database; name a file of its own.")
    current: int = connection.pragma("user_version")
    return standing(ours or known("sqlite"), current)


def migrate(connection: apsw.Connection, ours: Sequence[Migration] | None = None) -> Report:
    """
    Bring a file up to date, one transaction per migration; its connection has the lock file.

    After a crash the file stands between two migrations and the next start goes on. SchemaError
    as from `check`.
    """
    found = check(connection, ours)
    for one in found.runnable:
        with connection:
            connection.execute(one.script)
            connection.pragma("user_version", one.number)
            connection.pragma("application_id", _APPLICATION_ID)
    return report(found, dry_run=False)


def report(found: Standing, *, dry_run: bool) -> Report:
    """What was done, or would be, where a file was found so."""
    return Report(
        database="sqlite",
        before=found.current,
        schema=found.runnable[-1].number if found.runnable else found.current,
        applied=tuple(one.name for one in found.runnable),
        dry_run=dry_run,
    )


def _has_tables(connection: apsw.Connection) -> bool:
    found = connection.execute("select 1 from sqlite_schema limit 1").fetchall()
    return bool(found)
