"""The store that the settings name, opened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from marketbell.clock import Clock
from marketbell.settings import Settings
from marketbell.store.migrate_postgresql import check, migrate
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore
from marketbell.store.written_store import WriterLimits

AnyStore: TypeAlias = SqliteStore | PostgresStore

NO_NODE: Final = 511
"""The number of what writes to PostgreSQL and is no node, such as a command."""


def open_store(settings: Settings, clock: Clock, *, node_number: int = NO_NODE) -> AnyStore:
    """
    The store that `db` names; an SQLite file is held by this process alone until it is closed.

    PostgreSQL must have the schema; see `prepare`.
    """
    if settings.on_postgresql:
        options = postgres_options(settings, node_number=node_number)
        return PostgresStore(options, _box(settings), clock, _limits(settings))
    return SqliteStore(
        SqliteOptions(
            path=settings.db_file,
            cache_bytes=settings.sqlite_cache,
            readers=settings.readers,
            payload_retention=settings.payload_retention,
            search_s=settings.search_time / 1000,
            text_search_s=settings.payload_search_time / 1000,
        ),
        _box(settings),
        clock,
        _limits(settings),
    )


def prepare(settings: Settings) -> None:
    """
    Return once this program can serve on the database; with `migrate` it is brought so far.

    Waits for PostgreSQL's answer; an SQLite file is looked at when it is opened. SchemaError with
    the mend, UnavailableError, LockedError.
    """
    if not settings.on_postgresql:
        return
    options = postgres_options(settings, direct=True)
    # A connection waits for its answers with a loop of its own, and one may be running here.
    with ThreadPoolExecutor(1) as pool:
        if settings.migrate:
            pool.submit(migrate, options).result()
        pool.submit(check, options).result()


def postgres_options(
    settings: Settings, *, direct: bool = False, node_number: int = NO_NODE
) -> PostgresOptions:
    """How PostgreSQL is used; `direct` is by its own address, where `db` is a pooler."""
    own = direct and bool(settings.db_direct)
    return PostgresOptions(
        url=settings.db_direct if own else settings.db,
        schema=settings.db_schema,
        pooled=not own and (settings.db_pooled or bool(settings.db_direct)),
        connect_s=settings.db_connect_timeout / 1000,
        statement_s=settings.db_statement_timeout / 1000,
        node_number=node_number,
        readers=settings.readers,
        payload_retention=settings.payload_retention,
        search_s=settings.search_time / 1000,
        text_search_s=settings.payload_search_time / 1000,
    )


def _box(settings: Settings) -> Box:
    return Box([settings.secrets_key, *settings.secrets_keys_old])


def _limits(settings: Settings) -> WriterLimits:
    return WriterLimits(
        rows_per_transaction=settings.rows_per_transaction,
        waiting_rows=settings.waiting_rows_max,
        waiting_bytes=settings.waiting_bytes_max,
        wait_s=settings.waiting_max / 1000,
        lost_claims=settings.lost_claims_max,
    )
