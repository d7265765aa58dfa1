"""Sellers in the portal: let in with a one-time code, which is exchanged for a session."""

from __future__ import annotations

import base64
import secrets
from hashlib import blake2b
from typing import Final

import msgspec

from marketbell.control import applications
from marketbell.control.applications import ApplicationChange
from marketbell.control.services import Services
from marketbell.control.shapes import check_name
from marketbell.control.tokens import WORDS_MAX, Principal, create_token
from marketbell.errors import ForbiddenError, InvalidError, NotFoundError
from marketbell.model import NEVER, Application, Instant, Millis
from marketbell.store.base import Once, PortalGrant, PortalSession, Repeated

HOUR_S: Final = 3_600
EXPIRY_MAX_S: Final = 28 * 86_400
"""How long a token of an application is good for, at most and by default."""
CODE_MS: Final[Millis] = 600_000
"""How long a link to the portal may be used."""
CODES_MAX: Final = 1_000
SESSIONS_MAX: Final = 1_000
"""Unused links, and sessions, of one application."""
FLAGS_MAX: Final = WORDS_MAX
FLAGS_CHARACTERS_MAX: Final = 4_096
"""Feature flags of one link, and the characters of all of them: they travel in its token."""

_SECRET_BYTES: Final = 32
_BASE: Final = frozenset({"application:read", "endpoint:read", "event-type:read", "message:read"})
CAPABILITIES: Final = {
    "ViewBase": _BASE,
    "ViewEndpointSecret": _BASE,
    "ManageEndpointSecret": _BASE | {"endpoint:secret"},
    "ManageTransformations": _BASE,
    "CreateAttempts": _BASE | {"message:write"},
    "ManageEndpoint": _BASE | {"endpoint:secret", "endpoint:write"},
}
"""
What each capability lets the token do, as scopes; there are no transformations to manage.

The scope for secrets is to see and to rotate them. Who may see them alone sees them in the portal.
"""
_SECRETS: Final = "endpoint:secret"
_ROTATE: Final = frozenset({"ManageEndpointSecret", "ManageEndpoint"})
_SEE: Final = _ROTATE | {"ViewEndpointSecret"}


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says of whom it lets in; None is not said."""

    application: ApplicationChange | None = None
    """What the application is to be if there is none; it must be good in any case."""
    capabilities: tuple[str, ...] | None = None
    read_only: bool = False
    feature_flags: tuple[str, ...] = ()
    expires_in_s: int | None = None
    session_id: str | None = None


class PortalLink(msgspec.Struct, frozen=True):
    """A way into the portal, and a token that may do the same over the API."""

    url: str
    token: str


async def let_in(
    services: Services,
    principal: Principal,
    ref: str,
    request: AccessRequest,
    *,
    once: Once | None = None,
) -> PortalLink:
    """
    A link that lets one browser into the application's portal, within ten minutes and once.

    A repeated request gets a link of its own: the first one's secrets are not kept. InvalidError;
    NotFoundError; ForbiddenError for a key that would give more than it has; LimitReachedError.
    """
    _check(request)
    scopes, sees, rotates = _granted(principal, request)
    signing_key = _signing_key(services)
    application = await _application(services, principal, ref, request)
    now = services.clock.real_now()
    ttl_s = EXPIRY_MAX_S if request.expires_in_s is None else request.expires_in_s
    until = min(now + ttl_s * 1000, _own_end(principal))
    token = create_token(
        signing_key,
        application.organization,
        now,
        until - now,
        application.public_id,
        scopes=scopes,
        feature_flags=frozenset(request.feature_flags),
        algorithm=services.settings.jwt_algorithm,
    )
    code = secrets.token_urlsafe(_SECRET_BYTES)
    session_until = now + CODE_MS + services.settings.portal_session
    grant = PortalGrant(
        organization=application.organization,
        application=application.public_id,
        scopes=scopes,
        sees_secrets=sees,
        rotates=rotates,
        feature_flags=frozenset(request.feature_flags),
        session_id=request.session_id,
        session_until=min(session_until, until),
    )
    for mark in (once, None):
        kept = await services.store.keep_portal_code(
            digest_of(code),
            grant,
            now=now,
            expires_at=min(now + CODE_MS, until),
            codes_max=CODES_MAX,
            once=mark,
        )
        if not isinstance(kept, Repeated):
            break
    return PortalLink(f"{services.site.url}/portal/login?code={code}", token)


async def sign_in(services: Services, code: str) -> str:
    """The secret of a new session. NotFoundError for a code that is not, or no longer, good."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    session = await services.store.open_portal_session(
        digest_of(code), digest_of(secret), now=services.clock.real_now(), sessions_max=SESSIONS_MAX
    )
    if await _ended(services, session, digest_of(secret)):
        await sign_out(services, secret)
        raise NotFoundError("This link has been revoked; ask for a new one.")
    return secret


