"""
API keys: opaque, revocable tokens with scopes; made and revoked, and other tokens ended with them.

A key is its public id, `_` and a secret of 32 random bytes: `mbk_...27..._...43...`. It has no dot,
since SDKs read a region from what follows the last one. Of the secret only a BLAKE2b digest is kept.
A slow hash is for what people choose: 256 random bits cannot be guessed at any speed, and every
login would pay for it.
"""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b
from typing import Final, cast

import msgspec

from marketbell import ids
from marketbell.control.scopes import SCOPES, check_scopes
from marketbell.control.shapes import NAME_MAX, check_text
from marketbell.control.tokens import Principal
from marketbell.errors import ForbiddenError, InvalidError
from marketbell.model import NEVER, Instant
from marketbell.store.base import AccessControl, ApiKey, ApiKeyDraft, Once, Repeated

EXPIRY_MAX_S: Final = 3650 * 86_400
SECRET_BYTES: Final = 32

_KEY: Final = re.compile(rb"(mbk_[0-9A-Za-z]{27})_([0-9A-Za-z_-]{43})")


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of a new key; None is not said."""

    name: str
    scopes: tuple[str, ...] | None = None
    """None for all that the caller has itself."""
    application: str | None = None
    """The public id of the one application that it is for."""
    expires_in_s: int | None = None


class NewKey(msgspec.Struct, frozen=True):
    """A key and, this once, the whole of it."""

    key: ApiKey
    token: str


def parse(token: bytes) -> tuple[str, bytes] | None:
    """The public id and the digest of the secret, if this has the shape of an API key."""
    found = _KEY.fullmatch(token)
    return None if found is None else (found[1].decode("ascii"), digest_of(found[2]))


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret."""
    return blake2b(secret, digest_size=32, person=b"marketbell-token").digest()


async def create(
    store: AccessControl,
    principal: Principal,
    request: KeyRequest,
    *,
    now: Instant,
    keys_max: int,
    once: Once | None = None,
) -> NewKey | Repeated:
    """
    A new key for the caller's organization; made by a key, it can do no more and lives no longer.

    The application, if one is named, must be known to exist. `once.render` is called with a
    NewKey. InvalidError; ForbiddenError; LimitReachedError.
    """
    check_text(request.name, ("body", "name"), limit=NAME_MAX, least=1)
    secret = secrets.token_urlsafe(SECRET_BYTES)
    public_id = ids.new_id(ids.API_KEY, now)
    draft = ApiKeyDraft(
        public_id=public_id,
        organization=principal.organization,
        application=request.application,
        name=request.name,
        scopes=_granted(principal, request.scopes),
        expires_at=_end(principal, request.expires_in_s, now),
        digest=digest_of(secret.encode("ascii")),
    )
    token = f"{public_id}_{secret}"
    mark = None if once is None else _with_token(once, token)
    made = await store.create_api_key(draft, now=now, keys_max=keys_max, once=mark)
    return made if isinstance(made, Repeated) else NewKey(made, token)


async def revoke(
    store: AccessControl, principal: Principal, public_id: str, *, now: Instant, after_s: int = 0
) -> ApiKey:
    """Let a key end `after_s` from now, or earlier if that was said before. NotFoundError."""
    check_expiry(after_s)
    ends_at = now + after_s * 1000
    return await store.end_api_key(principal.organization, public_id, ends_at=ends_at)


async def expire_all(
    store: AccessControl,
    principal: Principal,
    application: str | None,
    *,
    now: Instant,
    after_s: int = 0,
    once: Once | None = None,
) -> None:
    """
    Let every token and key that was made before now end `after_s` from now.

    Of one application by its public id; with None of the caller's whole organization, the
    caller's own among them. LimitReachedError.
    """
    check_expiry(after_s)
    await store.end_tokens(
        principal.organization,
        application,
        issued_before=now,
        ends_at=now + after_s * 1000,
        now=now,
        once=once,
    )


async def log_out(store: AccessControl, principal: Principal, *, now: Instant) -> None:
    """Let the very token or key that the caller came with end now."""
    login = principal.login
    if login is None:
        raise ForbiddenError("This is no token that could be ended.")
    if login.key is not None:
        await store.end_api_key(principal.organization, login.key, ends_at=now)
    else:
        await store.end_token(
            principal.organization, login.digest, expires_at=login.expires_at, now=now
        )


def check_expiry(after_s: int) -> None:
    """Return if this is 0 seconds to ten years; else raise InvalidError."""
    if not 0 <= after_s <= EXPIRY_MAX_S:
        raise InvalidError(
            ("body", "expiry"), f"The expiry is 0 to {EXPIRY_MAX_S} seconds, or left out for now"
        )


def _granted(principal: Principal, wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The scopes of a new key, in the order of the table."""
    if wanted is None:
        if principal.scopes is None:
            return None
        wanted = tuple(scope for scope in SCOPES if scope in principal.scopes)
    check_scopes(wanted, ("body", "scopes"))
    if not wanted:
        raise InvalidError(("body", "scopes"), "The list is empty; name a scope, or leave it out")
    beyond = () if principal.scopes is None else set(wanted) - principal.scopes
    if beyond:
        raise ForbiddenError(
            f"This key cannot give what it does not have: {', '.join(sorted(beyond))}."
        )
    return tuple(scope for scope in SCOPES if scope in wanted)


def _end(principal: Principal, expires_in_s: int | None, now: Instant) -> Instant | None:
    """When a new key expires; what a key makes expires with it at the latest."""
    login = principal.login
    own = NEVER if login is None or login.key is None else login.expires_at
    if expires_in_s is None:
        return None if own >= NEVER else own
    if not 1 <= expires_in_s <= EXPIRY_MAX_S:
        raise InvalidError(
            ("body", "expiry"),
            f"A key is good for 1 to {EXPIRY_MAX_S} seconds; left out it has no end",
        )
    wanted = now + expires_in_s * 1000
    if wanted > own:
        raise ForbiddenError("This key cannot make one that outlives it; name an earlier end.")
    return wanted


def _with_token(once: Once, token: str) -> Once:
    def render(made: object) -> bytes:
        return once.render(NewKey(cast("ApiKey", made), token))

    return Once(once.idempotency, render)
