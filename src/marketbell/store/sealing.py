"""Secrets at rest: ciphertext that begins with the id of the key that sealed it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from marketbell.errors import UnavailableError

_KEY_ID = 4
_NONCE = 12


class Box:
    """
    Seals and opens with ChaCha20-Poly1305 (RFC 8439); the first key seals, every key opens.

    Sealed bytes are 4 bytes of key id, 12 of nonce and the ciphertext. Keys are 32 bytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {key_id(key): ChaCha20Poly1305(key) for key in keys}
        self._first = key_id(keys[0])

    def seal(self, plain: bytes, purpose: bytes) -> bytes:
        """Ciphertext that only opens for the same purpose."""
        nonce = os.urandom(_NONCE)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, plain, purpose)

    def current(self, sealed: bytes) -> bool:
        """Whether it is the first key that sealed these bytes."""
        return sealed[:_KEY_ID] == self._first

    def open(self, sealed: bytes, purpose: bytes) -> bytes:
        """The plain bytes. UnavailableError if no key fits: the secrets key has been changed or lost."""
        cipher = self._ciphers.get(sealed[:_KEY_ID])
        if cipher is None:
            raise UnavailableError(
                f"A secret was sealed with key {sealed[:_KEY_ID].hex()}, which is not among the secrets keys."
            )
        nonce, body = sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :]
        try:
            return cipher.decrypt(nonce, body, purpose)
        except InvalidTag:
            raise UnavailableError(
                "A sealed secret has been altered or moved; restore it from a backup."
            ) from None


def key_id(key: bytes) -> bytes:
    """Four bytes that name a key without giving it away."""
    return hashlib.blake2b(key, digest_size=_KEY_ID, person=b"marketbell-key").digest()
