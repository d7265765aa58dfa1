"""Sellers of a marketplace from a shell: an application with a user of that marketplace's own API."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from marketbell.cli.credentials import COMMAND_LINE, DEFAULT_ORGANIZATION
from marketbell.cli.exits import Exit
from marketbell.cli.options import settings_of
from marketbell.errors import UnavailableError
from marketbell.settings import ensure_secrets

if TYPE_CHECKING:
    from marketbell.control.sellers import NewSeller
    from marketbell.delivery.intake import Acceptance, Keep, Verdicts
    from marketbell.settings import Settings

Marketplace = Annotated[
    Literal["ovoko", "sellercenter"] | None,
    Parameter(help="Make it a seller of this marketplace, with a user of its API; prints both."),
]
"""The option of a command that calls `make_seller` if it is given."""


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
) -> int:
    """
    Make a seller in the database file and print what its calls carry, this once; the exit code.

    The server must not run: LockedError if it does. InvalidError; ConflictError if the uid or the
    user name is taken.
    """
    settings = ensure_secrets(settings_of({"db": db}, config))
    whose = organization or DEFAULT_ORGANIZATION
    made = asyncio.run(_made(settings, whose, marketplace, name, uid=uid, user=user))
    shown = {
        "application": made.application.public_id,
        "marketplace": made.marketplace,
        **made.login,
    }
    if as_json:
        print(jsonlib.dumps(shown))
    else:
        for key, value in shown.items():
            print(f"{key:12} {value}")
    return Exit.OK


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
    from marketbell.control.tokens import Principal, check_subjects
    from marketbell.dialects.registry import Registry
    from marketbell.observe import Observer
    from marketbell.store.base import Origin, changing

    check_subjects(organization, None)
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
