"""Cross-origin requests (Fetch standard, section 3.2): off, or for exact origins and never with credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from marketbell.api.answers import Answer, Event, Header, Scope, Send

_UNDER: Final = "/api/"
_VARY: Final[Header] = (b"vary", b"Origin")
VARY_LINE: Final = b"%b: %b\r\n" % _VARY
"""What answers ahead of ASGI have of it; a request with an Origin goes through ASGI."""
_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE"
_HEADERS: Final = (
    b"authorization, content-type, idempotency-key, x-request-id, svix-req-id, svix-req-attempt"
)
_SHOWN: Final = b"x-request-id, retry-after"
_AGE_S: Final = b"600"


class Cors:
    """Lets pages of some origins call the API with a token of theirs; cookies are never shared."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def preflight(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Answer | None:
        """The answer to a browser that asks before it sends; None for any other request."""
        if (
            scope["method"] != "OPTIONS"
            or not scope["path"].startswith(_UNDER)
            or b"origin" not in headers
            or b"access-control-request-method" not in headers
        ):
            return None
        if headers[b"origin"] not in self._origins:
            return Answer(204, headers=(_VARY,))
        return Answer(
            204,
            headers=(
                _VARY,
                (b"access-control-allow-origin", headers[b"origin"]),
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", _HEADERS),
                (b"access-control-max-age", _AGE_S),
            ),
        )

    def around(self, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> Send:
        """The same `send`, saying of each answer under /api/ who may read it."""
        if not scope["path"].startswith(_UNDER):
            return send
        added: list[Header] = [_VARY]
        if headers.get(b"origin") in self._origins:
            added += [
                (b"access-control-allow-origin", headers[b"origin"]),
                (b"access-control-expose-headers", _SHOWN),
            ]

        async def marked(event: Event) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event["headers"], *added]
            await send(event)

        return marked
