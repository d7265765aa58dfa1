"""The heads of HTTP/1.1 messages: a request's is written, single headers of an answer's read. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from marketbell.delivery.netguard import Target
from marketbell.dialects.base import Form
from marketbell.model import Instant, Message

HeadOf: TypeAlias = Callable[[Message, Instant], "bytes | None"]
"""The head of the request that is made of a message at an instant, as `request_head` gives it."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that frame the message or belong to one hop (RFC 9110 section 7.6.1): never taken over."""

_TIMEOUT: Final = re.compile(rb"timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)

_KNOWN: Final[set[str]] = set()
_KNOWN_LIMIT: Final = 4_096


def may_send(name: str, value: str = "") -> bool:
    """Whether a header may be put into a request, by its name and by its value's characters."""
    return (
        _TOKEN.fullmatch(name) is not None
        and name.lower() not in _OURS
        and not any(char in value for char in "\r\n\0")
        and max(map(ord, value), default=0) < 256
    )


def request_head(target: Target, headers: tuple[tuple[str, str], ...], length: int) -> bytes | None:
    """
    The head of a POST with a body of `length` bytes, up to and with the empty line.

    None if a header's name or value cannot be sent (`bad_header` tells which): nothing that a
    user or a dialect writes into a header can begin another header or another request.
    """
    for name, _ in headers:
        if name not in _KNOWN:
            if not may_send(name):
                return None
            if len(_KNOWN) < _KNOWN_LIMIT:
                _KNOWN.add(name)
    # One look at all values together is quicker than one at each.
    values = "".join([value for _, value in headers])
    if "\r" in values or "\n" in values or "\0" in values:
        return None
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    text = (
        f"POST {target.target} HTTP/1.1\r\nHost: {target.host_header}\r\n"
        f"{lines}Content-Length: {length}\r\n\r\n"
    )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None


def heads_of(target: Target, form: Form) -> HeadOf | None:
    """
    What writes the heads of all requests of one form; None if its names or fixed values cannot be sent.

    They are the bytes of `request_head`. All but the values that differ is written here, once.
    """
    if not all(may_send(name, value or "") for name, value in form.headers):
        return None
    lines = "".join(
        f"{_as_it_is(name)}: {'%s' if value is None else _as_it_is(value)}\r\n"
        for name, value in form.headers
    )
    pattern = (
        f"POST {_as_it_is(target.target)} HTTP/1.1\r\nHost: {_as_it_is(target.host_header)}\r\n"
        f"{lines}Content-Length: %d\r\n\r\n"
    )
    breaks, fill = pattern.count("\n"), form.fill

    def head_of(message: Message, at: Instant) -> bytes | None:
        text = pattern % (*fill(message, at), len(message.payload))
        # A break that a value brought shows in their number.
        if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
            return None
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            return None

    return head_of


def _as_it_is(text: str) -> str:
    return text.replace("%", "%%")


def bad_header(headers: tuple[tuple[str, str], ...]) -> str:
    """The name of the first header that cannot be sent; empty if all can."""
    return next((name for name, value in headers if not may_send(name, value)), "")


def answer_header(head: bytes, interims: int, name: bytes) -> list[bytes]:
    """
    The values of a header (lower case) in an answer's head that a parser has found good.

    `head` begins with so many interim answers and may be followed by a part of the body.
    """
    head = head.lstrip(b"\r\n")
    for _ in range(interims):
        head = head.partition(b"\r\n\r\n")[2]
    pairs = (line.partition(b":") for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    return [value.strip() for key, _, value in pairs if key.lower() == name]


def ends_with_connection(head: bytes, interims: int) -> bool:
    """Whether the end of the connection is the end of the answer (RFC 9112 section 6.3)."""
    if answer_header(head, interims, b"content-length"):
        return False
    codings = answer_header(head, interims, b"transfer-encoding")
    return not any(b"chunked" in coding.lower() for coding in codings)


def keep_alive_s(head: bytes, interims: int) -> float | None:
    """For how many seconds the server says it keeps the connection; None if it does not say."""
    found = _TIMEOUT.search(b", ".join(answer_header(head, interims, b"keep-alive")))
    return float(found[1]) if found else None
