"""Sellers of a marketplace from a shell: an application with a user of that marketplace's own API."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from marketbell.cli.credentials import COMMAND_LINE, DEFAULT_ORGANIZATION, where_it_is
from marketbell.cli.exits import Exit
from marketbell.cli.options import settings_of
from marketbell.cli.remote import Remote
from marketbell.errors import MarketbellError, UnavailableError

if TYPE_CHECKING:
    from marketbell.control.sellers import NewSeller
    from marketbell.delivery.intake import Acceptance, Keep, Verdicts
    from marketbell.settings import Settings

_DIALECT: Final = "marketbell.dialect"
"""The key of an application's metadata that names its dialect."""


def make_seller(
    marketplace: str,
    name: str,
    *,
    uid: str | None = None,
    user: str | None = None,
    organization: str | None = None,
    db: str | None = None,
    config: Path | None = None,
    as_json: bool = False,
    environ: Mapping[str, str] | None = None,
) -> int:
    """
    Make a seller and print what its calls carry, this once; the exit code.

    It is made where `with_credentials` would make a key: on the server that `environ` names, else
    in the database file, or on the server that has it. InvalidError; ConflictError if the uid or
    the user name is taken.
    """
    whose = organization or DEFAULT_ORGANIZATION
    shown = where_it_is(
        settings_of({"db": db}, config),
        whose,
        environ or {},
        in_file=lambda settings: _in_file(settings, whose, marketplace, name, uid=uid, user=user),
        on_server=lambda remote: _on_server(remote, marketplace, name, uid=uid, user=user),
    )
    if as_json:
        print(jsonlib.dumps(shown))
    else:
        for key, value in shown.items():
            print(f"{key:12} {value}")
    return Exit.OK


def _on_server(
    remote: Remote, marketplace: str, name: str, *, uid: str | None, user: str | None
) -> dict[str, str]:
    """Over the management API; without its user no application is left behind."""
    body = {"name": name, "uid": uid, "metadata": {_DIALECT: marketplace}}
    application = remote.request("POST", "/app", body=body)["id"]
    path = f"/app/{application}"
    try:
        made = remote.request(
            "POST", f"{path}/marketplace-login", body={"marketplace": marketplace, "user": user}
        )
    except MarketbellError:
        remote.request("DELETE", path)
        raise
    return {"application": application, "marketplace": marketplace, **made["login"]}


def _in_file(
    settings: Settings,
    organization: str,
    marketplace: str,
    name: str,
    *,
    uid: str | None,
    user: str | None,
) -> dict[str, str]:
    """In the database itself. LockedError if a server has its SQLite file."""
    made = asyncio.run(_made(settings, organization, marketplace, name, uid=uid, user=user))
    application = made.application.public_id
    return {"application": application, "marketplace": made.marketplace, **made.login}


async def _made(
    settings: Settings,
    organization: str,
    marketplace: str,
    name: str,
    *,
    uid: str | None,
    user: str | None,
) -> NewSeller:
    from marketbell.assembly import dialect_options, open_store
    from marketbell.clock import SystemClock
    from marketbell.control.sellers import create_seller
    from marketbell.control.services import Services
    from marketbell.control.tokens import Principal
    from marketbell.dialects.registry import Registry
    from marketbell.observe import Observer
    from marketbell.store.base import Origin, changing
    from marketbell.store.opening import prepare

    prepare(settings)
    clock = SystemClock()
    store = open_store(settings, clock)
    observer = Observer()
    try:
        services = Services.assemble(
            settings=settings,
            clock=clock,
            store=store,
            intake=_Closed(),
            registry=Registry.load(dialect_options(settings)),
            observer=observer,
        )
        principal = Principal(organization, actor=COMMAND_LINE)
        origin = Origin(
            organization=organization,
            actor=COMMAND_LINE,
            operation="v1.application.create",
            at=clock.now(),
        )
        with changing(origin):
            return await create_seller(services, principal, marketplace, name, uid=uid, user=user)
    finally:
        observer.close()
        await store.aclose()


class _Closed:
    """No way in for messages: nothing is delivered from a command."""

    async def accept(self, acceptances: Sequence[Acceptance], keep: Keep | None = None) -> Verdicts:
        """See Intake.accept."""
        del acceptances, keep
        raise UnavailableError("A command delivers nothing; start the server.")

    def wake(self) -> None:
        """See Intake.wake."""
