"""The doctor's round: every check looks once and judges; none keeps another from being made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec

from marketbell import schema
from marketbell.clock import Clock
from marketbell.doctor import machine, of_database, of_machine, of_rights
from marketbell.doctor.findings import Finding, Verdict, failure, unknown
from marketbell.errors import SchemaError, StoreError
from marketbell.settings import Settings, secrets_file
from marketbell.settings.files import files_needed
from marketbell.store import inspecting
from marketbell.store.inspecting import Inspection, PostgresInspection, SqliteInspection
from marketbell.store.opening import postgres_options
from marketbell.store.sealing import key_id
from marketbell.store.transaction import Transaction

T = TypeVar("T")

_STATEMENT_S: Final = 5.0
_PAYLOADS: Final = ("payload", "payload_text")


class Site(msgspec.Struct, frozen=True):
    """Where the doctor is: what a test has of its own."""

    config: Path | None = None
    """The TOML file of settings."""
    resolv: Path = Path("/etc/resolv.conf")
    dns_port: int = 53


class Round(msgspec.Struct, frozen=True):
    """What the checks have in common."""

    settings: Settings
    clock: Clock
    site: Site
    database: Inspection

    @property
    def folder(self) -> Path:
        """Where the SQLite file is."""
        return self.settings.db_file.absolute().parent


Check: TypeAlias = Callable[[Round], Finding]


def examine(settings: Settings, clock: Clock, site: Site | None = None) -> Iterator[Finding]:
    """
    What each check finds, one after the other; blocks, for a thread without a loop.

    Where the database is away, that is said, what needs it is unknown, and the rest is judged.
    """
    site = site or Site()
    begun = time.monotonic()
    try:
        database = _opened(settings)
    except StoreError as error:
        yield from _without(settings, clock, site, error, begun)
        return
    given = Round(settings, clock, site, database)
    try:
        (_, check), *others = _checks(settings)
        try:
            yield check(given)
        except StoreError as error:
            yield from _without(settings, clock, site, error, begun)
            return
        behind = False
        for name, check in others:
            finding = _guarded(name, check, given, behind=behind)
            behind |= name == "schema" and finding.verdict is Verdict.FAILURE
            yield finding
    finally:
        database.close()


def checks_of(settings: Settings) -> list[str]:
    """The names of the checks that are made with these settings, in order."""
    return [name for name, _ in _checks(settings)]


def _opened(settings: Settings) -> Inspection:
    if not settings.on_postgresql:
        return SqliteInspection(settings.db_file)
    options = postgres_options(settings)
    statement_s = min(_STATEMENT_S, options.statement_s)
    return PostgresInspection(msgspec.structs.replace(options, statement_s=statement_s))


def _without(
    settings: Settings, clock: Clock, site: Site, error: StoreError, begun: float
) -> Iterator[Finding]:
    """The round where there is no database."""
    took = int((time.monotonic() - begun) * 1000)
    yield of_machine.of_no_database(str(error), took, file=not settings.on_postgresql)
    given = Round(settings, clock, site, _Away(error))
    for name, check in _checks(settings)[1:]:
        yield _guarded(name, check, given)


class _Away:
    """A database that is not there."""

    def __init__(self, error: StoreError) -> None:
        self._error = error

    def look(self, query: Callable[[Transaction], T]) -> T:
        """See Inspection.look."""
        raise self._error

    def close(self) -> None:
        """See Inspection.close."""


def _guarded(name: str, check: Check, given: Round, *, behind: bool = False) -> Finding:
    try:
        return check(given)
    except StoreError as error:
        if isinstance(given.database, _Away):
            return unknown(name, "the database is away")
        return unknown(name, "not with this schema" if behind else str(error))
    except OSError as error:
        return unknown(name, f"{error.filename or name}: {error.strerror or error}")


def _checks(settings: Settings) -> list[tuple[str, Check]]:
    """Every check that there is for the database of the settings; the first needs the database."""
    both: list[tuple[str, Check]] = [
        ("due", _due),
        ("leases", _leases),
        ("parked", _parked),
        ("payloads", _payloads),
        ("outbox", _outbox),
        ("keys", _keys),
        ("secrets", _secrets),
        ("files", _files),
        ("resolvers", _resolvers),
    ]
    if settings.on_postgresql:
        return [
            ("database", _postgresql),
            ("schema", _schema),
            ("clock", _clocks),
            ("durability", _durability),
            ("disk", _server_disk),
            ("nodes", _nodes),
            ("slots", _slots),
            ("connections", _connections),
            ("transactions", _transactions),
            ("partitions", _partitions),
            *both,
        ]
    return [
        ("database", _file),
        ("schema", _schema),
        ("clock", _file_clock),
        ("durability", _syncs),
        ("disk", _disk),
        ("nodes", _server),
        *both,
    ]


# -- both databases


def _schema(given: Round) -> Finding:
    settings = given.settings
    if settings.on_postgresql:
        rights = given.database.look(lambda look: inspecting.rights(look, settings.db_schema))
        if rights is not None and (lacking := of_rights.of_rights(rights)):
            return lacking
    try:
        return of_database.of_schema(schema.look(given.settings))
    except SchemaError as error:
        return failure(
            "schema", error.detail, "Run the newest version, or name the right database."
        )
    except StoreError as error:
        if not given.settings.db_direct or isinstance(given.database, _Away):
            raise
        return failure(
            "schema", f"by db_direct: {error}", "Mend db_direct: nodes and migrate need it."
        )


def _due(given: Round) -> Finding:
    now = _now(given)
    since = given.database.look(lambda look: inspecting.oldest_due(look, now))
    return of_database.of_due(since, now)


def _leases(given: Round) -> Finding:
    now = _now(given)
    before = now - of_database.LEASE_GRACE
    over = given.database.look(lambda look: inspecting.leases_over(look, before))
    return of_database.of_leases(over, now)


def _parked(given: Round) -> Finding:
    return of_database.of_parked(given.database.look(inspecting.parked))


def _payloads(given: Round) -> Finding:
    now, kept = _now(given), given.settings.payload_retention
    held = (
        inspecting.held_in_postgresql if given.settings.on_postgresql else inspecting.held_in_file
    )
    found = given.database.look(lambda look: held(look, now - kept))
    return of_database.of_payloads(found, now, kept)


def _outbox(given: Round) -> Finding:
    return of_database.of_outbox(given.database.look(inspecting.outbox))


def _keys(given: Round) -> Finding:
    ours = [given.settings.secrets_key, *given.settings.secrets_keys_old]
    sealed = given.database.look(inspecting.sealed_with)
    return of_database.of_keys(sealed, [key_id(key) for key in ours if key])


def _secrets(given: Round) -> Finding:
    settings, config = given.settings, given.site.config
    missing = [] if settings.jwt_secret or settings.jwt_asymmetric else ["jwt_secret"]
    missing += [] if settings.secrets_key else ["secrets_key"]
    if missing and not settings.on_postgresql:
        path = secrets_file(settings)
        return of_machine.of_secrets_file(path, machine.kept(path), machine.kept(settings.db_file))
    found = None if config is None else machine.kept(config)
    return of_machine.of_given_secrets(missing, config, found)


def _files(given: Round) -> Finding:
    return of_machine.of_files(machine.file_limit(), files_needed(given.settings))


def _resolvers(given: Round) -> Finding:
    servers = machine.name_servers(given.site.resolv)[:3]  # as many as the C library asks
    port = given.site.dns_port
    return of_machine.of_resolvers([(one, machine.answers(one, port)) for one in servers])


def _now(given: Round) -> int:
    if not given.settings.on_postgresql:
        return given.clock.now()
    return given.database.look(inspecting.here).now


# -- SQLite


def _file(given: Round) -> Finding:
    begun = time.monotonic()
    given.database.look(inspecting.newest_in_file)
    took = int((time.monotonic() - begun) * 1000)
    return Finding("database", Verdict.OK, f"{given.settings.db_file}, read in {took} ms")


def _file_clock(given: Round) -> Finding:
    newest = given.database.look(inspecting.newest_in_file)
    return of_database.of_file_clock(newest, given.clock.now())


def _syncs(given: Round) -> Finding:
    kind = machine.file_system(given.folder)
    return of_machine.of_syncs(machine.sync_time(given.folder), kind)


def _disk(given: Round) -> Finding:
    path = given.settings.db_file
    log = path.with_name(path.name + "-wal")
    sizes = [one.stat().st_size if one.exists() else 0 for one in (path, log)]
    return of_machine.of_disk(machine.disk_of(given.folder), *sizes)


def _server(given: Round) -> Finding:
    path = given.settings.db_file
    return of_machine.of_server(machine.is_locked(path.with_name(path.name + ".lock")))


# -- PostgreSQL


def _postgresql(given: Round) -> Finding:
    given.database.look(lambda _look: None)  # the connection is made
    begun = time.monotonic()
    seen = given.database.look(inspecting.here)
    return of_database.of_postgresql(seen, int((time.monotonic() - begun) * 1000))


def _clocks(given: Round) -> Finding:
    before = given.clock.now()
    seen = given.database.look(inspecting.here)
    skew = (before + given.clock.now()) // 2 - seen.now
    return of_database.of_clocks(skew, given.database.look(inspecting.nodes))


def _durability(given: Round) -> Finding:
    return of_database.of_durability(given.database.look(inspecting.durability))


def _server_disk(given: Round) -> Finding:
    size = given.database.look(inspecting.here).size
    try:
        folder = Path(given.database.look(inspecting.data_directory))
        local = (folder / "PG_VERSION").exists()
    except (StoreError, OSError):
        local = False
    if not local:
        return of_machine.of_distant_disk(size)
    return of_machine.of_disk(machine.disk_of(folder), size)


def _nodes(given: Round) -> Finding:
    return of_database.of_nodes(given.database.look(inspecting.nodes))


def _slots(given: Round) -> Finding:
    return of_database.of_slots(given.database.look(inspecting.nodes))


def _connections(given: Round) -> Finding:
    return of_database.of_connections(*given.database.look(inspecting.connections))


def _transactions(given: Round) -> Finding:
    return of_database.of_transactions(given.database.look(inspecting.transactions))


def _partitions(given: Round) -> Finding:
    there = given.database.look(inspecting.partitions)
    if not there:
        return unknown("partitions", "not with this schema")
    settings = given.settings
    kept = dict.fromkeys(there, settings.message_retention)
    kept |= dict.fromkeys(_PAYLOADS, settings.payload_retention)
    kept["attempt"] = settings.attempt_retention
    return of_database.of_partitions(there, _now(given), kept)
