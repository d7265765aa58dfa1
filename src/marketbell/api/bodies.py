"""Bodies of requests, read from the ASGI server within a size and a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from marketbell.api.answers import Receive
from marketbell.errors import TooLargeError, TooSlowError

DRAINED_BYTES: Final = 16_000_000
DRAINED_S: Final = 5.0
"""How much of a body that is too large is read and thrown away, and for how long."""


async def read_body(
    receive: Receive, limit: int, headers: Mapping[bytes, bytes], *, within_s: float
) -> bytes | None:
    """
    The whole body of a request with these headers, None if the caller went away first.

    Raises TooLargeError above `limit` bytes; what else comes is thrown away, for so long that
    a caller that writes before it reads gets its answer. Raises TooSlowError after `within_s`.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        if b"expect" not in headers:
            await _drain(receive)
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(within_s):
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    return None
                part: bytes = event.get("body", b"")
                size += len(part)
                if size > limit:
                    break
                parts.append(part)
                if not event.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise TooSlowError(
            ("body",), f"The body did not come whole within {within_s:g} seconds."
        ) from None
    if event.get("more_body", False):
        await _drain(receive)
    raise too_large(limit)


async def _drain(receive: Receive) -> None:
    left = DRAINED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAINED_S):
            while left > 0:
                event = await receive()
                if not event.get("more_body", False):
                    return
                left -= len(event.get("body", b""))


def too_large(limit: int) -> TooLargeError:
    """The refusal of a body of more bytes than that."""
    return TooLargeError(
        ("body",), f"The body is larger than {limit} bytes; send less in one request."
    )
