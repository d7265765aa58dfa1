"""The schema of the database that the settings name: brought up to date, or looked at."""

from __future__ import annotations

from marketbell.settings import Settings
from marketbell.store import migrate_postgresql, sqlite_schema
from marketbell.store.migrations import Report, Standing, known
from marketbell.store.opening import postgres_options


def migrate(settings: Settings, *, dry_run: bool = False, patience_s: float = 60.0) -> Report:
    """
    Bring it up to date, or with `dry_run` tell what that would do.

    Blocks: call it from a thread without a loop. Errors as from `migrate_postgresql.migrate` and
    `sqlite_schema.migrate_file`.
    """
    if settings.on_postgresql:
        return migrate_postgresql.migrate(
            postgres_options(settings, direct=True), dry_run=dry_run, patience_s=patience_s
        )
    return sqlite_schema.migrate_file(settings.db_file, dry_run=dry_run)


def look(settings: Settings) -> Standing:
    """Where it is; nothing is written. Blocks; errors as from `migrate`."""
    if settings.on_postgresql:
        return migrate_postgresql.look(postgres_options(settings, direct=True))
    return sqlite_schema.look(settings.db_file)


def script_of(settings: Settings, name: str) -> str:
    """What a migration of that database runs."""
    database = "postgresql" if settings.on_postgresql else "sqlite"
    return next(one.script for one in known(database) if one.name == name)
