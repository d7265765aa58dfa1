"""What the server bounds of its clients before a request is whole."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on connections and on requests that are still coming."""

    connections: int
    """Open at a time."""
    head_bytes: int
    """Of a request line with its headers."""
    request_s: float
    """For a head to come whole, for a body to come whole, and for the answer to be taken."""
