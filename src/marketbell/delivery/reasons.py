"""
Why an exchange failed, in stable short clauses. Pure.

An attempt can have three more reasons: the sender's `answered 500` and `dialect: ...`, and the
store's `claim lost: ...`.
A reason is kept with the attempt and shown as it is, so people and alerts may match on it:
these texts change only with a note in the changelog. What comes after a colon may vary.
"""

from __future__ import annotations

import errno
import re
import ssl
from typing import Final

RESOLVE_NO_HOST: Final = "resolve: no such host"
RESOLVE_NO_ADDRESS: Final = "resolve: no address"
"""The name exists and has neither an IPv4 nor an IPv6 address."""
RESOLVE_TEMPORARY: Final = "resolve: temporary failure"
"""The name servers did not answer, or answered that they cannot now."""
RESOLVE_TIMED_OUT: Final = "resolve: timed out"
RESOLVE_BUSY: Final = "resolve: resolver busy"
"""Too many lookups hang, or an earlier one of this very name does."""
RESOLVE_FAILED: Final = "resolve: failed"

CONNECT_REFUSED: Final = "connect: refused"
CONNECT_UNREACHABLE: Final = "connect: unreachable"
CONNECT_RESET: Final = "connect: reset"
CONNECT_TIMED_OUT: Final = "connect: timed out"
CONNECT_NO_SOCKET: Final = "connect: no free socket"
"""This machine has no file, port or memory left for a connection: not the receiver's fault."""
CONNECT_FAILED: Final = "connect: failed"

TLS_TIMED_OUT: Final = "tls: timed out"
TLS_CLOSED: Final = "tls: closed during the handshake"
TLS_NO_HTTP_1: Final = "tls: the receiver does not speak HTTP/1.1"
"""It refused the one protocol that was offered (RFC 7301), as a server of HTTP/2 alone does."""

SEND_TIMED_OUT: Final = "timed out sending the request"
"""The receiver did not read all of it."""
ANSWER_TIMED_OUT: Final = "timed out waiting for the answer"
"""The request was sent; not one byte of an answer came."""
READ_TIMED_OUT: Final = "timed out reading the answer"
CLOSED_BEFORE: Final = "closed before the answer"
CLOSED_INSIDE: Final = "closed inside the answer"
REUSED_CLOSED: Final = "connection reused, closed"
"""A kept connection died before the first byte of the answer."""
CANCELLED: Final = "cancelled"
"""This program stops and gave the exchange up: never recorded, the claim becomes a lost one."""

_UNREACHABLE: Final = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)
)
_SETTINGS: Final = re.compile(rb"\x00..\x04[\x00\x01]\x00{4}", re.DOTALL)
"""The head of the frame that a server of HTTP/2 begins with (RFC 9113 section 3.4)."""
_OURS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def refused_address(why: str) -> str:
    """The guard refused an address behind the name, such as `refused address: private 10.0.0.1`."""
    return f"refused address: {why}"


def malformed(detail: str) -> str:
    """What came is not an HTTP/1 answer, or one that may not stand here."""
    return f"malformed answer: {detail}"


def no_http(data: bytes, detail: str) -> str:
    """What came cannot be read as HTTP/1; it is told if it is HTTP/2."""
    return malformed("HTTP/2" if _SETTINGS.match(data) else detail)


def headers_over(limit: int) -> str:
    """The answer's status line and headers are longer than the limit."""
    return f"answer headers over {limit} bytes"


def invalid_header(name: str) -> str:
    """A header of the request cannot be sent; nothing was."""
    return f"request header {name[:100]!r} cannot be sent"


def connect_failed(error: Exception) -> str:
    """Why no connection came about, of TCP or of TLS."""
    if isinstance(error, ssl.SSLError):
        return tls_failed(error)
    if isinstance(error, ConnectionRefusedError):
        return CONNECT_REFUSED
    if isinstance(error, ConnectionResetError):
        return CONNECT_RESET
    if isinstance(error, TimeoutError):
        return CONNECT_TIMED_OUT
    number = error.errno if isinstance(error, OSError) else None
    if number in _UNREACHABLE:
        return CONNECT_UNREACHABLE
    return CONNECT_NO_SOCKET if number in _OURS else CONNECT_FAILED


def tls_cut(error: Exception) -> str:
    """Why a TLS handshake that had begun came to nothing."""
    if isinstance(error, ssl.SSLError):
        return tls_failed(error)
    return TLS_TIMED_OUT if isinstance(error, TimeoutError) else TLS_CLOSED


def tls_failed(error: ssl.SSLError) -> str:
    """What TLS stumbled over: the certificate's fault in words, else OpenSSL's own clause."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: certificate: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TLS_CLOSED
    # Python's table of reasons is older than OpenSSL's; what is not in it stands in the message.
    told = error.reason or re.sub(r"^\[\w+\] | \(\S+\)$", "", str(error))
    clause = re.sub(r"[^a-z0-9 ]", "", told.lower().replace("_", " ")) or "failed"
    return TLS_NO_HTTP_1 if clause.endswith("no application protocol") else f"tls: {clause}"
