"""`/api/v1/auth`: API keys made, shown and revoked, and tokens ended, on the wire."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, ListOut, list_of, page_of
from marketbell.api.wire import Decoder, Nothing
from marketbell.control import api_keys, applications
from marketbell.control.api_keys import KeyRequest, NewKey
from marketbell.errors import InvalidError
from marketbell.store.base import ApiKey, Repeated

PATH: Final = "/api/v1/auth/api-token"
ONE: Final = f"{PATH}/{{key_id}}"
EXPIRE: Final = f"{ONE}/expire"
EXPIRE_ALL: Final = "/api/v1/auth/app/{app_id}/expire-all"
EXPIRE_ORGANIZATION: Final = "/api/v1/auth/organization/expire-all"
LOGOUT: Final = "/api/v1/auth/logout"

_SESSIONS: Final = ("body", "sessionIds")


class ApiKeyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a new key is to be."""

    name: str
    scopes: list[str] | None = None
    """Null for everything that the caller may do."""
    app_id: str | None = None
    """The one application that it is for, by id or uid."""
    expiry: int | None = None
    """Seconds that it is good for; null for no end."""


class ApiKeyOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of a key."""

    id: str
    name: str
    scopes: tuple[str, ...] | None
    app_id: str | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    """To about a minute."""
    revoked_at: str | None
    """From when on it is revoked; may lie ahead."""


class NewKeyOut(ApiKeyOut, frozen=True, rename="camel", kw_only=True):
    """A new key, with what is shown this once."""

    token: str


class ExpireIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a key is to end."""

    expiry: int | None = None
    """Seconds from now; null or 0 for now."""


class ExpireAllIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """When an application's tokens are to end."""

    expiry: int | None = None
    """Seconds from now; null or 0 for now."""
    session_ids: list[str] | None = None
    """Null or empty: tokens here have no sessions."""


class ExpireOrganizationIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When all of an organization's tokens are to end."""

    organization: str
    """The caller's own, so that nobody ends another's by mistake."""
    expiry: int | None = None
    """Seconds from now; null or 0 for now."""


_IN: Final = Decoder(ApiKeyIn)
_EXPIRE: Final = Decoder(ExpireIn)
_EXPIRE_ALL: Final = Decoder(ExpireAllIn)
_EXPIRE_ORGANIZATION: Final = Decoder(ExpireOrganizationIn)


def shown(key: ApiKey) -> ApiKeyOut:
    """A key on the wire."""
    return ApiKeyOut(**_fields(key))


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.public_id,
        "name": key.name,
        "scopes": key.scopes,
        "app_id": key.application,
        "created_at": iso(key.created_at),
        "expires_at": _iso(key.expires_at),
        "last_used_at": _iso(key.last_used_at),
        "revoked_at": _iso(key.ends_at),
    }


def _iso(instant: int | None) -> str | None:
    return None if instant is None else iso(instant)


def shown_once(new: NewKey) -> NewKeyOut:
    """A new key on the wire, with the whole of it."""
    return NewKeyOut(**_fields(new.key), token=new.token)


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(shown_once(cast("NewKey", made)))


async def _create(call: Call) -> Answer:
    given = _IN(call.body)
    application = None
    if given.app_id is not None:
        found = await applications.get(call.services, call.principal, given.app_id)
        application = found.public_id
    made = await api_keys.create(
        call.services.store,
        call.principal,
        KeyRequest(
            name=given.name,
            scopes=None if given.scopes is None else tuple(given.scopes),
            application=application,
            expires_in_s=given.expiry,
        ),
        now=call.services.clock.real_now(),
        keys_max=call.services.settings.api_keys_max,
        once=call.once_of_caller(_rendered),
    )
    return Answer(201, made.answer if isinstance(made, Repeated) else _rendered(made))


async def _list(call: Call) -> Answer:
    page = page_of(call.query, ids.API_KEY)
    part = await call.services.store.api_keys(call.principal.organization, page)
    return answer_of(list_of(part, shown, lambda key: key.public_id))


async def _get(call: Call) -> Answer:
    organization = call.principal.organization
    return answer_of(shown(await call.services.store.api_key(organization, call.path["key_id"])))


async def _expire(call: Call) -> Answer:
    await api_keys.revoke(
        call.services.store,
        call.principal,
        call.path["key_id"],
        now=call.services.clock.real_now(),
        after_s=_EXPIRE(call.body or b"{}").expiry or 0,
    )
    return NO_CONTENT


async def _expire_all(call: Call) -> Answer:
    application = await applications.get(call.services, call.principal, call.path["app_id"])
    given = _EXPIRE_ALL(call.body or b"{}")
    if given.session_ids:
        raise InvalidError(_SESSIONS, "Tokens have no sessions here; leave it out to end all")
    await _end_all(call, application.public_id, given.expiry)
    return NO_CONTENT


async def _expire_organization(call: Call) -> Answer:
    given = _EXPIRE_ORGANIZATION(call.body)
    if given.organization != call.principal.organization:
        raise InvalidError(
            ("body", "organization"),
            f"This token is of {call.principal.organization}; name that one, or use another token",
        )
    await _end_all(call, None, given.expiry)
    return NO_CONTENT


async def _end_all(call: Call, application: str | None, expiry: int | None) -> None:
    await api_keys.expire_all(
        call.services.store,
        call.principal,
        application,
        now=call.services.clock.real_now(),
        after_s=expiry or 0,
        once=call.once(lambda _made: b""),
    )


async def _log_out(call: Call) -> Answer:
    services = call.services
    await api_keys.log_out(services.store, call.principal, now=services.clock.real_now())
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.authentication.create-api-token",
        summary="Makes an API key; the answer alone has the key itself.",
        takes=ApiKeyIn,
        gives={201: NewKeyOut},
        access=Access.OPERATOR,
        work=_create,
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.authentication.list-api-tokens",
        summary="Lists API keys, oldest first; ended ones for 90 days.",
        gives={200: ListOut[ApiKeyOut]},
        access=Access.OPERATOR,
        work=_list,
        query=ORDERED,
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.authentication.get-api-token",
        summary="One API key.",
        gives={200: ApiKeyOut},
        access=Access.OPERATOR,
        work=_get,
    ),
    Operation(
        method="POST",
        path=EXPIRE,
        name="v1.authentication.expire-api-token",
        summary="Revokes an API key, now or after `expiry` seconds.",
        takes=ExpireIn,
        gives={204: None},
        access=Access.OPERATOR,
        work=_expire,
    ),
    Operation(
        method="POST",
        path=EXPIRE_ALL,
        name="v1.authentication.expire-all",
        summary="Ends every token and key of an application that was made before now.",
        takes=ExpireAllIn,
        gives={204: None},
        access=Access.OPERATOR,
        work=_expire_all,
    ),
    Operation(
        method="POST",
        path=EXPIRE_ORGANIZATION,
        name="v1.authentication.expire-organization",
        summary="Ends every token and key of the organization that was made before now, this one too.",
        takes=ExpireOrganizationIn,
        gives={204: None},
        access=Access.OPERATOR,
        work=_expire_organization,
    ),
    Operation(
        method="POST",
        path=LOGOUT,
        name="v1.authentication.logout",
        summary="Ends the very token or key that it is called with.",
        takes=Nothing,
        gives={204: None},
        access=Access.TOKEN,
        work=_log_out,
    ),
)
