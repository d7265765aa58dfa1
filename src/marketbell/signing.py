"""Standard Webhooks signatures over bytes: sign, verify, and the text form of secrets."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from marketbell.errors import InvalidError, SignatureError
from marketbell.model import Instant, SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

HMAC_SHA256: Final = "v1"
ED25519: Final = "v1a"

Signer: TypeAlias = Callable[[str, int, bytes], str]
"""Signs a message's id, seconds and body: `version,base64`."""

_HMAC_PREFIX: Final = "whsec_"
_PAIR_PREFIX: Final = "whsk_"
_PUBLIC_PREFIX: Final = "whpk_"

_HMAC_BYTES: Final = range(24, 76)
_SEED_BYTES: Final = 32
_PAIR_BYTES: Final = 64
_NEW_BYTES: Final = 24
_TEXT_MAX: Final = 128
"""Characters of a secret as text: more than the longest one needs."""

_ID_MAX: Final = 512
_SIGNATURES_MAX: Final = 64
_SIGNATURE_MAX: Final = 8192
_TIMESTAMP_MAX: Final = 12

_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
"""What RFC 2104 does with a key before it is hashed, as tables of `bytes.translate`."""


class VerifyingKey(msgspec.Struct, frozen=True, kw_only=True):
    """What checks a signature: the HMAC key itself, or the public half of an ed25519 pair."""

    kind: str
    """`v1` (HMAC) or `v1a` (ed25519)."""
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret, so that no log line can hold it."""
        return f"VerifyingKey(kind={self.kind!r})"


def sign(keys: Sequence[SigningKey], message_id: str, timestamp_s: int, body: bytes) -> str:
    """
    The signature header of one request: one `version,base64` per key, in the keys' order.

    What is signed is `message_id.timestamp_s.body`, to the byte (Standard Webhooks 1.0,
    "Signature scheme"; Svix signs the same). Every key given signs: the caller leaves out
    those that have expired. No key gives the empty string.
    """
    content = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return " ".join([_signature(key, content) for key in keys])


def signer(key: SigningKey) -> Signer:
    """
    What signs with this one key as `sign` does, with all that can be worked out beforehand.

    For an HMAC key that is its two blocks, hashed (RFC 2104, section 4): half the work of a short
    message. It holds the secret, and is to live no longer than the key.
    """
    if key.kind != HMAC_SHA256:
        return lambda message_id, timestamp_s, body: sign([key], message_id, timestamp_s, body)
    first, second = _blocks(key.secret)
    inner_begun = hashlib.sha256(first).copy
    outer_begun = hashlib.sha256(second).copy
    encode = binascii.b2a_base64

    def signed(message_id: str, timestamp_s: int, body: bytes) -> str:
        inner = inner_begun()
        inner.update(b"%b.%d.%b" % (message_id.encode(), timestamp_s, body))
        outer = outer_begun()
        outer.update(inner.digest())
        return "v1," + encode(outer.digest(), newline=False).decode("ascii")

    return signed


def verify(
    keys: Sequence[VerifyingKey],
    *,
    message_id: str,
    timestamp: str,
    signature: str,
    body: bytes,
    now: Instant,
    tolerance_s: int = 300,
) -> None:
    """
    Return if one of `keys` signed this body under this id and timestamp, not long ago.

    The three strings are the headers as they came. The time that it takes does not tell
    how much of a signature was right. Signatures of other versions are passed over, and
    only the first 64 are looked at. Whatever the bytes, the one error is SignatureError.
    """
    _check_timestamp(timestamp, now, tolerance_s)
    if not message_id or len(message_id) > _ID_MAX:
        raise SignatureError("the message id header is missing or too long")
    if not signature or len(signature) > _SIGNATURE_MAX:
        raise SignatureError("the signature header is missing or too long")
    content = b"%b.%b.%b" % (_wire(message_id), timestamp.encode(), body)
    sent = [part.partition(",") for part in signature.split(" ", _SIGNATURES_MAX)]
    for key in keys:
        for version, _, text in sent[:_SIGNATURES_MAX]:
            if version == key.kind and _matches(key, content, text):
                return
    raise SignatureError("no signature matches; check that the secret is this endpoint's")


def parse_secret(text: str, *, field: Sequence[str | int] = ("body", "key")) -> SigningKey:
    """
    The signing key that a person wrote as text.

    `whsec_` and base64 of 24 to 75 bytes is an HMAC key, `whsk_` and base64 of 64 bytes an
    ed25519 pair (seed, then public key). Padding may be left out. Anything else raises
    InvalidError, whose text never holds the secret.
    """
    if text.startswith(_HMAC_PREFIX):
        raw = _decoded(text, _HMAC_PREFIX, field)
        if len(raw) not in _HMAC_BYTES:
            raise InvalidError(
                field,
                f"the key after `whsec_` is {len(raw)} bytes; give base64 of 24 to 75 random bytes",
            )
        return SigningKey(kind=HMAC_SHA256, secret=raw)
    if text.startswith(_PAIR_PREFIX):
        raw = _decoded(text, _PAIR_PREFIX, field)
        if len(raw) != _PAIR_BYTES:
            raise InvalidError(
                field,
                f"the key after `whsk_` is {len(raw)} bytes; give base64 of the 64 bytes of "
                "an ed25519 pair: the seed, then the public key",
            )
        if _public_half(raw) != raw[_SEED_BYTES:]:
            raise InvalidError(
                field,
                "the second half of the key after `whsk_` is not the public key of the first; "
                "give the seed, then its public key",
            )
        return SigningKey(kind=ED25519, secret=raw)
    raise InvalidError(
        field,
        "the key starts with neither `whsec_` nor `whsk_`; give `whsec_` and base64 of "
        "24 to 75 random bytes, or leave the key out to have one made",
    )


def parse_verifying_key(text: str, *, field: Sequence[str | int] = ("body", "key")) -> VerifyingKey:
    """
    The key with which a receiver checks, from the text it was given.

    Takes `whpk_` (the public half of a pair) and all that `parse_secret` takes. Raises
    InvalidError.
    """
    if not text.startswith(_PUBLIC_PREFIX):
        return verifying_key(parse_secret(text, field=field))
    raw = _decoded(text, _PUBLIC_PREFIX, field)
    if len(raw) != _SEED_BYTES:
        raise InvalidError(
            field, f"the key after `whpk_` is {len(raw)} bytes; give base64 of the 32 public ones"
        )
    return VerifyingKey(kind=ED25519, secret=raw)


def verifying_key(key: SigningKey) -> VerifyingKey:
    """The part of a signing key that checks: all of an HMAC key, the public half of a pair."""
    if key.kind == ED25519:
        return VerifyingKey(kind=ED25519, secret=key.secret[_SEED_BYTES:])
    return VerifyingKey(kind=key.kind, secret=key.secret)


def render_secret(key: SigningKey) -> str:
    """The text for the receiver: `whsec_…`, or for ed25519 the public `whpk_…` alone."""
    if key.kind == ED25519:
        return _PUBLIC_PREFIX + base64.b64encode(key.secret[_SEED_BYTES:]).decode()
    return _HMAC_PREFIX + base64.b64encode(key.secret).decode()


def new_secret(random: Callable[[int], bytes] = os.urandom) -> SigningKey:
    """A fresh HMAC key of 24 bytes from `random`, by default the operating system's."""
    return SigningKey(kind=HMAC_SHA256, secret=random(_NEW_BYTES))


