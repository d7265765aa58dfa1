"""Signing keys as callers ask for them: given as text, or made of a kind. Pure but for the random."""

from __future__ import annotations

from typing import Final

from marketbell import signing
from marketbell.control.shapes import Field
from marketbell.errors import InvalidError
from marketbell.model import SigningKey

HMAC: Final = "hmac256"
ED25519: Final = "ed25519"

_KINDS: Final = {HMAC: signing.HMAC_SHA256, ED25519: signing.ED25519}


def signing_key(text: str | None, key_type: str | None, field: Field) -> SigningKey:
    """
    The key of this text, or a new one of this type if there is no text.

    Text without a prefix is taken for `whsec_`, as the official SDKs promise. InvalidError for a
    type that there is none of, and for one that the text is not of.
    """
    kind_field = (*field[:-1], "keyType")
    if key_type is not None and key_type not in _KINDS:
        raise InvalidError(kind_field, f"A key's type is {' or '.join(_KINDS)}")
    if text is None:
        return signing.new_pair() if key_type == ED25519 else signing.new_secret()
    key = signing.parse_secret(text if "_" in text else f"whsec_{text}", field=field)
    if key_type is not None and _KINDS[key_type] != key.kind:
        raise InvalidError(kind_field, f"The key that is given is not of the type {key_type!r}")
    return key
