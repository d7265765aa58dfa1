"""The server on this machine, as its settings tell it: where it is, and a token for it."""

from __future__ import annotations

import functools

from marketbell.cli.options import settings_of
from marketbell.settings import Settings, secrets_file


@functools.cache
def _settings() -> Settings:
    return settings_of({}, None)


def local_url() -> str:
    """Where it listens."""
    settings = _settings()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def local_token() -> str | None:
    """
    A token of the default organization, signed with the server's own secret.

    None if that cannot be had here: no file is made.
    """
    settings = _settings()
    file = secrets_file(settings)
    if settings.jwt_asymmetric or (not settings.jwt_secret and (file is None or not file.exists())):
        return None
    from marketbell.cli.credentials import DEFAULT_ORGANIZATION, signed
    from marketbell.clock import SystemClock

    return signed(settings, DEFAULT_ORGANIZATION, SystemClock().now(), settings.token_ttl, None)