def new_pair(random: Callable[[int], bytes] = os.urandom) -> SigningKey:
    """A fresh ed25519 pair, its seed from `random`, by default the operating system's."""
    seed = random(_SEED_BYTES)
    return SigningKey(kind=ED25519, secret=seed + _public_half(seed))


def _blocks(secret: bytes) -> tuple[bytes, bytes]:
    """What HMAC-SHA-256 hashes before a message, and before the digest of that (RFC 2104, section 2)."""
    if len(secret) > _BLOCK:
        secret = hashlib.sha256(secret).digest()
    block = secret.ljust(_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


def _signature(key: SigningKey, content: bytes) -> str:
    if key.kind == HMAC_SHA256:
        # `hmac.digest` takes half as long again, and gives the interpreter's lock away each time.
        first, second = _blocks(key.secret)
        digest = hashlib.sha256(second + hashlib.sha256(first + content).digest()).digest()
        return "v1," + binascii.b2a_base64(digest, newline=False).decode("ascii")
    digest = _private_key(key.secret[:_SEED_BYTES]).sign(content)
    return "v1a," + binascii.b2a_base64(digest, newline=False).decode("ascii")


def _matches(key: VerifyingKey, content: bytes, text: str) -> bool:
    if key.kind == HMAC_SHA256:
        digest = hmac.digest(key.secret, content, "sha256")
        expected = binascii.b2a_base64(digest, newline=False)
        return hmac.compare_digest(expected, _wire(text))
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(key.secret).verify(base64.b64decode(_wire(text), validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _check_timestamp(timestamp: str, now: Instant, tolerance_s: int) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_MAX):
        raise SignatureError("the timestamp header is not a number of seconds since 1970")
    age_ms = now - int(timestamp) * 1000
    if age_ms > tolerance_s * 1000:
        raise SignatureError(f"the message was sent more than {tolerance_s} s ago")
    if age_ms < -tolerance_s * 1000:
        raise SignatureError(f"the message's timestamp lies more than {tolerance_s} s ahead")


def _wire(text: str) -> bytes:
    """The bytes of a header, whatever a server made of them; never fails."""
    return text.encode("utf-8", "backslashreplace")


def _decoded(text: str, prefix: str, field: Sequence[str | int]) -> bytes:
    encoded = text.removeprefix(prefix)
    if len(text) <= _TEXT_MAX and encoded.isascii():
        try:
            return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except binascii.Error:
            pass
    raise InvalidError(
        field, f"what follows `{prefix}` is not base64 of a key; copy the key anew, whole"
    ) from None


def _public_half(pair: bytes) -> bytes:
    return _private_key(pair[:_SEED_BYTES]).public_key().public_bytes_raw()


@functools.lru_cache(maxsize=1024)
def _private_key(seed: bytes) -> Ed25519PrivateKey:
    # Imported here: most installations have HMAC keys only, and the module is heavy.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


@functools.lru_cache(maxsize=1024)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)
