"""How sellers are let into the portal: one-time codes, and the sessions that they are exchanged for."""

from __future__ import annotations

from typing import Protocol

import msgspec

from marketbell.model import Instant
from marketbell.store.control_plane import Once, Repeated


class PortalGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who comes with a code may see and do."""

    organization: str
    application: str
    """A public id."""
    scopes: frozenset[str] | None = None
    """None for all that an application's own token may."""
    sees_secrets: bool = True
    rotates: bool = True
    """Whether it may see secrets, and make new ones."""
    feature_flags: frozenset[str] = frozenset()
    session_id: str | None = None
    """The operator's own name for the session."""
    session_until: Instant
    """When a session that was made from it ends."""


class PortalSession(msgspec.Struct, frozen=True, kw_only=True):
    """One browser that is signed in."""

    grant: PortalGrant
    granted_at: Instant
    """When its code was made: what ends tokens of before a later instant ends it too."""


class PortalAccess(Protocol):
    """Codes and sessions, found by the digests of their secrets; the secrets are nowhere."""

    async def keep_portal_code(
        self,
        digest: bytes,
        grant: PortalGrant,
        *,
        now: Instant,
        expires_at: Instant,
        codes_max: int,
        once: Once | None = None,
    ) -> Repeated | None:
        """Let this code be exchanged until then. LimitReachedError for more live ones of an application."""

    async def open_portal_session(
        self, code: bytes, session: bytes, *, now: Instant, sessions_max: int
    ) -> PortalSession:
        """
        Exchange a code for a session, once, whoever else comes with it at the same time.

        Of more than `sessions_max` of an application the oldest end. NotFoundError for a code
        that was never made, was used or has expired.
        """

    async def portal_session(self, digest: bytes, *, now: Instant) -> PortalSession:
        """A live session. NotFoundError."""

    async def end_portal_session(self, digest: bytes) -> None:
        """End a session now; no error if there is none."""