async def signed_in(services: Services, secret: str) -> tuple[Principal, PortalSession] | None:
    """Who comes with the secret of a session, and what it may; None if it is over or was ended."""
    digest = digest_of(secret)
    try:
        session = await services.store.portal_session(digest, now=services.clock.real_now())
    except NotFoundError:
        return None
    if await _ended(services, session, digest):
        return None
    grant = session.grant
    named = f" ({grant.session_id})" if grant.session_id else ""
    principal = Principal(
        grant.organization,
        grant.application,
        grant.scopes,
        grant.feature_flags,
        actor=f"portal {grant.application}{named}",
    )
    return principal, session


async def sign_out(services: Services, secret: str) -> None:
    """End a session."""
    await services.store.end_portal_session(digest_of(secret))


def digest_of(secret: str) -> bytes:
    """What is kept of a code or of a session's secret: 256 random bits need no slow hash."""
    return blake2b(secret.encode("utf-8", "replace"), digest_size=32).digest()


def form_token(secret: str) -> str:
    """What the forms of a session send along, so that no other site's can."""
    made = blake2b(b"form", key=digest_of(secret), digest_size=24).digest()
    return base64.urlsafe_b64encode(made).decode()


async def _ended(services: Services, session: PortalSession, digest: bytes) -> bool:
    grant = session.grant
    ends_at = await services.store.token_end(
        grant.organization, grant.application, digest, session.granted_at
    )
    return ends_at is not None and ends_at <= services.clock.real_now()


async def _application(
    services: Services, principal: Principal, ref: str, request: AccessRequest
) -> Application:
    if request.application is not None:
        with applications.brought_along():
            applications.draft_of(services, request.application, None)
    try:
        return await applications.get(services, principal, ref)
    except NotFoundError:
        if request.application is None:
            raise
    with applications.brought_along():
        found, _new = await applications.replace(services, principal, ref, request.application)
    return found


def _check(request: AccessRequest) -> None:
    if request.expires_in_s is not None and not HOUR_S <= request.expires_in_s <= EXPIRY_MAX_S:
        raise InvalidError(("body", "expiry"), f"The expiry is {HOUR_S} to {EXPIRY_MAX_S} seconds")
    if request.session_id is not None:
        check_name(request.session_id, ("body", "sessionId"), "A session's id")
    if len(request.feature_flags) > FLAGS_MAX:
        raise InvalidError(("body", "featureFlags"), f"At most {FLAGS_MAX} feature flags")
    for place, flag in enumerate(request.feature_flags):
        check_name(flag, ("body", "featureFlags", place), "A feature flag")
    if sum(map(len, request.feature_flags)) > FLAGS_CHARACTERS_MAX:
        raise InvalidError(
            ("body", "featureFlags"),
            f"The feature flags have more than {FLAGS_CHARACTERS_MAX} characters together",
        )
    for place, name in enumerate(request.capabilities or ()):
        if name not in CAPABILITIES:
            raise InvalidError(
                ("body", "capabilities", place),
                f"{name[:64]!r} is no capability; there are {', '.join(CAPABILITIES)}",
            )
    if request.capabilities is not None and "ViewBase" not in request.capabilities:
        raise InvalidError(
            ("body", "capabilities"), "ViewBase is always required; add it to the list"
        )
    if request.read_only and set(request.capabilities or ()) - {"ViewBase"}:
        raise InvalidError(
            ("body", "readOnly"), "A read-only portal has the capability ViewBase alone"
        )


def _granted(
    principal: Principal, request: AccessRequest
) -> tuple[frozenset[str] | None, bool, bool]:
    """The scopes of session and token, and whether the session may see, and rotate, secrets."""
    names = ("ViewBase",) if request.read_only else request.capabilities
    if names is None:
        own = principal.scopes
        secret = own is None or _SECRETS in own
        return own, secret, secret
    wanted = frozenset[str]().union(*(CAPABILITIES[name] for name in names))
    sees, rotates = not _SEE.isdisjoint(names), not _ROTATE.isdisjoint(names)
    needed = wanted | {_SECRETS} if sees else wanted
    beyond = () if principal.scopes is None else needed - principal.scopes
    if beyond:
        raise ForbiddenError(
            f"This key cannot give what it does not have: {', '.join(sorted(beyond))}."
        )
    return wanted, sees, rotates


def _own_end(principal: Principal) -> Instant:
    """What a key makes ends with it at the latest."""
    login = principal.login
    return NEVER if login is None or login.key is None else login.expires_at


def _signing_key(services: Services) -> bytes:
    settings = services.settings
    key = settings.jwt_private_key if settings.jwt_asymmetric else settings.jwt_secret
    if not key:
        raise ForbiddenError(
            "This server cannot sign tokens: its setting jwt_private_key is not there."
        )
    return key
