"""An organization's API keys and tokens, as commands see them: on a server, or in the database itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, cast

import msgspec

from marketbell.cli.local import must_be_there
from marketbell.cli.remote import Remote
from marketbell.errors import LockedError, SettingsError
from marketbell.settings import Settings, ensure_secrets

if TYPE_CHECKING:
    from marketbell.control.tokens import Principal
    from marketbell.store.base import Store

T = TypeVar("T")

Key: TypeAlias = Mapping[str, Any]
"""A key as the management API shows it."""

DEFAULT_ORGANIZATION: Final = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
"""Whose token it is when none is named; the one that Svix's own server has."""

COMMAND_LINE: Final = "command line"
"""The actor in the audit log of what is done in the file."""

_PATH: Final = "/auth/api-token"
_OWN_TTL: Final = 60_000
_PAGE: Final = 250


class Credentials(Protocol):
    """What the commands do; `after_s` is in how many seconds something ends."""

    def create(self, body: Mapping[str, object]) -> Key:
        """A new key, with its token; `body` is the API's."""

    def all(self) -> list[Key]:
        """Every key."""

    def revoke(self, key_id: str, after_s: int) -> None:
        """End one key."""

    def revoke_all(self, application: str | None, after_s: int) -> None:
        """End everything of an application, or with None of the organization."""


class OnServer:
    """Over the management API."""

    def __init__(self, remote: Remote, organization: str) -> None:
        self._remote = remote
        self._organization = organization

    def create(self, body: Mapping[str, object]) -> Key:
        """See Credentials.create."""
        made: Key = self._remote.request("POST", _PATH, body=body)
        return made

    def all(self) -> list[Key]:
        """See Credentials.all."""
        keys: list[Key] = []
        query: dict[str, str | int | bool] = {"limit": _PAGE}
        while True:
            page = self._remote.request("GET", _PATH, query=query)
            keys += page["data"]
            if page["done"]:
                return keys
            query["iterator"] = page["iterator"]

    def revoke(self, key_id: str, after_s: int) -> None:
        """See Credentials.revoke."""
        self._remote.request("POST", f"{_PATH}/{key_id}/expire", body={"expiry": after_s})

    def revoke_all(self, application: str | None, after_s: int) -> None:
        """See Credentials.revoke_all."""
        if application is None:
            body = {"organization": self._organization, "expiry": after_s}
            self._remote.request("POST", "/auth/organization/expire-all", body=body)
        else:
            path = f"/auth/app/{application}/expire-all"
            self._remote.request("POST", path, body={"expiry": after_s})


class InDatabase:
    """In the database itself: PostgreSQL, or an SQLite file, which no server may have open meanwhile."""

    def __init__(self, settings: Settings, organization: str) -> None:
        self._settings = settings
        self._organization = organization

    def create(self, body: Mapping[str, object]) -> Key:
        """See Credentials.create."""
        from marketbell.api.keys import ApiKeyIn, shown_once
        from marketbell.control import api_keys

        given = msgspec.convert(body, ApiKeyIn)

        async def make(store: Store, caller: Principal, now: int) -> Key:
            application = await _application(store, caller, given.app_id)
            made = await api_keys.create(
                store,
                caller,
                api_keys.KeyRequest(
                    name=given.name,
                    scopes=None if given.scopes is None else tuple(given.scopes),
                    application=application,
                    expires_in_s=given.expiry,
                ),
                now=now,
                keys_max=self._settings.api_keys_max,
            )
            # Without a mark nothing is a repetition.
            shown: Key = msgspec.to_builtins(shown_once(cast("api_keys.NewKey", made)))
            return shown

        return self._run("create-api-token", make)

    def all(self) -> list[Key]:
        """See Credentials.all."""
        from marketbell.api.keys import shown
        from marketbell.store.base import Page

        async def read(store: Store, caller: Principal, _now: int) -> list[Key]:
            keys: list[Key] = []
            after: str | None = None
            while True:
                part = await store.api_keys(caller.organization, Page(limit=_PAGE, after=after))
                keys += [msgspec.to_builtins(shown(key)) for key in part.data]
                if part.done:
                    return keys
                after = part.data[-1].public_id

        return self._run("list-api-tokens", read)

    def revoke(self, key_id: str, after_s: int) -> None:
        """See Credentials.revoke."""
        from marketbell.control import api_keys

        async def end(store: Store, caller: Principal, now: int) -> None:
            await api_keys.revoke(store, caller, key_id, now=now, after_s=after_s)

        self._run("expire-api-token", end)

    def revoke_all(self, application: str | None, after_s: int) -> None:
        """See Credentials.revoke_all."""
        from marketbell.control import api_keys

        async def end(store: Store, caller: Principal, now: int) -> None:
            found = await _application(store, caller, application)
            await api_keys.expire_all(store, caller, found, now=now, after_s=after_s)

        self._run("expire-organization" if application is None else "expire-all", end)

    def _run(self, operation: str, work: Callable[[Store, Principal, int], Awaitable[T]]) -> T:
        """What a piece of work gives, done on the open store and logged. LockedError."""
        from marketbell.assembly import open_store
        from marketbell.clock import SystemClock
        from marketbell.control.tokens import Principal
        from marketbell.store.base import Origin, changing
        from marketbell.store.opening import prepare

        prepare(self._settings)
        clock = SystemClock()
        caller = Principal(self._organization, actor=COMMAND_LINE)

        async def run() -> T:
            store = open_store(self._settings, clock)
            origin = Origin(
                organization=caller.organization,
                actor=caller.actor,
                operation=f"v1.authentication.{operation}",
                at=clock.now(),
            )
            try:
                with changing(origin):
                    return await work(store, caller, clock.now())
            finally:
                await store.aclose()

        return asyncio.run(run())


