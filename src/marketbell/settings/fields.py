"""Every setting of the server: one frozen value, and the table that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec

from marketbell.errors import SettingsError
from marketbell.settings.values import (
    DAY,
    HOUR,
    KB,
    MB,
    MINUTE,
    SECOND,
    BadValueError,
    Network,
    Setting,
    sqlite_file,
)

POLICY_KEYS: Final = (
    "marketbell.dialect",
    "marketbell.retry-schedule",
    "marketbell.timeout",
    "marketbell.max-in-flight",
    "marketbell.order-by",
    "marketbell.order-on-failure",
)
"""The metadata keys that carry a policy."""

_SECRETS: Final = ("jwt_secret", "secrets_key")

LEASE_MARGIN: Final = 5 * SECOND
"""How much longer than all limits of an attempt a lease lasts."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    All that an operator can set; durations are milliseconds, sizes bytes.

    A value made here directly is taken as it is; `load_settings` is what checks.
    """

    db: Annotated[
        str, Setting("text", "The database: `sqlite:///FILE`, or `sqlite:////FULL/PATH`.")
    ] = "sqlite:///marketbell.db"
    host: Annotated[str, Setting("text", "The address that the HTTP API listens on.")] = "127.0.0.1"
    port: Annotated[int, Setting("count", "Its port; 0 takes a free one.", 0, 65_535)] = 8080
    workers: Annotated[
        int,
        Setting(
            "count",
            "Server processes. SQLite has exactly one writing process, so more need PostgreSQL.",
            1,
            64,
        ),
    ] = 1

    jwt_secret: Annotated[
        bytes,
        Setting(
            "secret",
            "Signs and checks API tokens (HS256); 32 bytes or more.",
            unset="made, and kept beside the SQLite file in FILE.secrets",
        ),
    ] = b""
    secrets_key: Annotated[
        bytes,
        Setting(
            "secret",
            "Encrypts the endpoints' secrets at rest; 32 bytes in base64.",
            unset="made, and kept beside the SQLite file in FILE.secrets",
        ),
    ] = b""
    token_ttl: Annotated[
        int, Setting("duration", "How long a new token is good for.", MINUTE, 3650 * DAY)
    ] = 365 * DAY

    allow_networks: Annotated[
        tuple[Network, ...],
        Setting(
            "networks",
            "Private ranges that may be called all the same, such as `10.0.0.0/8`.",
            unset="public addresses only",
        ),
    ] = ()
    extra_ca: Annotated[
        Path | None,
        Setting(
            "file",
            "A PEM file of certificate authorities that are trusted beside the system's.",
            unset="the system's only",
        ),
    ] = None

    body_max: Annotated[
        int, Setting("size", "The largest request body, and so the largest payload.", KB, 16 * MB)
    ] = MB
    batch_messages_max: Annotated[int, Setting("count", "Messages in one batch.", 1, 10_000)] = (
        1_000
    )
    batch_bytes_max: Annotated[
        int, Setting("size", "The largest body of a batch.", KB, 64 * MB)
    ] = 4 * MB
    endpoints_per_application_max: Annotated[
        int, Setting("count", "Endpoints of one application.", 1, 500)
    ] = 50
    metadata_bytes_max: Annotated[
        int, Setting("size", "Metadata of an application or endpoint, as JSON.", 256, 64 * KB)
    ] = 4_096
    secrets_max: Annotated[
        int, Setting("count", "Live secrets of one endpoint while rotations overlap.", 2, 20)
    ] = 10
    portal_may_set: Annotated[
        tuple[str, ...],
        Setting(
            "words",
            "Policy keys that a seller's own token may set on its endpoints.",
            choices=POLICY_KEYS,
            unset="none",
        ),
    ] = ()

    attempt_timeout: Annotated[
        int,
        Setting(
            "duration",
            "The longest that one attempt may take in all, where no policy says otherwise.",
            100,
            5 * MINUTE,
        ),
    ] = 20 * SECOND
    resolve_timeout: Annotated[
        int, Setting("duration", "Of it, to resolve the host's name.", 50, MINUTE)
    ] = 5 * SECOND
    connect_timeout: Annotated[
        int, Setting("duration", "Of it, to connect, TLS included.", 50, MINUTE)
    ] = 10 * SECOND
    first_byte_timeout: Annotated[
        int,
        Setting("duration", "Of it, from the request to the reply's first byte.", 50, 5 * MINUTE),
    ] = 15 * SECOND
    lease: Annotated[
        int,
        Setting(
            "duration",
            "How long a claim is good for. At least the sum of the four limits above and 5s.",
            6 * SECOND,
            HOUR,
        ),
    ] = 60 * SECOND
    reply_kept: Annotated[
        int, Setting("size", "How much of a reply's body is kept; the rest is not read.", 0, MB)
    ] = 20 * KB
    answer_headers_max: Annotated[int, Setting("size", "The largest head of a reply.", KB, MB)] = (
        32 * KB
    )
    endpoint_in_flight: Annotated[
        int,
        Setting(
            "count", "Requests to one endpoint at a time, where no policy says otherwise.", 1, 4_096
        ),
    ] = 64
    lost_claims_max: Annotated[
        int,
        Setting(
            "count",
            "Claims in a row that may be lost before a delivery is parked and reported.",
            2,
            1_000,
        ),
    ] = 20

    at_work_max: Annotated[
        int, Setting("count", "Requests being prepared or read at a time.", 64, 256)
    ] = 128
    sockets_max: Annotated[
        int, Setting("count", "Requests waiting on a receiver at a time.", 16, 60_000)
    ] = 4_096
    unproven_share: Annotated[
        float,
        Setting(
            "number",
            "The share of `sockets_max` that endpoints may take which were never tried or last timed out.",
            0.01,
            1.0,
        ),
    ] = 0.5
    idle_connections_max: Annotated[
        int, Setting("count", "Kept connections without a request.", 0, 60_000)
    ] = 1_024
    idle_connection_ms: Annotated[
        int,
        Setting(
            "duration",
            "How long a connection is kept without a request; a receiver may ask for less.",
            0,
            MINUTE,
        ),
    ] = 1_500
    breaker_failures: Annotated[
        int, Setting("count", "Failures in a row after which an endpoint rests.", 1, 10_000)
    ] = 10
    breaker_rest: Annotated[
        int, Setting("duration", "How long it rests before one probe.", SECOND, HOUR)
    ] = 30 * SECOND
    retry_after_max: Annotated[
        int, Setting("duration", "The longest `Retry-After` that is honoured.", 0, DAY)
    ] = HOUR
    auto_disable_after: Annotated[
        int,
        Setting(
            "duration",
            "How long an endpoint may do nothing but fail before it is disabled.",
            HOUR,
            365 * DAY,
        ),
    ] = 5 * DAY

    payload_retention: Annotated[
        int, Setting("duration", "How long payloads are kept.", HOUR, 3650 * DAY)
    ] = 90 * DAY
    attempt_retention: Annotated[
        int, Setting("duration", "How long attempts are kept.", HOUR, 3650 * DAY)
    ] = 90 * DAY
    message_retention: Annotated[
        int,
        Setting(
            "duration",
            "How long messages are kept; at least as long as payloads and attempts.",
            HOUR,
            3650 * DAY,
        ),
    ] = 90 * DAY
    prune_interval: Annotated[
        int, Setting("duration", "How often what is too old is removed.", SECOND, DAY)
    ] = MINUTE
    prune_rows: Annotated[
        int, Setting("count", "Rows of each kind removed in one transaction.", 1, 10_000)
    ] = 500

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
    sqlite_cache: Annotated[int, Setting("size", "SQLite's page cache.", MB, 4_000 * MB)] = 20 * MB
    readers: Annotated[
        int, Setting("count", "Connections that read SQLite beside the writer.", 1, 16)
    ] = 2
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
        public = (name for name in self.__struct_fields__ if not name.startswith(_SECRETS))
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in public)})"

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
    def db_file(self) -> Path:
        """The SQLite file that `db` names. Raises SettingsError if it names none."""
        try:
            return sqlite_file(self.db)
        except BadValueError as fault:
            raise SettingsError([f"db: {fault}"]) from None


DEFAULTS: Final = Settings()
