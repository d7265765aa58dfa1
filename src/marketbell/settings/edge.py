"""Settings of the server's edge: who is in front of it, how long it waits, and its pages."""

from __future__ import annotations

from typing import Annotated

from marketbell.settings.server import ServerSettings
from marketbell.settings.values import DAY, HOUR, KB, MINUTE, SECOND, Network, Setting


class EdgeSettings(ServerSettings, frozen=True, kw_only=True):
    """Proxies, browsers, slow and many clients, and the portal."""

    public_url: Annotated[
        str,
        Setting(
            "text",
            "The address under which browsers reach the server, such as `https://hooks.example.com`.",
            unset="made from `host` and `port`",
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Setting(
            "networks",
            "Proxies in front of the server, whose `X-Forwarded-For` says where a request came from.",
            unset="none",
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        Setting(
            "words",
            "Origins whose pages may call the API, each whole, such as `https://app.example.com`.",
            unset="none",
        ),
    ] = ()
    connections_max: Annotated[
        int, Setting("count", "Connections of clients at a time; more are answered 503.", 8, 60_000)
    ] = 2_000
    head_max: Annotated[
        int, Setting("size", "The largest request line with its headers.", 8 * KB, 256 * KB)
    ] = 32 * KB
    request_timeout: Annotated[
        int,
        Setting(
            "duration",
            "How long a client may take to send a request's head, and its body, and to take the answer.",
            SECOND,
            10 * MINUTE,
        ),
    ] = 30 * SECOND
    portal_session: Annotated[
        int,
        Setting("duration", "How long a seller stays signed in to the portal.", MINUTE, 30 * DAY),
    ] = 12 * HOUR