async def _application(store: Store, caller: Principal, ref: str | None) -> str | None:
    """The public id of what a caller names by id or uid. NotFoundError."""
    if ref is None:
        return None
    return (await store.application(caller.organization, ref)).public_id


def with_credentials(
    settings: Settings,
    organization: str | None,
    environ: Mapping[str, str],
    work: Callable[[Credentials], T],
    *,
    makes: bool,
) -> T:
    """
    What `work` gives, done where the organization's keys are.

    With MARKETBELL_URL that is that server. Else it is the database, or if a server has its file,
    that server at the settings' host and port; PostgreSQL is for all to use. A server is called
    with MARKETBELL_TOKEN, else with a token that is made here and good for a minute. A file that
    is not there is made if `makes`; else it is a SettingsError, and nothing is made.
    """
    whose = organization or DEFAULT_ORGANIZATION
    return where_it_is(
        settings,
        whose,
        environ,
        in_file=lambda own: work(InDatabase(own, whose)),
        on_server=lambda remote: work(OnServer(remote, whose)),
        makes=makes,
    )


def where_it_is(
    settings: Settings,
    organization: str,
    environ: Mapping[str, str],
    *,
    in_file: Callable[[Settings], T],
    on_server: Callable[[Remote], T],
    makes: bool = True,
) -> T:
    """What one of the two gives; see with_credentials for which. The settings have secrets."""
    from marketbell.control.tokens import check_subjects

    check_subjects(organization, None)
    url = environ.get("MARKETBELL_URL")
    if url is None:
        if not makes:
            must_be_there(settings)
        settings = ensure_secrets(settings)
        try:
            return in_file(settings)
        except LockedError:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"http://{host}:{settings.port}"
    token = environ.get("MARKETBELL_TOKEN") or _own_token(settings, organization)
    with Remote(url, token) as remote:
        return on_server(remote)


def _own_token(settings: Settings, organization: str) -> str:
    from marketbell.clock import SystemClock

    return signed(settings, organization, SystemClock().now(), _OWN_TTL, None)


def signed(
    settings: Settings, organization: str, now: int, ttl: int, application: str | None
) -> str:
    """A token signed with what the settings have. SettingsError if that cannot sign."""
    from marketbell.control.tokens import check_subjects, create_token

    check_subjects(organization, application)  # before secrets are made
    key = settings.jwt_private_key
    if not settings.jwt_asymmetric:
        settings = settings if settings.jwt_secret else ensure_secrets(settings)
        key = settings.jwt_secret
    elif not key:
        raise SettingsError(
            [
                (
                    f"jwt_private_key: {settings.jwt_algorithm} tokens are made where the private"
                    " key is; give it, or make them there. An API key (--name) needs none, with"
                    " MARKETBELL_TOKEN or with the database file itself"
                )
            ]
        )
    return create_token(key, organization, now, ttl, application, algorithm=settings.jwt_algorithm)
