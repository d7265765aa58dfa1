"""`/api/v1/auth/app-portal-access/{app_id}`: a link and a token that let a seller in, on the wire."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.api.answers import Answer, answer_of
from marketbell.api.applications import ApplicationIn
from marketbell.api.call import Access, Call, Operation
from marketbell.api.wire import Decoder
from marketbell.control import portal
from marketbell.control.portal import AccessRequest

PATH: Final = "/api/v1/auth/app-portal-access/{app_id}"
OLD_PATH: Final = "/api/v1/auth/dashboard-access/{app_id}"


class AppPortalAccessIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What the link and the token are to allow, and for how long."""

    application: ApplicationIn | None = None
    """What the application is to be, if the path names none that exists."""
    capabilities: tuple[str, ...] | None = None
    """Left out: all."""
    read_only: bool | None = None
    feature_flags: tuple[str, ...] | None = None
    expiry: int | None = None
    """Of the token, in seconds."""
    session_id: str | None = None

    def request(self) -> AccessRequest:
        """What it says."""
        return AccessRequest(
            application=None if self.application is None else self.application.change(),
            capabilities=self.capabilities,
            read_only=bool(self.read_only),
            feature_flags=self.feature_flags or (),
            expires_in_s=self.expiry,
            session_id=self.session_id,
        )


class AppPortalAccessOut(msgspec.Struct, frozen=True):
    """A link for one browser, good for ten minutes, and a token of the application."""

    url: str
    token: str


_IN: Final = Decoder(AppPortalAccessIn)


async def _grant(call: Call) -> Answer:
    link = await portal.let_in(
        call.services,
        call.principal,
        call.path["app_id"],
        _IN(call.body or b"{}").request(),
        once=call.once(lambda _made: b"{}"),
    )
    return answer_of(AppPortalAccessOut(link.url, link.token))


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.authentication.app-portal-access",
        summary="Makes a one-time link to the seller's portal, and a token of the application.",
        takes=AppPortalAccessIn,
        gives={200: AppPortalAccessOut},
        access=Access.OPERATOR,
        makes_application=True,
        work=_grant,
    ),
    Operation(
        method="POST",
        path=OLD_PATH,
        name="v1.authentication.dashboard-access",
        summary="The older name of app-portal-access.",
        takes=AppPortalAccessIn,
        gives={200: AppPortalAccessOut},
        access=Access.OPERATOR,
        makes_application=True,
        work=_grant,
    ),
)
