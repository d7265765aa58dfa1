"""The schema: numbered migrations, each applied once, and never a newer one than this program knows."""

from __future__ import annotations

import apsw

from marketbell.errors import SchemaError
from marketbell.model import Instant
from marketbell.store.statements import migrations

_APPLICATION_ID = 0x4D42454C
"""`MBEL`, kept in the file's header, so that no other program's file is taken for ours."""


def check(connection: apsw.Connection) -> None:
    """
    Raise SchemaError if this is another program's database, or one of a newer Marketbell.

    Nothing is written.
    """
    known = migrations("sqlite")
    current: int = connection.pragma("user_version")
    mark: int = connection.pragma("application_id")
    if mark not in (0, _APPLICATION_ID) or (mark == 0 and _has_tables(connection)):
        raise SchemaError("This is another program's database; name a file of its own.")
    if current > known[-1][0]:
        raise SchemaError(
            f"The database has schema {current}, this program knows {known[-1][0]}; use a newer one."
        )


def migrate(connection: apsw.Connection, *, now: Instant) -> list[str]:
    """
    Bring a database up to date, one transaction per migration; the names of those applied.

    After a crash the database stands between two migrations and the next start goes on.
    SchemaError as from `check`.
    """
    check(connection)
    current: int = connection.pragma("user_version")
    applied = []
    for number, name, script in migrations("sqlite"):
        if number <= current:
            continue
        with connection:
            connection.execute(script)
            connection.pragma("user_version", number)
            connection.pragma("application_id", _APPLICATION_ID)
        applied.append(name)
    return applied


def _has_tables(connection: apsw.Connection) -> bool:
    found = connection.execute("select 1 from sqlite_schema limit 1").fetchall()
    return bool(found)
