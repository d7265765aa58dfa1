"""The server on this machine, as its settings tell it: where it is, its database, a token for it."""

from __future__ import annotations

from marketbell.cli.options import settings_of
from marketbell.errors import SettingsError
from marketbell.settings import Settings, secrets_file

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on here


def here(*, signing: bool) -> tuple[str, str | None]:
    """
    Where it listens and, if one is to be signed, a token of the default organization.

    The token is None if the server's secret cannot be had here; no file is made.
    """
    settings = settings_of({}, None)
    host = _EVERYWHERE.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    return url, _signed(settings) if signing else None


def must_be_there(settings: Settings) -> None:
    """
    Return if the SQLite file of the settings is there; PostgreSQL says so itself.

    For commands that make nothing: SettingsError, so that a slip in `db` leaves no new database.
    """
    if settings.on_postgresql or settings.db_file.exists():
        return
    file = settings.db_file.absolute()
    raise SettingsError([f"db: there is no database {file}; name the server's own with --db"])


def _signed(settings: Settings) -> str | None:
    if settings.jwt_asymmetric:
        return None
    if not settings.jwt_secret and (settings.on_postgresql or not secrets_file(settings).exists()):
        return None
    from marketbell.cli.credentials import DEFAULT_ORGANIZATION, signed
    from marketbell.clock import SystemClock

    return signed(settings, DEFAULT_ORGANIZATION, SystemClock().now(), settings.token_ttl, None)
