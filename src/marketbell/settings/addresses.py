"""Addresses of databases: an SQLite file's, and PostgreSQL's."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from marketbell.settings.values import BadValueError, on_postgresql, shown_address

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def sqlite_file(url: str) -> Path:
    """The file of `sqlite:///FILE` (relative) or `sqlite:////FULL/PATH`. Raises BadValueError."""
    prefix = "sqlite:///"
    if on_postgresql(url):
        raise BadValueError("names PostgreSQL, and this needs an SQLite file; write sqlite:///FILE")
    if not url.startswith(prefix):
        raise BadValueError(
            f"{shown_address(url)!r} is not a database; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    name = url.removeprefix(prefix)
    if not name or name.endswith("/") or "?" in name or "\0" in name:
        raise BadValueError(f"{url!r} names no file; write sqlite:///FILE")
    if name.startswith(":memory:"):
        raise BadValueError(
            "a database in memory would lose what was accepted; write sqlite:///FILE"
        )
    return Path(name)


def check_postgresql(url: str) -> None:
    """Raise BadValueError unless this is an address of PostgreSQL; what is said of it holds no password."""
    if not on_postgresql(url):
        raise BadValueError("is no address of PostgreSQL; write postgresql://USER@HOST/NAME")
    try:
        parts = urlsplit(url)
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise BadValueError(
            "cannot be read as an address; write postgresql://USER@HOST:PORT/NAME, and what is"
            " special in a password as %XX"
        ) from None
    if parts.fragment:
        raise BadValueError("has a # in it; write what is special in a password as %XX")
    for host in parts.netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not (port.isdigit() and 0 < int(port) < 65_536):
            raise BadValueError(
                "its port is no number to 65535; write postgresql://USER@HOST:PORT/NAME, and what"
                " is special in a password as %XX"
            )
    mode = query.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise BadValueError(f"sslmode {mode!r} is none of {', '.join(_SSL_MODES)}")
