"""The one hot request as it comes off the socket: read whole and at once, if it can be read in one way only."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from marketbell.api.publish import PREFIX, SUFFIX
from marketbell.control.gate import digest_of

_FIRST: Final = re.compile(
    b'POST %b([a-zA-Z0-9_.-]+)%b(?:\\?([!-"$-~]*))? HTTP/1\\.1\r\n'
    % (re.escape(PREFIX.encode()), re.escape(SUFFIX.encode()))
)
_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*"
    rb"([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[ \t]*"
)
"""A header line as RFC 9112 section 5 writes it, not empty, folded or odd."""
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")
_NOT_PLAIN: Final = frozenset(
    {
        b"expect",
        b"keep-alive",
        b"origin",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""What changes how a request is read or answered: hop by hop (RFC 9110, section 7.6.1), or across origins."""
_HEAD_MAX: Final = 65_536
_KEPT: Final = b"keep-alive"
_LESSONS: Final = 4
"""How often a connection looks for what its requests begin with alike."""
_LESSON_BYTES: Final = 2_048
"""The longest headers that it looks at: what it remembers, it remembers for whoever connects."""


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """A whole POST of one message that came in one piece and has nothing unusual in it."""

    application: str
    headers: dict[bytes, bytes]
    query: bytes
    body: bytes
    caller: bytes
    """The digest of its Authorization header; empty if it has none."""


class PlainRequests:
    """
    Reads the plain requests of one connection.

    A client sends most of its headers with every request, and those first. So what the headers of
    two requests began with alike, up to the end of a line, is read once and found again by
    comparison.
    """

    __slots__ = ("_alike", "_caller", "_head_max", "_headers", "_last", "_lessons")

    def __init__(self, head_max: int = _HEAD_MAX) -> None:
        self._head_max = head_max
        """Bytes of a request line with its headers; what is longer is not looked through."""
        self._last: list[bytes] = []
        self._lessons = _LESSONS
        self._alike = b""
        """What follows the request line each time; empty if nothing is known to."""
        self._headers: dict[bytes, bytes] = {}
        self._caller = b""

    def read(self, data: bytes) -> PlainRequest | None:
        """
        The request, if `data` is exactly one and nothing about it can be read in two ways.

        None for all else, which is not judged here: in parts, pipelined, chunked, with an escape
        in its path, a header twice, a hop-by-hop header, a head too large, or malformed.
        """
        first = _FIRST.match(data)
        if first is None:
            return None
        at = first.end()
        known = self._alike and data.startswith(self._alike, at)
        if known:
            at += len(self._alike)
            headers, caller = self._headers.copy(), self._caller
        else:
            headers, caller = {}, b""
        end = data.find(b"\r\n\r\n", at - 2, self._head_max)
        if end < 0:
            return None
        lines = data[at:end].split(b"\r\n") if end > at else []
        if not _fields(lines, headers):
            return None
        body = data[end + 4 :]
        if not _is_whole(headers, len(body)):
            return None
        if not known and self._lessons and end - at <= _LESSON_BYTES:
            self._learn(lines)
        return PlainRequest(
            first[1].decode("ascii"),
            headers,
            first[2] or b"",
            body,
            caller or digest_of(headers.get(b"authorization")),
        )

    def _learn(self, lines: list[bytes]) -> None:
        """Remember what these headers and the last ones begin with alike."""
        last, self._last = self._last, lines
        alike = 0
        for one, other in zip(last, lines, strict=False):
            if one != other:
                break
            alike += 1
        if last:
            self._lessons -= 1
        if alike:
            self._alike = b"\r\n".join(lines[:alike]) + b"\r\n"
            self._headers = {}
            _fields(lines[:alike], self._headers)
            authorization = self._headers.get(b"authorization")
            self._caller = digest_of(authorization)


def plain_request(data: bytes) -> PlainRequest | None:
    """The one request that `data` is; see PlainRequests.read."""
    return PlainRequests().read(data)


def _fields(lines: list[bytes], headers: dict[bytes, bytes]) -> bool:
    """Put header lines into `headers`; whether all of them are plain and none is there twice."""
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            return False
        name, value = found.groups()
        name = name.lower()
        if name in headers or name in _NOT_PLAIN:
            return False
        headers[name] = value
    return True


def _is_whole(headers: dict[bytes, bytes], size: int) -> bool:
    """Whether a body of this size is all that the headers tell of, and nothing else does."""
    length = headers.get(b"content-length", b"")
    if length != b"%d" % size and not (_LENGTH.fullmatch(length) and int(length) == size):
        return False
    return b"host" in headers and headers.get(b"connection", _KEPT).lower() == _KEPT
