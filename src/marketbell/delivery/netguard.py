"""
Which URLs may be called: the guard against server-side request forgery. Pure.

A URL is checked when an endpoint is made (`check_url`), and the addresses behind its name every
time they are obtained (`judge`); the connection then goes to the very address that was judged.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import msgspec

from marketbell.delivery.addresses import (
    NO_NETWORKS,
    Address,
    Networks,
    judge,
    refusal,
)
from marketbell.errors import InvalidError

__all__ = (
    "BAD_PORTS",
    "NO_NETWORKS",
    "URL_BYTES",
    "Address",
    "Networks",
    "Target",
    "check_url",
    "judge",
    "refusal",
)

URL_BYTES: Final = 2_048
"""The longest URL that an endpoint may have, in bytes of UTF-8."""

BAD_PORTS: Final = frozenset(
    (
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
        101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179,
        389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
        636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
        6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
    )
)  # fmt: skip
"""Ports that speak other protocols; https://fetch.spec.whatwg.org/#port-blocking."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """Where a checked URL points, in the forms that a request needs."""

    tls: bool
    host: str
    """Lower case and ASCII; an IPv6 address without brackets. Never with a trailing dot."""
    port: int
    host_header: str
    """The Host header's value: the port is named unless it is the scheme's own."""
    target: str
    """Path and query byte for byte as given, non-ASCII percent-encoded; `/` for an empty path."""


_LOOPBACK: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TABLES: Final = unicodedata.ucd_3_2_0
# IDNA 2003 and 2008 read these four differently (RFC 5894 section 7.2), so one URL means two hosts.
_AMBIGUOUS: Final = frozenset("ßς\u200c\u200d")


def _refuse(detail: str) -> InvalidError:
    return InvalidError(("body", "url"), detail)


def check_url(url: str, *, https_only: bool, allowed: Networks = NO_NETWORKS) -> Target:
    """
    Where this URL points, after everything that can be judged without asking a name server.

    Refused are: other schemes than http and https, user info, fragments, control characters,
    whitespace and backslashes, hosts that are no name (empty, over 253 characters, labels over
    63), addresses in any other than their plain form, addresses that the guard refuses, and
    ports that belong to other protocols. `localhost` and names under it count as 127.0.0.1
    (RFC 6761 section 6.3).

    With `https_only`, http is taken only where the host is an address in an allowed network, or
    `localhost` with loopback allowed. What another name resolves to can change later, so no
    other name makes plain http good.

    Raises InvalidError for the field `body.url` with a sentence that names the mend.
    """
    _check_characters(url)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in {"http", "https"}:
        raise _refuse("The URL must begin with https:// or http://.")
    tls = scheme == "https"
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if "@" in authority:
        raise _refuse(
            "The URL must not hold a user name or password. "
            "Put the secret into the query string or into one of the endpoint's headers."
        )
    host, port = _split_port(authority, 443 if tls else 80)
    address = _literal(host)
    if address is None:
        host = _name(host)
        # A name can turn into digits by IDNA's mapping, so it is looked at once more.
        address = _literal(host)
    if address is not None:
        host = str(address)
    local = host == "localhost" or host.endswith(".localhost")
    _check_place(host, _LOOPBACK if local else (address,) if address else (), allowed)
    if https_only and not tls and (address is None or address not in allowed) and not local:
        raise _refuse("The URL must begin with https://: this dialect sends to https alone.")
    shown = f"[{host}]" if isinstance(address, IPv6Address) else host
    return Target(
        tls=tls,
        host=host,
        port=port,
        host_header=shown if port == (443 if tls else 80) else f"{shown}:{port}",
        target=_encoded(path if path.startswith("/") else f"/{path}"),
    )


def _check_characters(url: str) -> None:
    try:
        size = len(url.encode())
    except UnicodeEncodeError:
        raise _refuse("The URL holds half of a surrogate pair. Send it as UTF-8.") from None
    if size > URL_BYTES:
        raise _refuse(f"The URL is {size} bytes long. At most {URL_BYTES} are taken.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise _refuse(
            "The URL holds whitespace, a control character or a backslash. Percent-encode it."
        )
    if "#" in url:
        raise _refuse("The URL has a fragment (#...), which is never sent. Remove it.")


def _split_port(authority: str, default: int) -> tuple[str, int]:
    """Host and port; an IPv6 host keeps its brackets."""
    if authority.startswith("["):
        host, bracket, tail = authority.partition("]")
        host += bracket
    else:
        host, colon, tail = authority.partition(":")
        tail = colon + tail
    if not tail:
        return host, default
    digits = tail[1:]
    if tail[0] != ":" or not re.fullmatch(r"[1-9][0-9]{0,4}", digits) or int(digits) > 65_535:
        raise _refuse(
            f"The URL's port {digits!r} is not a number from 1 to 65535. An IPv6 address "
            "stands in brackets, as in https://[2001:4860::1]:8443/."
        )
    if int(digits) in BAD_PORTS:
        raise _refuse(f"The port {digits} belongs to another protocol than HTTP. Take another.")
    return host, int(digits)


def _literal(host: str) -> Address | None:
    """The address that a host is, None for a name; every form but the plain one is refused."""
    if host.startswith("["):
        inner = host[1:-1] if host.endswith("]") else ""
        if "%" in inner:
            raise _refuse("The address has a zone id (%...), which means nothing elsewhere.")
        try:
            return IPv6Address(inner)
        except ValueError:
            raise _refuse(f"{host!r} is not an IPv6 address.") from None
    if not _NUMERIC.fullmatch(host.removesuffix(".").rpartition(".")[2].lower()):
        return None
    try:
        return IPv4Address(host)
    except ValueError:
        raise _refuse(
            f"The host {host!r} is a number but not an IPv4 address of four decimal parts. "
            "Decimal, octal, hexadecimal and short forms are refused: write it as 192.0.2.1."
        ) from None


def _name(host: str) -> str:
    """A host name in lower-case ASCII."""
    if not host.isascii():
        if any(char in _AMBIGUOUS or _TABLES.category(char) == "Cn" for char in host.lower()):
            raise _refuse(f"The host {host!r} can be read in two ways. Write its xn-- form.")
        try:
            # The standard library's codec knows IDNA 2003. What 2008 reads differently, and
            # what is younger than the codec's tables, is refused above.
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise _refuse(
                f"The host {host!r} has no ASCII form that is sure. Write its xn-- form."
            ) from None
    host = host.lower()
    if host.endswith("."):
        raise _refuse("The host ends in a dot. Remove it.")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise _refuse(
            f"{host[:100]!r} is not a host name: labels of 1 to 63 letters, digits and inner "
            "hyphens, parted by dots, 253 characters in all."
        )
    return host


def _check_place(host: str, addresses: tuple[Address, ...], allowed: Networks) -> None:
    reasons = [refusal(address, allowed) for address in addresses]
    if reasons and all(reasons):
        raise _refuse(
            f"The host {host} is not public ({reasons[0]}). Take a public one, or ask the "
            "operator to allow its network in the setting allow_networks."
        )


def _encoded(path: str) -> str:
    """The path and query with every non-ASCII character as percent-encoded UTF-8, the rest as is."""
    if path.isascii():
        return path
    return "".join(
        char if char.isascii() else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in path
    )
