"""What a store promises of its ciphertext: secrets and headers, sealed anew when the key changes."""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec


class Sealed(enum.StrEnum):
    """What the store keeps as ciphertext."""

    SECRETS = "secrets"
    HEADERS = "headers"
    CREDENTIALS = "credentials"
    """What users of the marketplaces' APIs prove themselves with."""


class Resealed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one step through one kind of ciphertext."""

    after: int
    """Where the next step begins."""
    resealed: int
    unreadable: int
    """Those that no key opens; they stay as they are."""
    done: bool
    """Whether that was the end."""


class SealedThings(Protocol):
    """Ciphertext, whoever's it is."""

    async def reseal(self, what: Sealed, *, after: int, limit: int) -> Resealed:
        """
        Seal with the current key what of the next `limit` rows another key sealed.

        One short transaction; what it opens to stays the same. A walk begins with `after` 0. A
        walk that was broken off leaves everything readable with both keys and may begin anew.
        """
