"""Sellers of a marketplace: an application that speaks its dialect, and a user of its own API."""

from __future__ import annotations

import secrets
from typing import Final, cast

import msgspec

from marketbell.control import applications
from marketbell.control.applications import ApplicationChange
from marketbell.control.policy import PREFIX
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import ConflictError, InvalidError, MarketbellError
from marketbell.model import Application
from marketbell.store.base import Credential, Once, Repeated

OVOKO: Final = "ovoko"
SELLER_CENTER: Final = "sellercenter"
MARKETPLACES: Final = (OVOKO, SELLER_CENTER)
"""The marketplaces that have an API of their own here, each named as its dialect."""


class OvokoSecrets(msgspec.Struct, frozen=True):
    """What a seller of Ovoko proves itself with beside its user name."""

    password: str
    user_token: str


class NewLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A user of a marketplace's API that has just been made; its secrets are shown this once."""

    credential: Credential
    login: dict[str, str]
    """What its calls carry, by the API's own names: `username`, `password` and `user_token` at
    Ovoko, `UserID` and `ApiKey` at Seller Center."""

    def __repr__(self) -> str:
        """Without the secrets, so that no log line can hold them."""
        return f"NewLogin({self.credential.public_id})"


class NewSeller(msgspec.Struct, frozen=True, kw_only=True):
    """A seller that has just been made; its secrets are shown this once."""

    application: Application
    marketplace: str
    login: dict[str, str]
    """See NewLogin.login."""

    def __repr__(self) -> str:
        """Without the secrets, so that no log line can hold them."""
        return f"NewSeller({self.application.public_id}, {self.marketplace})"


async def create_seller(
    services: Services,
    principal: Principal,
    marketplace: str,
    name: str,
    *,
    uid: str | None = None,
    user: str | None = None,
) -> NewSeller:
    """
    A new application whose dialect is the marketplace's, with a user name and secrets.

    `user` is made up if it is not said. InvalidError; ConflictError if the uid or user is taken.
    """
    _check(marketplace)
    made = await applications.create(
        services,
        principal,
        ApplicationChange(name=name, uid=uid, metadata={PREFIX + "dialect": marketplace}),
    )
    if isinstance(made, Repeated):
        raise ConflictError("The request was made before.")
    try:
        added = await add_login(services, made, marketplace, user=user)
    except MarketbellError:
        await applications.delete(services, principal, made.public_id)
        raise
    # Without a mark nothing is a repetition.
    login = cast("NewLogin", added).login
    return NewSeller(application=made, marketplace=marketplace, login=login)


async def add_login(
    services: Services,
    application: Application,
    marketplace: str,
    *,
    user: str | None = None,
    once: Once | None = None,
) -> NewLogin | Repeated:
    """
    One more user for a seller's API, with its secrets; `once.render` is called with a NewLogin.

    InvalidError; ConflictError if the name is taken; LimitReachedError.
    """
    _check(marketplace)
    made_up = f"seller-{secrets.token_hex(4)}"
    if marketplace == OVOKO:
        known = OvokoSecrets(secrets.token_urlsafe(18), secrets.token_hex(20))
        login = {
            "username": made_up if user is None else user,
            "password": known.password,
            "user_token": known.user_token,
        }
        named, secret = login["username"], msgspec.json.encode(known)
    else:
        login = {
            "UserID": f"{made_up}@sellers.example" if user is None else user,
            "ApiKey": secrets.token_hex(20),
        }
        named, secret = login["UserID"], login["ApiKey"].encode()
    if not 1 <= len(named) <= 255 or not named.isprintable():
        raise InvalidError(("body", "user"), "The user name must be 1 to 255 printable characters")
    made = await services.store.create_credential(
        application.id,
        marketplace,
        named,
        secret,
        now=services.clock.now(),
        once=None if once is None else _with_login(once, login),
    )
    return made if isinstance(made, Repeated) else NewLogin(credential=made, login=login)


async def logins(services: Services, application: Application) -> tuple[Credential, ...]:
    """All users of a seller's APIs, by marketplace and name."""
    return await services.store.credentials(application.id)


async def login(services: Services, application: Application, public_id: str) -> Credential:
    """One user of a seller's APIs. NotFoundError."""
    return await services.store.credential_of(application.id, public_id)


async def remove_login(services: Services, application: Application, public_id: str) -> None:
    """Let one user of a seller's APIs log in no more, from its next call on. NotFoundError."""
    await services.store.delete_credential(application.id, public_id)


def _with_login(once: Once, login: dict[str, str]) -> Once:
    def render(made: object) -> bytes:
        return once.render(NewLogin(credential=cast("Credential", made), login=login))

    return Once(once.idempotency, render)


def _check(marketplace: str) -> None:
    """Return if there is such a marketplace; else raise InvalidError."""
    if marketplace not in MARKETPLACES:
        raise InvalidError(
            ("body", "marketplace"),
            f"There is no marketplace {marketplace[:64]!r}; use one of: {', '.join(MARKETPLACES)}",
        )
