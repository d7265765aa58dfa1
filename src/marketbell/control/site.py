"""Where browsers find this server."""

from __future__ import annotations

from typing import Final

from marketbell.settings import Settings

_ANYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - an address to replace
_HERE: Final = "localhost"


class Site:
    """The address that links to the server begin with, without a trailing slash."""

    def __init__(self, settings: Settings) -> None:
        self._public = settings.public_url
        self._host = settings.host
        self._here = _address(settings.host, settings.port)

    @property
    def url(self) -> str:
        """The setting `public_url`, else what `host` and `port` say; any address is `localhost`."""
        return self._public or self._here

    @property
    def secure(self) -> bool:
        """Whether browsers come over TLS, so that cookies may ask for it."""
        return self.url.startswith("https://")

    def listening(self, port: int) -> None:
        """The socket is bound: a port of 0 has become a real one."""
        self._here = _address(self._host, port)


def _address(host: str, port: int) -> str:
    shown = _HERE if host in _ANYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
