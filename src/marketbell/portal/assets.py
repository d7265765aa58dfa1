"""What the pages are made of beside their data: templates, a style sheet and a small module."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

_KINDS: Final = {
    "portal.css": "text/css; charset=utf-8",
    "portal.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Asset:
    """One file as it is sent."""

    def __init__(self, name: str) -> None:
        self.body = (files("marketbell.portal") / "static" / name).read_bytes()
        self.kind = _KINDS[name]
        self.digest = hashlib.blake2b(self.body, digest_size=8).hexdigest()


def asset(name: str) -> Asset | None:
    """A file by its name, None if there is none."""
    return _asset(name) if name in _KINDS else None


@cache
def _asset(name: str) -> Asset:
    return Asset(name)


def _address(name: str) -> str:
    """Where a page finds a file: its digest in the address lets browsers keep it for good."""
    return f"/portal/static/{name}?v={_asset(name).digest}"


@cache
def templates() -> Environment:
    """The templates; whatever they show is escaped, and what they do not know is an error."""
    environment = Environment(
        loader=PackageLoader("marketbell.portal"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["asset"] = _address
    return environment
