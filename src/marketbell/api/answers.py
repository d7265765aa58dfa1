"""What goes back to a caller: a status, headers and bytes, written to the ASGI server."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import msgspec

Scope: TypeAlias = MutableMapping[str, Any]
"""An ASGI connection scope; its values are of many types (ASGI specification, HTTP)."""
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

REQUEST_ID: Final = b"x-request-id"
_SVIX_REQUEST_ID: Final = b"svix-req-id"

SECURITY: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
"""What every answer has that does not say otherwise."""
_JSON: Final[tuple[Header, ...]] = ((b"content-type", b"application/json"), *SECURITY)
_SECURITY_LINES: Final = b"".join(b"%b: %b\r\n" % one for one in SECURITY) + REQUEST_ID + b": "
_JSON_LINES: Final = b"content-type: application/json\r\n" + _SECURITY_LINES
_GIVEN_ID: Final = re.compile(rb"[a-zA-Z0-9\-_.]{1,64}")
_ENCODE: Final = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One whole answer; a body is JSON."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()


def answer_of(value: object, status: int = 200) -> Answer:
    """A value of the wire as an answer."""
    return Answer(status, _ENCODE(value))


NO_CONTENT: Final = Answer(204)
EMPTY_OBJECT: Final = b"{}"


class RequestIds:
    """
    Names for requests, in answers and in log lines.

    The caller's own `x-request-id`, or an SDK's `svix-req-id`, if it is 1 to 64 of
    `a-z A-Z 0-9 - _ .`, else one that no other request of this process has.
    """

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex().encode() + b"-"
        self._count = 0

    def of(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The name of a request with these headers."""
        given = headers.get(REQUEST_ID) or headers.get(_SVIX_REQUEST_ID)
        if given and _GIVEN_ID.fullmatch(given):
            return given
        self._count += 1
        return self._prefix + b"%x" % self._count


def head_of(answer: Answer, request_id: bytes) -> bytes:
    """The same headers as `headers_of` as they stand on the wire, each with its end of line."""
    body = answer.body
    if body and not answer.headers:
        return b"%b%b\r\ncontent-length: %d\r\n" % (_JSON_LINES, request_id, len(body))
    lines = [_JSON_LINES if body else _SECURITY_LINES, request_id, b"\r\n"]
    for name, value in answer.headers:
        lines += (name, b": ", value, b"\r\n")
    if answer.status != 204:
        lines.append(b"content-length: %d\r\n" % len(body))
    return b"".join(lines)


async def send_answer(send: Send, answer: Answer, request_id: bytes) -> None:
    """Write an answer with the headers that every answer has."""
    headers = headers_of(answer, request_id)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def headers_of(answer: Answer, request_id: bytes) -> list[Header]:
    """The headers of an answer, those that every one has among them."""
    headers = [
        *(_JSON if answer.body else SECURITY),
        (REQUEST_ID, request_id),
        *answer.headers,
    ]
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    return headers
