"""`/api/v1/app/{app_id}/marketplace-login`: users of the marketplaces' own APIs, on the wire."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, cast

import msgspec

from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.wire import Decoder
from marketbell.control import applications, sellers
from marketbell.control.sellers import NewLogin
from marketbell.store.base import Credential, Repeated

PATH: Final = "/api/v1/app/{app_id}/marketplace-login"
ONE: Final = f"{PATH}/{{login_id}}"

_READ: Final = "access:read"
_WRITE: Final = "access:write"

Marketplace: TypeAlias = Literal["ovoko", "sellercenter"]


class MarketplaceLoginIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose API a new user is for."""

    marketplace: Marketplace
    user: str | None = None
    """Its name, 1 to 255 printable characters; null to have one made up."""


class MarketplaceLoginOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of a user of a marketplace's API."""

    id: str
    marketplace: str
    user: str
    """Its name."""
    created_at: str


class NewMarketplaceLoginOut(MarketplaceLoginOut, frozen=True, rename="camel", kw_only=True):
    """A new user, with what is shown this once."""

    login: dict[str, str]
    """What its calls carry, by that API's own names: `username`, `password` and `user_token` at
    Ovoko, `UserID` and `ApiKey` at Seller Center."""


class MarketplaceLoginsOut(msgspec.Struct, frozen=True):
    """All of an application's users."""

    data: tuple[MarketplaceLoginOut, ...]
    """By marketplace and name."""


_IN: Final = Decoder(MarketplaceLoginIn)


def _fields(credential: Credential) -> dict[str, str]:
    return {
        "id": credential.public_id,
        "marketplace": credential.marketplace,
        "user": credential.user,
        "created_at": iso(credential.created_at),
    }


def _shown(credential: Credential) -> MarketplaceLoginOut:
    return MarketplaceLoginOut(**_fields(credential))


def _rendered(made: object) -> bytes:
    new = cast("NewLogin", made)
    return msgspec.json.encode(NewMarketplaceLoginOut(**_fields(new.credential), login=new.login))


async def _create(call: Call) -> Answer:
    given = _IN(call.body)
    application = await applications.get(call.services, call.principal, call.path["app_id"])
    made = await sellers.add_login(
        call.services,
        application,
        given.marketplace,
        user=given.user,
        once=call.once_of_caller(_rendered),
    )
    return Answer(201, made.answer if isinstance(made, Repeated) else _rendered(made))


async def _list(call: Call) -> Answer:
    application = await applications.get(call.services, call.principal, call.path["app_id"])
    known = await sellers.logins(call.services, application)
    return answer_of(MarketplaceLoginsOut(tuple(map(_shown, known))))


async def _get(call: Call) -> Answer:
    application = await applications.get(call.services, call.principal, call.path["app_id"])
    return answer_of(_shown(await sellers.login(call.services, application, call.path["login_id"])))


async def _delete(call: Call) -> Answer:
    application = await applications.get(call.services, call.principal, call.path["app_id"])
    await sellers.remove_login(call.services, application, call.path["login_id"])
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.marketplace-login.create",
        summary="Makes a user of a marketplace's own API for a seller; the answer alone has its secrets.",
        takes=MarketplaceLoginIn,
        gives={201: NewMarketplaceLoginOut},
        access=Access.OPERATOR,
        scope=_WRITE,
        work=_create,
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.marketplace-login.list",
        summary="Lists a seller's users of marketplaces' APIs, 100 at most, without their secrets.",
        gives={200: MarketplaceLoginsOut},
        access=Access.OPERATOR,
        scope=_READ,
        work=_list,
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.marketplace-login.get",
        summary="One user of a marketplace's API, without its secrets.",
        gives={200: MarketplaceLoginOut},
        access=Access.OPERATOR,
        scope=_READ,
        work=_get,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="v1.marketplace-login.delete",
        summary="Lets a user of a marketplace's API log in no more, from its next call on.",
        gives={204: None},
        access=Access.OPERATOR,
        scope=_WRITE,
        work=_delete,
    ),
)
