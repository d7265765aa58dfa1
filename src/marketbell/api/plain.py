"""The one hot request as it comes off the socket: read whole and at once, if it can be read in one way only."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from marketbell.api.publish import PREFIX, SUFFIX
from marketbell.control.gate import digest_of

_FIRST: Final = re.compile(
    b"POST %b([a-zA-Z0-9_.-]+)%b(?:\\?([^ \r\n]*))? HTTP/1\\.1\r\n"
    % (re.escape(PREFIX.encode()), re.escape(SUFFIX.encode()))
)
_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*"
    rb"([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[ \t]*"
)
"""A header line as RFC 9112 section 5 writes it, not empty, folded or odd."""
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"origin"})
_KEPT: Final = b"keep-alive"
_LESSONS: Final = 4
"""How often a connection looks for what its requests begin with alike."""


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

    A client sends most of its headers with every request, and those first. So what two requests
    had in common, up to the end of a line, is read once and found again by comparison.
    """

    __slots__ = (
        "_application", "_caller", "_headers", "_last", "_lessons", "_query", "_start",
    )  # fmt: skip

    def __init__(self) -> None:
        self._last: list[bytes] = []
        self._lessons = _LESSONS
        self._start = b""
        """What requests begin with alike: the request line and some headers; empty if not known."""
        self._application = ""
        self._query = b""
        self._headers: dict[bytes, bytes] = {}
        self._caller = b""

    def read(self, data: bytes) -> PlainRequest | None:
        """
        The request, if `data` is exactly one and nothing about it can be read in two ways.

        None for all else, which is not judged here: in parts, pipelined, chunked, with an escape
        in its path, a header twice, a hop-by-hop header, or malformed.
        """
        start = self._start
        if not start or not data.startswith(start):
            return self._read_anew(data)
        at = len(start)
        end = data.find(b"\r\n\r\n", at - 2)
        headers = self._headers.copy()
        if end < 0 or (end > at and not _fields(data[at:end].split(b"\r\n"), headers)):
            return None
        caller = self._caller or digest_of(headers.get(b"authorization"))
        return _whole(self._application, headers, self._query, data[end + 4 :], caller)

    def _read_anew(self, data: bytes) -> PlainRequest | None:
        first = _FIRST.match(data)
        end = data.find(b"\r\n\r\n")
        if first is None or end < 0:
            return None
        lines = data[:end].split(b"\r\n")
        headers: dict[bytes, bytes] = {}
        if not _fields(lines[1:], headers):
            return None
        application, query = first[1].decode("ascii"), first[2] or b""
        caller = digest_of(headers.get(b"authorization"))
        request = _whole(application, headers, query, data[end + 4 :], caller)
        if request is not None and self._lessons:
            self._learn(lines, request)
        return request

    def _learn(self, lines: list[bytes], request: PlainRequest) -> None:
        """Remember what this request and the last one begin with alike."""
        last, self._last = self._last, lines
        alike = 0
        for one, other in zip(last, lines, strict=False):
            if one != other:
                break
            alike += 1
        if last:
            self._lessons -= 1
        if alike < 2:
            return
        self._start = b"\r\n".join(lines[:alike]) + b"\r\n"
        self._application, self._query = request.application, request.query
        self._headers = {}
        _fields(lines[1:alike], self._headers)
        self._caller = request.caller if b"authorization" in self._headers else b""


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


def _whole(
    application: str, headers: dict[bytes, bytes], query: bytes, body: bytes, caller: bytes
) -> PlainRequest | None:
    length = headers.get(b"content-length", b"")
    if length != b"%d" % len(body) and not (_LENGTH.fullmatch(length) and int(length) == len(body)):
        return None
    if b"host" not in headers or headers.get(b"connection", _KEPT).lower() != _KEPT:
        return None
    return PlainRequest(application, headers, query, body, caller)
