"""Every request's caller: let in, held against the table, and against the application in the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from marketbell import ids
from marketbell.api.access import Table
from marketbell.api.answers import Scope
from marketbell.api.call import Access, Operation
from marketbell.control import applications
from marketbell.control.gate import Gate, GateLimits
from marketbell.control.origins import Peer, Sources
from marketbell.control.services import Services
from marketbell.control.tokens import Principal, TokenKey
from marketbell.errors import AuthenticationError, NotFoundError

WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

_NOBODY: Final = Principal("")


class Guard:
    """Who may do what on one server. Its gate remembers whom it has let in."""

    def __init__(self, services: Services, sources: Sources, table: Table) -> None:
        settings = services.settings
        limits = GateLimits(
            failed_logins=settings.failed_logins_max, requests=settings.requests_per_second_max
        )
        self.gate = Gate(
            services.store,
            TokenKey.of(settings),
            services.clock,
            limits,
            alone=not settings.on_postgresql,
        )
        self._services = services
        self._sources = sources
        self._table = table

    async def caller(self, peer: Peer, headers: Mapping[bytes, bytes]) -> Principal:
        """Whose token the headers have. AuthenticationError, RateLimitedError, StoreError."""
        authorization = headers.get(b"authorization")
        found = self.gate.known(authorization)
        if found is not None:
            return found
        return await self.gate.admit(authorization, self._sources.address(peer, headers))

    async def caller_of(
        self, operation: Operation, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> Principal:
        """
        The caller of an operation, if it may: told before anything of the body is looked at.

        Raises as `caller` does, ForbiddenError, and NotFoundError if the operation takes a body
        and its path names an application that is not the caller's. A token of an application
        that was deleted is good for nothing (AuthenticationError).
        """
        if operation.access is Access.NOBODY:
            return _NOBODY
        principal = await self.caller(scope["client"], headers)
        self._table[operation.method, operation.path].check(principal)
        ref = scope["path_params"].get("app_id")
        made_here = operation.makes_application and not ids.is_id(ids.APPLICATION, ref or "")
        if ref is not None and operation.method in WITH_BODY and not made_here:
            await applications.get(self._services, principal, ref)
        if ref is None and principal.application is not None:
            await self._check_there(principal, principal.application)
        return principal

    async def _check_there(self, principal: Principal, application: str) -> None:
        """Return if the application of a token is still there, where no path names it."""
        try:
            await applications.get(self._services, principal, application)
        except NotFoundError:
            raise AuthenticationError("The application of this token has been deleted.") from None
