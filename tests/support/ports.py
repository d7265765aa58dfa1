"""Ports of loopback that a test's server keeps over its restarts."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from typing import Final

_PORTS: Final = range(21_000, 32_000)
"""Below those that the system gives to outgoing connections: still free at the next start."""
_TRIES: Final = 50
_WORKERS: Final = 10
"""So many processes may test at a time, each with ports of its own: no server that is down loses its port."""


def free_ports() -> Iterator[int]:
    """Ports that nobody listens on, in no order; try the next if one was taken meanwhile."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _WORKERS
    for port in random.SystemRandom().sample(_PORTS[worker::_WORKERS], _TRIES):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
    raise AssertionError("no port is free")
