"""
How a connection to a checked address is opened: directly, or as another Dialer does it.

This is the seam for an egress proxy (its dialer connects to the proxy and asks it with CONNECT
for the checked address) and for client certificates (its dialer picks the TLS context by target).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from marketbell.delivery.netguard import Target

_TLS_SHUTDOWN_S: Final = 1.0
"""How long a connection that is closed waits for the receiver's close_notify."""


class Dialer(Protocol):
    """Opens one connection."""

    async def dial(
        self,
        factory: Callable[[], asyncio.Protocol],
        target: Target,
        address: str,
        connected: Callable[[], None],
    ) -> None:
        """
        Connect the protocol that `factory` makes to `address` on the target's port.

        The stream goes to that very address; the target's host serves for TLS alone. Calls
        `connected` once TCP stands and TLS begins. Raises OSError, of which ssl.SSLError is
        one, or ReceiverError with a reason of its own; leaves no socket open then, nor when it
        is cancelled. Has no time limit: the caller cancels it.
        """


class DirectDialer:
    """Opens connections from this machine itself."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls

    async def dial(
        self,
        factory: Callable[[], asyncio.Protocol],
        target: Target,
        address: str,
        connected: Callable[[], None],
    ) -> None:
        """Connect, with TLS verified against the target's host name where the scheme is https."""
        loop = asyncio.get_running_loop()
        if not target.tls:
            await loop.create_connection(factory, address, target.port)
            return
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        stream = socket.socket(family, socket.SOCK_STREAM)
        try:
            stream.setblocking(False)
            await loop.sock_connect(stream, (address, target.port))
        except BaseException:
            stream.close()
            raise
        connected()
        # From here on the stream is the loop's, which closes it whatever happens.
        await loop.create_connection(
            factory,
            sock=stream,
            ssl=self._tls,
            server_hostname=target.host,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_S,
        )


def tls_context(extra_ca: str | Path | None = None) -> ssl.SSLContext:
    """
    The TLS settings of every connection: TLS 1.2 or later, certificate and host name verified.

    Trusted are the system's roots and those of the PEM file `extra_ca`. Make it once: reading
    the roots takes milliseconds, a context per connection costs a third of a handshake more.

    Sessions are not resumed: measured with OpenSSL 3.0, resumption saves nothing of a TLS 1.3
    handshake's CPU time, and its tickets would tell receivers which connections belong together.

    Raises OSError or ssl.SSLError if the file cannot be read or holds no certificate.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if extra_ca is not None:
        context.load_verify_locations(cafile=str(extra_ca))
    return context
