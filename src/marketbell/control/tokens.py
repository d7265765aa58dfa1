"""JSON Web Tokens: made, and read back into who calls. Nothing here is remembered or looked up."""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Final, TypeAlias

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from marketbell import ids
from marketbell.control.shapes import check_organization
from marketbell.errors import AuthenticationError, InvalidError
from marketbell.model import Instant, Millis
from marketbell.settings import Settings

DEFAULT_ALGORITHM: Final = "HS256"
ISSUER: Final = "marketbell"
TOKEN_BYTES: Final = 8_192
"""The longest Authorization header that is looked at."""

_LEEWAY_MS: Final = 60_000
WORDS_MAX: Final = 64
"""Scopes, and feature flags, of one token."""
_OPTIONS: Final = {
    "require": ["exp", "sub"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_aud": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""Only the signature is left to the library; what the claims mean is decided here."""

_Key: TypeAlias = bytes | RSAPublicKey | Ed25519PublicKey


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller proved itself with."""

    digest: bytes
    """Of the part of a token that is signed, or of a key's secret: names it without giving it away."""
    key: str | None = None
    """The public id of an API key; None for a JSON Web Token."""
    issued_at: Instant
    expires_at: Instant


class Principal(msgspec.Struct, frozen=True):
    """On whose behalf a request is made."""

    organization: str
    application: str | None = None
    """The one application that the token is for; None for an operator's token."""
    scopes: frozenset[str] | None = None
    """What it may do, of the scopes in `control.scopes`; None for all that its kind may."""
    feature_flags: frozenset[str] = frozenset()
    """The flags of event types that an application's token may see; an operator's sees all."""
    actor: str = ""
    """Who the audit log says it was: `token org_x`, `app app_x`, or `key mbk_x`; made if left out."""
    login: Login | None = None
    """What it came with; None where nobody logs in, as in tests and on the command line."""

    def __post_init__(self) -> None:
        if not self.actor:
            kind, name = "token", self.organization
            if self.application is not None:
                kind, name = "app", self.application
            msgspec.structs.force_setattr(self, "actor", f"{kind} {name}")


class TokenKey(msgspec.Struct, frozen=True):
    """The one algorithm that is taken, and what checks its signatures."""

    algorithm: str
    key: _Key

    @classmethod
    def of(cls, settings: Settings) -> TokenKey:
        """What the settings say; they have been checked."""
        if not settings.jwt_asymmetric:
            return cls(settings.jwt_algorithm, settings.jwt_secret)
        public = load_pem_public_key(settings.jwt_public_key)
        if not isinstance(public, RSAPublicKey | Ed25519PublicKey):
            raise TypeError("the settings have let a key through that signs no tokens")
        return cls(settings.jwt_algorithm, public)


def create_token(
    secret: bytes,
    organization: str,
    now: Instant,
    ttl: Millis,
    application: str | None = None,
    *,
    scopes: frozenset[str] | None = None,
    feature_flags: frozenset[str] = frozenset(),
    algorithm: str = DEFAULT_ALGORITHM,
) -> str:
    """
    A signed token for an organization, or for one application of it.

    An application's token names it by its public id and may have feature flags; `scopes` lets a
    token do less than its kind may.
    `secret` is a private key in PEM for RS256 and its like. Raises InvalidError for an
    organization that is not `org_` and 1 to 64 of `a-z A-Z 0-9 - _ .`, and for an application
    that is no id.
    """
    check_subjects(organization, application)
    issued = now // 1000
    claims: dict[str, object] = {
        "iss": ISSUER,
        # To the millisecond, so that all tokens of before an instant can be told from later ones.
        "iat": now / 1000,
        "nbf": issued,
        "exp": issued + max(1, ttl // 1000),
        "sub": organization,
    }
    if application is not None:
        claims |= {"sub": application, "org": organization}
    if scopes is not None:
        claims["scopes"] = sorted(scopes)
    if feature_flags:
        claims["feature_flags"] = sorted(feature_flags)
    return jwt.encode(claims, secret, algorithm=algorithm)


def read_token(token: bytes, key: TokenKey, now: Instant) -> Principal:
    """
    Whose token this is, with its login.

    Raises AuthenticationError unless it was signed with that very algorithm and key and `now`
    lies between its `nbf` and its `exp`. Who issued it is not looked at.
    """
    if isinstance(key.key, bytes) and hmac.compare_digest(token, key.key):
        raise AuthenticationError(
            "This is the signing secret itself, not a token; "
            "make a token from it with `marketbell token create`."
        )
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            options=_OPTIONS,  # type: ignore[arg-type]
        )
    except jwt.MissingRequiredClaimError as fault:
        raise AuthenticationError(f"The token has no `{fault.claim}`; make a new one.") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise AuthenticationError(
            "Invalid token: it is malformed, or was not signed with this server's secret."
        ) from None
    # Base64 can be written in more than one way, but not under the signature.
    signed = token.rpartition(b".")[0]
    login = Login(
        digest=blake2b(signed, digest_size=16).digest(),
        issued_at=int(_seconds(claims, "iat", 0) * 1000),
        expires_at=_lifetime(claims, now),
    )
    return _principal(claims, login)


def _seconds(claims: dict[str, object], name: str, default: float) -> float:
    given = claims.get(name, default)
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= 1e12:
        raise AuthenticationError(f"The token's `{name}` is not a number of seconds since 1970.")
    return given


def _lifetime(claims: dict[str, object], now: Instant) -> Instant:
    expires_at = int(_seconds(claims, "exp", 0) * 1000)
    if now < int(_seconds(claims, "nbf", 0) * 1000) - _LEEWAY_MS:
        raise AuthenticationError("The token is not good yet; compare the clocks.")
    if now >= expires_at:
        raise expired()
    return expires_at


def expired() -> AuthenticationError:
    """The refusal of what was good once."""
    return AuthenticationError(
        "The token has expired; make a new one with `marketbell token create`."
    )


def _principal(claims: dict[str, object], login: Login) -> Principal:
    subject = claims["sub"]
    organization = claims.get("org")
    scopes = _words(claims, "scopes")
    try:
        if organization is None:
            if isinstance(subject, str):
                check_subjects(subject, None)
                return Principal(subject, None, scopes, login=login)
        elif isinstance(organization, str) and isinstance(subject, str):
            check_subjects(organization, subject)
            flags = _words(claims, "feature_flags") or frozenset()
            return Principal(organization, subject, scopes, flags, login=login)
    except InvalidError as fault:
        raise AuthenticationError(f"The token's subject is wrong: {fault.detail}") from None
    raise AuthenticationError("The token's `sub` and `org` must be strings.")


def _words(claims: dict[str, object], name: str) -> frozenset[str] | None:
    """A list of words among the claims; a word that nobody knows means nothing."""
    given = claims.get(name)
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > WORDS_MAX:
        raise AuthenticationError(f"The token's `{name}` are not a short list of words.")
    return frozenset(word for word in given if isinstance(word, str))


def check_subjects(organization: str, application: str | None) -> None:
    """Return if an organization, and an application's id, have the shape that they must have."""
    check_organization(organization, ("org",))
    if application is not None and not ids.is_id(ids.APPLICATION, application):
        raise InvalidError(
            ("application",),
            "An application's token names it by its id, `app_` and 27 letters and digits.",
        )
