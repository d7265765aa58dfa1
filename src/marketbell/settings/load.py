"""Settings from all their sources, checked whole: defaults < TOML < MARKETBELL_* < flags."""

from __future__ import annotations

import difflib
import re
import tomllib
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from marketbell.errors import SettingsError
from marketbell.settings.addresses import check_postgresql, sqlite_file
from marketbell.settings.fields import DEFAULTS, LEASE_MARGIN, Settings
from marketbell.settings.table import PREFIX, SETTINGS, flag_of, variable_of
from marketbell.settings.token_keys import keys_missing, token_key_faults
from marketbell.settings.values import (
    BadValueError,
    read_key,
    show_duration,
)

NOT_SETTINGS: Final = frozenset(
    {"MARKETBELL_CONFIG", "MARKETBELL_SANDBOX_URL", "MARKETBELL_TOKEN", "MARKETBELL_URL"}
)
"""Variables with the prefix that mean something else: the TOML file; a client's token and servers."""

_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.\-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_SCHEMA: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SERVICE_LINK: Final = re.compile(r"(tcp|udp)://\S+:\d+")


class _Given(msgspec.Struct, frozen=True):
    """One value as it was given, and by what."""

    name: str
    source: str
    raw: object


def load_settings(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    toml: Path | None,
    *,
    serving: bool = False,
) -> Settings:
    """
    The settings in force; a flag that is None was not given.

    A server needs more than other commands (`serving`): its keys, where it cannot make them.

    Raises SettingsError with every fault of what is in force, one sentence each: the setting,
    where its value came from, what is wrong with it and the mend.
    """
    faults: list[str] = []
    given: dict[str, _Given] = {}
    for one in (
        *_from_toml(toml, faults),
        *_from_environment(environ, faults),
        *_from_flags(flags, faults),
    ):
        given[one.name] = one
    values: dict[str, object] = {}
    for one in given.values():
        try:
            values[one.name] = _read(one)
        except BadValueError as fault:
            faults.append(f"{one.name} ({one.source}): {fault}")
    settings = msgspec.structs.replace(DEFAULTS, **values)
    for names, text in _broken_relations(settings):
        if all(name in values or name not in given for name in names):
            shown = [given[name].source if name in given else "default" for name in names]
            where = ", ".join(
                f"{name} ({source})" for name, source in zip(names, shown, strict=True)
            )
            faults.append(f"{where}: {text}")
    if serving and settings.on_postgresql:
        faults += (f"{name}: {text}" for name, text in keys_missing(settings) if name not in given)
    if faults:
        raise SettingsError(faults)
    return settings


def _from_toml(toml: Path | None, faults: list[str]) -> Iterator[_Given]:
    if toml is None:
        return
    try:
        table = tomllib.loads(toml.read_text("utf-8"))
    except OSError as error:
        faults.append(f"{toml}: cannot be read ({error.strerror}); give the path of a TOML file")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{toml}: is not TOML ({error})")
        return
    for key, raw in _flat(table):
        name = key.replace(".", "_").replace("-", "_")
        if name in SETTINGS:
            yield _Given(name, f"{key} in {toml}", raw)
        else:
            faults.append(f"{key} (in {toml}): there is no such setting{_nearest(name)}")


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> Iterator[_Given]:
    for variable, raw in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in SETTINGS:
            yield _Given(name, variable, raw)
        elif near := difflib.get_close_matches(name, SETTINGS, 1, 0.85):
            # Only near misses are faults: orchestrators set variables of that prefix too.
            faults.append(
                f"{variable}: there is no such setting; did you mean {variable_of(near[0])}?"
            )


def _from_flags(flags: Mapping[str, object], faults: list[str]) -> Iterator[_Given]:
    for name, raw in flags.items():
        if raw is None:
            continue
        if name in SETTINGS:
            yield _Given(name, flag_of(name), raw)
        else:
            faults.append(f"{flag_of(name)}: there is no such setting{_nearest(name)}")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, SETTINGS, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _read(one: _Given) -> object:
    """The value of one setting, with the checks that its kind alone does not make."""
    if one.name == "port" and isinstance(one.raw, str) and _SERVICE_LINK.fullmatch(one.raw):
        raise BadValueError(
            f"{one.raw!r} was set by Kubernetes for a service named marketbell;"
            " set enableServiceLinks: false in the pod, or rename the service"
        )
    value = SETTINGS[one.name].read(one.raw)
    match one.name, value:
        case "jwt_secret", bytes() if 0 < len(value) < 32:
            raise BadValueError(
                f"has {len(value)} bytes and must have at least 32; make one with: openssl rand -hex 32"
            )
        case "jwt_secret" | "secrets_key", b"":
            raise BadValueError("is empty; leave it out to have one made beside an SQLite file")
        case "secrets_key", bytes():
            return read_key(value)
        case "secrets_keys_old", tuple():
            return tuple(read_key(old) for old in value)
        case "ovoko_zone" | "sellercenter_zone", str():
            _check_zone(value)
        case "extra_ca", Path():
            _check_certificates(value)
        case "host", str() if not value.strip():
            raise BadValueError("is empty; write an address such as 127.0.0.1")
        case "public_url", str() if value:
            _check_origin(value)
        case "cors_origins", tuple():
            for origin in value:
                _check_origin(str(origin))
        case "otel_endpoint", str() if value and not value.startswith(("http://", "https://")):
            raise BadValueError(f"{value!r} is not an address; write http://HOST:4318/v1/traces")
    return value


