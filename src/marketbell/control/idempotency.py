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


def digest_of(body: bytes) -> bytes:
    """What stands for a request's body in its mark."""
    return blake2b(body, digest_size=16).digest()


def marks_of_batch(
    organization: str, path: str, key: bytes, body: bytes, count: int
) -> list[Idempotency]:
    """
    A mark for each message of a batch, by its place. InvalidError as `mark`.

    Their bodies' digests are made under the key, so that they are this batch's alone: where one
    place meets a mark of another body, nothing of the batch is kept. Another batch with the same
    key is told by any place that the first kept and that it has too; of two that come at the
    same time each place is kept for one of them at most.
    """
    of_all = mark(organization, path, key, b"").key
    digest = blake2b(body, digest_size=24, key=of_all).digest()
    return [mark(organization, path, key, digest, place=place) for place in range(count)]


def mark(
    organization: str, path: str, key: bytes, digest: bytes, *, place: int | None = None
) -> Idempotency:
    """
    The mark of a POST, or of the message at `place` in a batch.

    `path` is given without a trailing slash, `digest` is that of the body. Keys that begin with
    `auto_`, which SDKs make for each call, are remembered for a shorter time. Raises
    InvalidError for a key that is not 1 to 256 visible ASCII characters.
    """
    if not _KEY.fullmatch(key):
        raise InvalidError(
            ("header", "idempotency-key"),
            f"An idempotency key is 1 to {KEY_MAX} visible ASCII characters, sent once",
        )
    # No part but the last can hold a line feed, so no two requests read alike.
    text = b"%b\nPOST %b\n%b\n%b" % (
        organization.encode(),
        b"" if place is None else b"%d" % place,
        key,
        path.encode("utf-8", "surrogateescape"),
    )
    return Idempotency(blake2b(text, digest_size=16).digest(), digest, key.startswith(_AUTO))
