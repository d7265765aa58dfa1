"""Settings of what comes in: where the server listens, who may call it, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from marketbell.settings.database import DatabaseSettings
from marketbell.settings.values import DAY, KB, MB, MINUTE, Network, Setting

POLICY_KEYS: Final = (
    "marketbell.dialect",
    "marketbell.retry-schedule",
    "marketbell.timeout",
    "marketbell.max-in-flight",
    "marketbell.order-by",
    "marketbell.order-on-failure",
)
"""The metadata keys that carry a policy."""


ALGORITHMS: Final = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA")
"""What may sign API tokens."""


class ServerSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The address, secrets and tokens, networks, and limits on requests."""

    host: Annotated[str, Setting("text", "The address that the HTTP API listens on.")] = "127.0.0.1"
    port: Annotated[int, Setting("count", "Its port; 0 takes a free one.", 0, 65_535)] = 8080
    marketplace_port: Annotated[
        int,
        Setting(
            "count",
            "The port of the marketplaces' own APIs (Ovoko, Seller Center); 0 is none.",
            0,
            65_535,
        ),
    ] = 0

    jwt_secret: Annotated[
        bytes,
        Setting(
            "secret",
            "Signs and checks API tokens (HS256, HS384, HS512); 32, 48 or 64 bytes or more.",
            unset="on SQLite made, and kept beside the file in FILE.secrets; PostgreSQL needs it",
        ),
    ] = b""
    jwt_algorithm: Annotated[
        str,
        Setting(
            "text",
            "The one algorithm that API tokens are signed with; no other is taken.",
            choices=ALGORITHMS,
        ),
    ] = "HS256"
    jwt_public_key: Annotated[
        bytes,
        Setting(
            "pem",
            "Checks API tokens if `jwt_algorithm` is RS256, RS384, RS512 or EdDSA: PEM, or a file of it.",
            unset="none",
        ),
    ] = b""
    jwt_private_key: Annotated[
        bytes,
        Setting(
            "secret pem",
            "Signs them for `marketbell token create`; the server needs none.",
            unset="none: tokens are made elsewhere",
        ),
    ] = b""
    secrets_key: Annotated[
        bytes,
        Setting(
            "secret",
            "Encrypts the endpoints' secrets at rest; 32 bytes in base64.",
            unset="on SQLite made, and kept beside the file in FILE.secrets; PostgreSQL needs it",
        ),
    ] = b""
    secrets_keys_old: Annotated[
        tuple[bytes, ...],
        Setting(
            "secrets",
            "Earlier values of `secrets_key` that still open what they sealed.",
            unset="none",
        ),
    ] = ()
    token_ttl: Annotated[
        int, Setting("duration", "How long a new token is good for.", MINUTE, 3650 * DAY)
    ] = 365 * DAY
    api_keys_max: Annotated[
        int, Setting("count", "Live API keys of one organization.", 1, 100_000)
    ] = 1_000
    failed_logins_max: Annotated[
        int,
        Setting(
            "count",
            "Tokens of one address that may be refused in a minute; more get 429. 0 is no limit.",
            0,
            1_000_000,
        ),
    ] = 60
    requests_per_second_max: Annotated[
        int,
        Setting(
            "count",
            "Requests of one token in a second; more get 429. 0 is no limit.",
            0,
            1_000_000,
        ),
    ] = 0

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
    event_types_max: Annotated[
        int, Setting("count", "Event types of one organization.", 1, 100_000)
    ] = 5_000
    tasks_running_max: Annotated[
        int, Setting("count", "Background tasks of one organization that run at a time.", 1, 1_000)
    ] = 20
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
