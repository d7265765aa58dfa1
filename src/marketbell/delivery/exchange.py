"""What one HTTP exchange is given and what comes of it: frozen values. Pure."""

from __future__ import annotations

import enum

import msgspec

from marketbell.model import Millis


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long an exchange may take, in real seconds, and how much of an answer is read."""

    resolve_s: float = 5.0
    """To the addresses behind the name."""
    connect_s: float = 10.0
    """To a connection, TLS handshake included."""
    first_byte_s: float = 15.0
    """From the last byte of the request handed to the system to the first one of the answer."""
    total_s: float = 20.0
    """From `send` to the end, whatever happens in between. Alone it bounds an exchange."""
    header_bytes: int = 32_000
    """The answer's headers, and all that comes before they are complete."""
    reply_bytes: int = 20_000
    """The part of the body that is kept. The rest is not read: the connection is closed."""


class Kind(enum.Enum):
    """How an exchange ended."""

    ANSWERED = "answered"
    """An answer came, whole or cut at `reply_bytes`; its status counts."""
    CLOSED = "closed"
    """A kept connection died before the first byte of the answer: send again with `fresh`."""
    FAILED = "failed"
    """No valid answer; `reason` tells why."""


class Exchange(msgspec.Struct, frozen=True, gc=False):
    """What came of one request. Of one that was not answered, whatever was known at its end."""

    kind: Kind
    reason: str
    """Empty if and only if `kind` is ANSWERED; else one of `delivery.reasons`."""
    status: int = 0
    """0 if no answer came as far as that. Counts only with ANSWERED."""
    body: bytes = b""
    """At most `reply_bytes`, as sent: no content coding is undone."""
    truncated: bool = False
    """Whether the answer's body was longer than what is kept."""
    retry_after: str | None = None
    """The Retry-After header as sent."""
    location: str | None = None
    """The Location header as sent; never followed."""
    address: str = ""
    """The address and port that was called, such as `[2001:4860::1]:443`; empty if none was."""
    sent: bool = False
    """Whether any byte of the request may have left this machine."""
    reused: bool = False
    """Whether it went over a kept connection."""
    duration: Millis = 0
    """From `send` to the end."""
    connect: Millis = 0
    """For the connection with TLS; 0 for a kept one."""
    first_byte: Millis = 0
    """From `send` to the first byte of the answer; 0 if none came."""
