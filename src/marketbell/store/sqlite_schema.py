"""The schema of an SQLite file by its name: brought up to date while no server has it, or looked at."""

from __future__ import annotations

from pathlib import Path

import apsw

from marketbell.errors import LockedError
from marketbell.store.migrate import check, migrate, report
from marketbell.store.migrations import Report, Standing, known, standing
from marketbell.store.sqlite import SqliteOptions, lock, open_writer, store_error


def migrate_file(path: Path, *, dry_run: bool = False) -> Report:
    """
    Bring a file up to date, or with `dry_run` tell what that would do; a new one is made.

    LockedError if a server has it, SchemaError as from `migrate.check`, UnavailableError.
    """
    if dry_run:
        return report(look(path), dry_run=True)
    try:
        held = lock(path)
    except LockedError:
        raise LockedError(
            f"A server has {path} open, and has brought its schema up to date when it started;"
            " there is nothing to migrate."
        ) from None
    with held:
        connection = open_writer(SqliteOptions(path=path))
        try:
            return migrate(connection)
        except apsw.Error as error:
            raise store_error(error) from error
        finally:
            connection.close()


def look(path: Path) -> Standing:
    """Where a file is; nothing is written, and none is made. Errors as from `migrate_file`."""
    if not path.exists():
        return standing(known("sqlite"), 0)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return check(connection)
        finally:
            connection.close()
    except apsw.Error as error:
        raise store_error(error) from error
