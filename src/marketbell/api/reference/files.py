"""The reference over HTTP: files made once, kept as bytes and named by their ETag."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Final

import msgspec
from starlette.routing import BaseRoute, Route

from marketbell.api.answers import Header, Receive, RequestIds, Scope, Send, send_answer
from marketbell.api.call import Operation
from marketbell.api.problems import not_allowed
from marketbell.api.reference.document import document
from marketbell.api.reference.page import SCRIPT, STYLE, page

DOCUMENT: Final = "/api/v1/openapi.json"
PAGE: Final = "/docs"

CONTENT_SECURITY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_COMMON: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", CONTENT_SECURITY),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_METHODS: Final = ("GET", "HEAD")
_request_ids: Final = RequestIds()


class _File:
    """One file, made at the first request for it."""

    def __init__(self, kind: str, make: Callable[[], bytes]) -> None:
        self._kind = kind.encode()
        self._make = make
        self._kept: tuple[bytes, bytes] | None = None

    async def _file(self) -> tuple[bytes, bytes]:
        """The bytes and their tag; making them takes a tenth of a second, so a thread does it."""
        if self._kept is None:
            body = await asyncio.to_thread(self._make)
            tag = hashlib.blake2b(body, digest_size=12).hexdigest()
            self._kept = body, f'"{tag}"'.encode()
        return self._kept

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the file, or with 304 if the caller has it."""
        if await _refused(scope, send):
            return
        body, tag = await self._file()
        given = dict(scope["headers"]).get(b"if-none-match", b"")
        known = {one.strip().removeprefix(b"W/") for one in given.split(b",")}
        if tag in known or b"*" in known:
            await _send(send, 304, ((b"etag", tag),))
            return
        await _send(send, 200, ((b"etag", tag), (b"content-type", self._kind)), body)


class _Redirect:
    """The root, which leads to the page."""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with 307."""
        if not await _refused(scope, send):
            await _send(send, 307, ((b"location", PAGE.encode()),))


async def _refused(scope: Scope, send: Send) -> bool:
    """Whether the method was one that a file does not take; it is answered then."""
    if scope["method"] in _METHODS:
        return False
    await send_answer(send, not_allowed(_METHODS), _request_ids.of(dict(scope["headers"])))
    return True


async def _send(send: Send, status: int, own: Sequence[Header], body: bytes = b"") -> None:
    headers = [*own, *_COMMON]
    if status != 304:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def routes(operations: Sequence[Operation]) -> tuple[BaseRoute, ...]:
    """The routes of the document and the page of these operations."""

    @functools.cache
    def made() -> bytes:
        return msgspec.json.encode(document(operations))

    files = (
        (DOCUMENT, "application/json", made),
        (
            PAGE,
            "text/html; charset=utf-8",
            lambda: page(msgspec.json.decode(made())).encode(),
        ),
        (STYLE, "text/css; charset=utf-8", lambda: _shipped(STYLE)),
        (SCRIPT, "text/javascript; charset=utf-8", lambda: _shipped(SCRIPT)),
    )
    return (
        *(Route(path, _File(kind, make)) for path, kind, make in files),
        Route("/", _Redirect()),
    )


def _shipped(path: str) -> bytes:
    name = path.rsplit("/", 1)[-1]
    return (resources.files("marketbell.api.reference") / name).read_bytes()
