"""Once-only marks: which request a caller's idempotency key belongs to."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from marketbell.errors import InvalidError
from marketbell.store.base import Idempotency

KEY_MAX: Final = 256
"""Characters of an idempotency key."""

_AUTO: Final = b"auto_"
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,256}")


def mark(
    organization: str, method: str, path: str, key: bytes, body: bytes, *, place: int | None = None
) -> Idempotency:
    """
    The mark of a POST, or of the message at `place` in a batch.

    `path` is given without a trailing slash. Keys that begin with `auto_`, which SDKs make for
    each call, are remembered for a shorter time. Raises InvalidError for a key that is not 1 to
    256 visible ASCII characters.
    """
    if not _KEY.fullmatch(key):
        raise InvalidError(
            ("header", "idempotency-key"),
            f"An idempotency key is 1 to {KEY_MAX} visible ASCII characters",
        )
    # No part but the last can hold a line feed, so no two requests read alike.
    where = "" if place is None else str(place)
    text = f"{organization}\n{method}\n{where}\n".encode() + key + b"\n" + path.encode()
    return Idempotency(
        blake2b(text, digest_size=16).digest(),
        blake2b(body, digest_size=16).digest(),
        key.startswith(_AUTO),
    )
