"""Who calls: JSON Web Tokens made, verified and remembered until they expire."""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

import jwt
import msgspec

from marketbell import ids
from marketbell.clock import Clock
from marketbell.errors import AuthenticationError, InvalidError
from marketbell.model import Instant, Millis

ALGORITHM: Final = "HS256"
ISSUER: Final = "marketbell"
TOKEN_BYTES: Final = 8_192
"""The longest Authorization header that is looked at."""

_ORGANIZATION: Final = re.compile(r"org_[a-zA-Z0-9\-_.]{1,64}")
_SCHEME: Final = b"bearer "
_REMEMBERED: Final = 10_000
_LEEWAY_MS: Final = 60_000


class Principal(msgspec.Struct, frozen=True):
    """On whose behalf a request is made."""

    organization: str
    application: str | None = None
    """The one application that the token is for; None for an operator's token."""


class _Verified(msgspec.Struct, frozen=True):
    principal: Principal
    expires_at: Instant


def create_token(
    secret: bytes,
    organization: str,
    now: Instant,
    ttl: Millis,
    application: str | None = None,
) -> str:
    """
    A signed token for an organization, or for one application of it.

    An application's token names it by its public id. Raises InvalidError for an organization
    that is not `org_` and 1 to 64 of `a-z A-Z 0-9 - _ .`, and for an application that is no id.
    """
    _check_subjects(organization, application)
    issued = now // 1000
    claims: dict[str, object] = {
        "iss": ISSUER,
        "iat": issued,
        "nbf": issued,
        "exp": issued + max(1, ttl // 1000),
        "sub": organization,
    }
    if application is not None:
        claims |= {"sub": application, "org": organization}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


class TokenVerifier:
    """
    Tells whose token an Authorization header holds.

    A verified token is remembered by the digest of the header until it expires, the least
    recently used ones make room; so a token costs its signature's check once. Tokens live
    on real time: a scaled clock does not wear them out faster.
    """

    def __init__(self, secret: bytes, clock: Clock, *, remembered: int = _REMEMBERED) -> None:
        self._secret = secret
        self._clock = clock
        self._remembered = remembered
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._start = clock.now()
        self._start_monotonic = clock.monotonic()

    def principal(self, authorization: bytes | None) -> Principal:
        """The caller. Raises AuthenticationError for anything but a good Bearer token."""
        if not authorization or len(authorization) > TOKEN_BYTES:
            raise AuthenticationError(
                "Send a token in the header `Authorization: Bearer TOKEN`; "
                "`marketbell token create` makes one."
            )
        digest = blake2b(authorization, digest_size=16).digest()
        known = self._verified.get(digest)
        now = self._now()
        if known is not None:
            if now < known.expires_at:
                self._verified.move_to_end(digest)
                return known.principal
            del self._verified[digest]
            raise _expired()
        verified = self._verify(authorization, now)
        self._verified[digest] = verified
        if len(self._verified) > self._remembered:
            self._verified.popitem(last=False)
        return verified.principal

    def _now(self) -> Instant:
        clock = self._clock
        if clock.speed == 1.0:
            return clock.now()
        return self._start + int((clock.monotonic() - self._start_monotonic) * 1000)

    def _verify(self, authorization: bytes, now: Instant) -> _Verified:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise AuthenticationError("The Authorization header must read `Bearer TOKEN`.")
        token = authorization[len(_SCHEME) :].strip()
        if hmac.compare_digest(token, self._secret):
            raise AuthenticationError(
                "This is the signing secret itself, not a token; "
                "make a token from it with `marketbell token create`."
            )
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.MissingRequiredClaimError as fault:
            raise AuthenticationError(
                f"The token has no `{fault.claim}`; make a new one."
            ) from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise AuthenticationError(
                "Invalid token: it is malformed, or was not signed with this server's secret."
            ) from None
        return _Verified(_principal(claims), _lifetime(claims, now))


def _lifetime(claims: dict[str, object], now: Instant) -> Instant:
    expires = claims["exp"]
    if isinstance(expires, bool) or not isinstance(expires, int | float) or abs(expires) > 1e12:
        raise AuthenticationError("The token's `exp` is not a number of seconds since 1970.")
    begins = claims.get("nbf", 0)
    if isinstance(begins, bool) or not isinstance(begins, int | float) or abs(begins) > 1e12:
        raise AuthenticationError("The token's `nbf` is not a number of seconds since 1970.")
    if now < int(begins * 1000) - _LEEWAY_MS:
        raise AuthenticationError("The token is not good yet; compare the clocks.")
    expires_at = int(expires * 1000)
    if now >= expires_at:
        raise _expired()
    return expires_at


def _expired() -> AuthenticationError:
    return AuthenticationError(
        "The token has expired; make a new one with `marketbell token create`."
    )


def _principal(claims: dict[str, object]) -> Principal:
    subject = claims["sub"]
    organization = claims.get("org")
    try:
        if organization is None:
            if isinstance(subject, str):
                _check_subjects(subject, None)
                return Principal(subject)
        elif isinstance(organization, str) and isinstance(subject, str):
            _check_subjects(organization, subject)
            return Principal(organization, subject)
    except InvalidError as fault:
        raise AuthenticationError(f"The token's subject is wrong: {fault.detail}") from None
    raise AuthenticationError("The token's `sub` and `org` must be strings.")


def _check_subjects(organization: str, application: str | None) -> None:
    if not _ORGANIZATION.fullmatch(organization):
        raise InvalidError(
            ("org",),
            "An organization is named `org_` and 1 to 64 of the characters a-z A-Z 0-9 - _ .",
        )
    if application is not None and not ids.is_id(ids.APPLICATION, application):
        raise InvalidError(
            ("application",),
            "An application's token names it by its id, `app_` and 27 letters and digits.",
        )
