"""One-time codes and sessions of the portal, kept by their digests."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marketbell.errors import LimitReachedError, NotFoundError
from marketbell.model import Instant
from marketbell.store.base import Once, Repeated
from marketbell.store.once import once as once_only
from marketbell.store.portal_plane import PortalGrant, PortalSession
from marketbell.store.resource import Resource
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("portal")

_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode
_GRANT: Final = msgspec.json.Decoder(PortalGrant)


class PortalResource(Resource):
    """PortalAccess over a writer and readers."""

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
        """See PortalAccess.keep_portal_code."""
        of_it: dict[str, Value] = {
            "organization": grant.organization,
            "application": grant.application,
            "now": now,
        }

        def keep(transaction: Transaction) -> None:
            live: Any = transaction.row(_SQL["portal_codes_live"], {**of_it, "limit": codes_max})
            if live[0] >= codes_max:
                raise LimitReachedError(
                    f"The application has {codes_max} links to the portal that nobody has used; "
                    "use one of them, or wait until they expire."
                )
            transaction.change(
                _SQL["portal_code_insert"],
                {
                    **of_it,
                    "digest": digest,
                    "granted": _ENCODE(grant).decode(),
                    "expires_at": expires_at,
                },
            )

        return await self._write(
            lambda transaction: once_only(transaction, once, now, lambda: keep(transaction))
        )

    async def open_portal_session(
        self, code: bytes, session: bytes, *, now: Instant, sessions_max: int
    ) -> PortalSession:
        """See PortalAccess.open_portal_session."""
        opened = None
        # Anybody may come with a guess; what is no code costs no write.
        if await self._read(lambda look: look.row(_SQL["portal_code_there"], {"digest": code})):
            opened = await self._write(
                lambda transaction: _open(transaction, code, session, now, sessions_max)
            )
        if opened is None:
            raise NotFoundError("This link was used already, or it has expired; ask for a new one.")
        return opened

    async def portal_session(self, digest: bytes, *, now: Instant) -> PortalSession:
        """See PortalAccess.portal_session."""
        row: Any = await self._read(
            lambda transaction: transaction.row(
                _SQL["portal_session"], {"digest": digest, "now": now}
            )
        )
        if row is None:
            raise NotFoundError("There is no such session.")
        return PortalSession(grant=_GRANT.decode(row[0]), granted_at=row[1])

    async def end_portal_session(self, digest: bytes) -> None:
        """See PortalAccess.end_portal_session."""
        await self._write(
            lambda transaction: transaction.change(
                _SQL["portal_session_delete"], {"digest": digest}
            )
        )


def _open(
    transaction: Transaction, code: bytes, session: bytes, now: Instant, sessions_max: int
) -> PortalSession | None:
    """The session; None for a code that is not good, which is gone all the same."""
    row: Any = transaction.row(_SQL["portal_code_take"], {"digest": code})
    if row is None or row[2] <= now:
        return None
    grant = _GRANT.decode(row[0])
    if grant.session_until <= now:
        return None
    of_it: dict[str, Value] = {"organization": grant.organization, "application": grant.application}
    transaction.change(
        _SQL["portal_session_insert"],
        {
            **of_it,
            "digest": session,
            "granted": row[0],
            "granted_at": row[1],
            "now": now,
            "expires_at": grant.session_until,
        },
    )
    transaction.change(_SQL["portal_sessions_over"], {**of_it, "kept": sessions_max})
    return PortalSession(grant=grant, granted_at=row[1])
