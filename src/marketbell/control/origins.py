"""Where a request came from, and what the audit log says of it. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from marketbell.control.tokens import Principal
from marketbell.model import Instant
from marketbell.settings import Network
from marketbell.store.base import Origin

Peer: TypeAlias = tuple[str, int] | None
"""The other end of a connection, as the ASGI server tells it."""

_FORWARDED: Final = b"x-forwarded-for"
_ONCE: Final = b"idempotency-key"
_HOPS_MAX: Final = 32
_PORT: Final = re.compile(r"(?:\[([^\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def headers_of(lines: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """
    The headers of a request by name; of one that is there twice, the last.

    Idempotency keys that differ are joined to what is none, so that the request is refused.
    Of `X-Forwarded-For` all lines are one list (RFC 9110, section 5.3): each proxy may add its own.
    """
    headers = dict(lines)
    if len(headers) != len(lines):
        if _FORWARDED in headers:
            headers[_FORWARDED] = b",".join(value for name, value in lines if name == _FORWARDED)
        if _ONCE in headers:
            keys = dict.fromkeys(value for name, value in lines if name == _ONCE)
            headers[_ONCE] = b", ".join(keys)
    return headers


class Sources:
    """Tells the address of a client, behind proxies that are trusted and behind none."""

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted

    def address(self, peer: Peer, headers: Mapping[bytes, bytes]) -> str:
        """
        The last address that no trusted proxy has, '' for a socket without one.

        `X-Forwarded-For` is read from its end, each entry only if the one after it is a trusted
        proxy: what a client wrote there itself is never believed.
        """
        if peer is None:
            return ""
        address = peer[0]
        if not self._trusted or not self._trusts(address):
            return address
        hops = headers.get(_FORWARDED, b"").decode("latin-1").split(",")
        for hop in reversed(hops[-_HOPS_MAX:]):
            found = _PORT.fullmatch(hop.strip())
            text = (found[1] or found[2]) if found else hop.strip()
            try:
                address = str(ipaddress.ip_address(text))
            except ValueError:
                return address
            if not self._trusts(address):
                return address
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._trusted)


def origin_of(
    principal: Principal,
    operation: str,
    *,
    at: Instant,
    path: str,
    parts: Mapping[str, str],
    address: str,
    request_id: bytes,
) -> Origin:
    """What the audit log says of a request; `parts` are those of the path that vary."""
    return Origin(
        organization=principal.organization,
        actor=principal.actor,
        operation=operation,
        at=at,
        application=parts.get("app_id"),
        endpoint=parts.get("endpoint_id"),
        path=path,
        address=address,
        request_id=request_id.decode("ascii"),
    )
