"""Every setting of the server: one frozen value, and the table that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from marketbell.errors import SettingsError
from marketbell.settings.addresses import sqlite_file
from marketbell.settings.attempts import AttemptSettings
from marketbell.settings.server import POLICY_KEYS
from marketbell.settings.values import (
    DAY,
    KB,
    MB,
    MINUTE,
    SECOND,
    BadValueError,
    Setting,
    on_postgresql,
    shown_address,
)

__all__ = ["DEFAULTS", "LEASE_MARGIN", "POLICY_KEYS", "Settings"]

_SECRETS: Final = ("jwt_secret", "jwt_private_key", "secrets_key")

_ADDRESSES: Final = ("db", "db_direct")
"""Addresses that may have a password in them."""

LEASE_MARGIN: Final = 5 * SECOND
"""How much longer than all limits of an attempt a lease lasts."""


class Settings(AttemptSettings, frozen=True, kw_only=True):
    """
    All that an operator can set; durations are milliseconds, sizes bytes.

    A value made here directly is taken as it is; `load_settings` is what checks.
    """

    rows_per_transaction: Annotated[
        int, Setting("count", "Rows written in one transaction.", 1, 100_000)
    ] = 2_000
    waiting_rows_max: Annotated[
        int,
        Setting("count", "Rows that may wait for the store; more are answered 503.", 1, 1_000_000),
    ] = 20_000
    waiting_bytes_max: Annotated[
        int,
        Setting(
            "size", "Bytes that may wait for the store; more are answered 503.", KB, 1_000 * MB
        ),
    ] = 32 * MB
    waiting_max: Annotated[
        int,
        Setting(
            "duration", "The longest that a request waits for the store before 503.", 50, MINUTE
        ),
    ] = 2 * SECOND
    sqlite_cache: Annotated[
        int,
        Setting(
            "size",
            "SQLite's page cache for writing; each connection that reads has a quarter as much.",
            MB,
            4_000 * MB,
        ),
    ] = 10 * MB
    readers: Annotated[
        int, Setting("count", "Connections that only read, beside those that write.", 1, 16)
    ] = 2
    search_time: Annotated[
        int,
        Setting(
            "duration",
            "How long a page of a list is looked for before it is given as far as it came.",
            1,
            10 * SECOND,
        ),
    ] = 20
    payload_search: Annotated[
        bool, Setting("flag", "Whether payloads can be searched by their words.")
    ] = False
    payload_search_time: Annotated[
        int,
        Setting(
            "duration",
            "How long payloads are searched for one page before it is given as far as it came.",
            10,
            10 * SECOND,
        ),
    ] = 200
    drain_timeout: Annotated[
        int, Setting("duration", "How long a stop waits for what is in flight.", 0, 10 * MINUTE)
    ] = 25 * SECOND

    ovoko_zone: Annotated[
        str, Setting("text", "The time zone of the `timestamp` that Ovoko's events carry.")
    ] = "Europe/Vilnius"
    ovoko_id_bridge: Annotated[
        bool, Setting("flag", "Whether the deprecated `id_bridge` is sent beside `external_id`.")
    ] = True
    sellercenter_ids_as_strings: Annotated[
        bool, Setting("flag", "Whether Seller Center's numeric ids are sent as strings.")
    ] = False
    sellercenter_zone: Annotated[
        str, Setting("text", "The time zone of all times in Seller Center's Action API.")
    ] = "America/Santiago"
    sellercenter_window: Annotated[
        int,
        Setting(
            "duration",
            "How far the Timestamp of a call of the Action API may lie from the present.",
            SECOND,
            DAY,
        ),
    ] = 15 * MINUTE
    sellercenter_body_max: Annotated[
        int, Setting("size", "The largest body of a call of the Action API.", KB, 128 * MB)
    ] = 8 * MB
    sellercenter_linio: Annotated[
        bool,
        Setting(
            "flag",
            "Whether CreateWebhook refuses a URL that the seller uses already, as Linio does,"
            " unless its application's metadata `sellercenter-profile` says otherwise.",
        ),
    ] = False
    cloudevents_source: Annotated[
        str, Setting("text", "The `source` of CloudEvents: a URI reference that names this server.")
    ] = "urn:marketbell"

    log_format: Annotated[
        str,
        Setting(
            "text",
            "`auto` is console on a terminal and JSON elsewhere.",
            choices=("auto", "json", "console"),
        ),
    ] = "auto"
    log_level: Annotated[
        str,
        Setting(
            "text",
            "The least level that is logged. Attempts are logged at `info`.",
            choices=("debug", "info", "warning", "error"),
        ),
    ] = "info"
    otel_endpoint: Annotated[
        str, Setting("text", "The OTLP/HTTP address that spans are sent to.", unset="no spans")
    ] = ""
    speed: Annotated[
        float,
        Setting(
            "number",
            "How much faster than real time schedules and retention run. For demos only: `serve` refuses all but 1.",
            0.01,
            100_000.0,
        ),
    ] = 1.0

    def __repr__(self) -> str:
        """All but the secrets, so that no log line can hold them."""
        public = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if not name.startswith(_SECRETS)
        }
        for name in _ADDRESSES:
            public[name] = shown_address(public[name])
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in public.items())})"

    @property
    def jwt_asymmetric(self) -> bool:
        """Whether tokens are checked with a public key, not with `jwt_secret`."""
        return not self.jwt_algorithm.startswith("HS")

    @property
    def timeout_max(self) -> int:
        """The longest `marketbell.timeout` that the lease has room for."""
        return (
            self.lease
            - self.resolve_timeout
            - self.connect_timeout
            - self.first_byte_timeout
            - LEASE_MARGIN
        )

    @property
    def on_postgresql(self) -> bool:
        """Whether `db` names PostgreSQL, not an SQLite file."""
        return on_postgresql(self.db)

    @property
    def db_shown(self) -> str:
        """The database as it may be shown: the SQLite file, or the address without its password."""
        return shown_address(self.db) if self.on_postgresql else str(self.db_file)

    @property
    def db_file(self) -> Path:
        """The SQLite file that `db` names. Raises SettingsError if it names none."""
        try:
            return sqlite_file(self.db)
        except BadValueError as fault:
            raise SettingsError([f"db: {fault}"]) from None


DEFAULTS: Final = Settings()
