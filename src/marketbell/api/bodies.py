"""Bodies of requests, read from the ASGI server within a size and a time."""

from __future__ import annotations

import asyncio
from typing import Final

from marketbell.api.answers import Receive
from marketbell.errors import TooLargeError, TooSlowError

BODY_S: Final = 30.0
"""Seconds in which a body must have come whole."""


async def read_body(receive: Receive, limit: int, declared: int | None) -> bytes | None:
    """
    The whole body, None if the caller went away first; `declared` is its Content-Length.

    Raises TooLargeError above `limit` bytes, before the rest is read; TooSlowError after 30 s.
    """
    if declared is not None and declared > limit:
        raise _too_large(limit)
    event = await receive()
    if event["type"] == "http.request" and not event.get("more_body", False):
        body: bytes = event.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                if event["type"] != "http.request":
                    return None
                part: bytes = event.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
                if not event.get("more_body", False):
                    return b"".join(parts)
                event = await receive()
    except TimeoutError:
        raise TooSlowError(
            ("body",), f"The body did not come whole within {BODY_S:.0f} seconds."
        ) from None


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        ("body",), f"The body is larger than {limit} bytes; send less in one request."
    )
