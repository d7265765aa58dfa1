"""Whether the keys of API tokens suit their algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from marketbell.settings.fields import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

RSA_BITS: Final = 2_048
_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""A secret is at least as long as the hash (RFC 7518, section 3.2)."""

Faults = Iterator[tuple[tuple[str, ...], str]]


def token_key_faults(settings: Settings) -> Faults:
    """Each rule that does not hold: the settings it names, and what to do."""
    if settings.jwt_asymmetric:
        yield from _of_pair(settings)
        return
    least = _SECRET_BYTES[settings.jwt_algorithm]
    if 0 < len(settings.jwt_secret) < least:
        yield (
            ("jwt_secret", "jwt_algorithm"),
            f"{settings.jwt_algorithm} needs a secret of {least} bytes or more",
        )
    for name in ("jwt_public_key", "jwt_private_key"):
        if getattr(settings, name):
            yield (
                (name, "jwt_algorithm"),
                (
                    f"{settings.jwt_algorithm} uses jwt_secret alone; leave the key out, or set"
                    " jwt_algorithm to RS256 or EdDSA"
                ),
            )


def keys_missing(settings: Settings) -> Iterator[tuple[str, str]]:
    """The keys that are not given, and what to do: on PostgreSQL no file keeps made ones."""
    what = "nodes on PostgreSQL share it, so it must be given, the same to each; make one with:"
    if not settings.jwt_secret and not settings.jwt_asymmetric:
        yield "jwt_secret", f"{what} openssl rand -hex 32"
    if not settings.secrets_key:
        yield "secrets_key", f"{what} openssl rand -base64 32"


def _of_pair(settings: Settings) -> Faults:
    algorithm = settings.jwt_algorithm
    if not settings.jwt_public_key:
        yield ("jwt_public_key", "jwt_algorithm"), f"{algorithm} needs a public key in PEM"
        return
    from cryptography.hazmat.primitives import serialization

    keys: list[tuple[str, PublicKeyTypes]] = []
    try:
        public = serialization.load_pem_public_key(settings.jwt_public_key)
        keys.append(("jwt_public_key", public))
    except Exception:  # the library raises many kinds for what is no such key
        yield ("jwt_public_key",), "is no public key in PEM; it begins -----BEGIN PUBLIC KEY-----"
    if settings.jwt_private_key:
        try:
            private: PrivateKeyTypes = serialization.load_pem_private_key(
                settings.jwt_private_key, None
            )
            keys.append(("jwt_private_key", private.public_key()))
        except Exception:
            yield ("jwt_private_key",), "is no private key in PEM without a password"
    for name, key in keys:
        if fault := _fault_of(key, algorithm):
            yield (name, "jwt_algorithm"), fault
    if len(keys) == 2 and _bytes_of(keys[0][1]) != _bytes_of(keys[1][1]):
        yield ("jwt_public_key", "jwt_private_key"), "they are no pair; give the two halves of one"


def _fault_of(key: PublicKeyTypes, algorithm: str) -> str | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if algorithm == "EdDSA":
        return None if isinstance(key, Ed25519PublicKey) else "EdDSA needs an Ed25519 key"
    if not isinstance(key, RSAPublicKey):
        return f"{algorithm} needs an RSA key"
    if key.key_size < RSA_BITS:
        return f"the RSA key has {key.key_size} bits and must have at least {RSA_BITS}"
    return None


def _bytes_of(key: PublicKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