def _check_origin(text: str) -> None:
    if not _ORIGIN.fullmatch(text):
        raise BadValueError(
            f"{text!r} is not an origin; write scheme, host and port alone,"
            " such as https://app.example.com"
        )


def _check_zone(zone: str) -> None:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadValueError(
            f"{zone!r} is not a time zone; write one such as Europe/Vilnius"
        ) from error


def _check_certificates(file: Path) -> None:
    try:
        found = b"-----BEGIN CERTIFICATE-----" in file.read_bytes()
    except OSError as error:
        raise BadValueError(f"{str(file)!r} cannot be read ({error.strerror})") from error
    if not found:
        raise BadValueError(f"{str(file)!r} has no PEM certificate in it")


def _broken_relations(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each rule between settings that does not hold: the settings it names, and what to do."""
    yield from _database_faults(settings)
    yield from token_key_faults(settings)
    if settings.attempt_timeout > settings.timeout_max:
        limits = ("attempt_timeout", "resolve_timeout", "connect_timeout", "first_byte_timeout")
        least = sum(getattr(settings, name) for name in limits) + LEASE_MARGIN
        yield (
            ("lease", *limits),
            (
                f"the lease must outlast all limits of an attempt by {show_duration(LEASE_MARGIN)};"
                f" set lease to {show_duration(least)} or more"
            ),
        )
    for name in ("payload_retention", "attempt_retention"):
        if getattr(settings, name) > settings.message_retention:
            yield (
                (name, "message_retention"),
                (
                    f"nothing is kept longer than its message; set message_retention to"
                    f" {show_duration(getattr(settings, name))} or more"
                ),
            )
    yield from _too_small_for(settings, "batch_bytes_max", "body_max", "one whole message")
    yield from _too_small_for(settings, "waiting_bytes_max", "batch_bytes_max", "one whole batch")
    yield from _too_small_for(settings, "waiting_rows_max", "batch_messages_max", "one whole batch")
    yield from _too_small_for(
        settings, "sockets_max", "endpoint_in_flight", "one endpoint's requests"
    )


def _database_faults(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    try:
        if not settings.on_postgresql:
            sqlite_file(settings.db)
    except BadValueError as fault:
        yield ("db",), str(fault)
    if 3 * settings.node_heartbeat > settings.node_lease:
        yield (
            ("node_heartbeat", "node_lease"),
            (
                "a node must give three signs of life within its lease; set node_heartbeat to"
                f" {show_duration(settings.node_lease // 3)} or less"
            ),
        )
    if settings.on_postgresql:
        yield from _address_faults(settings)
        return
    if settings.db_direct:
        yield ("db_direct",), "only PostgreSQL has two addresses; leave it out, or set db too"
    if settings.workers > 1:
        yield (
            ("workers",),
            "SQLite has exactly one writing process, so more than one worker needs PostgreSQL; set it to 1",
        )
    if settings.role != "all":
        yield (
            ("role",),
            "SQLite has exactly one node, which does everything; set it to all, or db to PostgreSQL",
        )


def _address_faults(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, address in (("db", settings.db), ("db_direct", settings.db_direct)):
        try:
            if address:
                check_postgresql(address)
        except BadValueError as fault:
            yield (name,), str(fault)
    name = settings.db_schema
    if not _SCHEMA.fullmatch(name) or name.startswith("pg_") or name == "information_schema":
        yield (
            ("db_schema",),
            (
                f"{name!r} cannot be a schema; write small letters, digits and _, at most 63, and"
                " begin with a letter"
            ),
        )


def _too_small_for(
    settings: Settings, wider: str, narrower: str, what: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    if getattr(settings, wider) < getattr(settings, narrower):
        least = SETTINGS[narrower].show(getattr(settings, narrower))
        yield (wider, narrower), f"{wider} must have room for {what}; set it to {least} or more"
