"""`marketbell secrets`: the key that the endpoints' secrets are sealed with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.local import must_be_there
from marketbell.cli.options import JsonFlag, settings_of
from marketbell.settings import Settings, begin_key_change, end_key_change, ensure_secrets

if TYPE_CHECKING:
    from marketbell.control.rekeying import Rekeyed
    from marketbell.store.opening import AnyStore

secrets_app = App(name="secrets", help="The key that endpoints' secrets are sealed with.")


@secrets_app.command
def rekey(
    *,
    db: Annotated[str | None, Parameter(help="The server's database.")] = None,
    config: Annotated[Path | None, Parameter(help="The server's TOML file of settings.")] = None,
    json: JsonFlag = False,
) -> int:
    """
    Seal every secret and header with the current key; a server of an SQLite file must not run.

    Where the secrets file beside the database has the key, a new one is made first and the old
    one forgotten at the end. Where secrets_key is a setting, it is the current one, and those in
    secrets_keys_old open what they sealed; on PostgreSQL servers that have both go on meanwhile.
    Broken off anywhere, it can be called again.
    """
    given = settings_of({"db": db}, config)
    must_be_there(given)
    settings = ensure_secrets(given)
    if given.secrets_key:
        result = asyncio.run(_rekey(settings))
    else:
        asyncio.run(_refuse_while_served(settings))
        result = asyncio.run(_rekey(begin_key_change(given)))
        if not result.unreadable:
            end_key_change(given)
    if json:
        facts = {"resealed": result.resealed, "unreadable": result.unreadable}
        print(msgspec.json.encode(facts).decode())
    else:
        print(f"{result.resealed} sealed with the current key, {result.unreadable} unreadable")
    return Exit.FAILED if result.unreadable else Exit.OK


async def _rekey(settings: Settings) -> Rekeyed:
    from marketbell.control.rekeying import rekey as rekey_all

    async with _opened(settings) as store:
        return await rekey_all(store)


async def _refuse_while_served(settings: Settings) -> None:
    """Return unless a server has the database, which would go on with the old key. LockedError."""
    async with _opened(settings):
        return


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[AnyStore]:
    from marketbell.assembly import open_store
    from marketbell.clock import SystemClock
    from marketbell.store.opening import prepare

    prepare(settings)
    store = open_store(settings, SystemClock())
    try:
        yield store
    finally:
        await store.aclose()
