"""`marketbell migrate`: the database's schema, brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag, settings_of
from marketbell.errors import InvalidError
from marketbell.settings import BadValueError, Settings, ensure_secrets, read_duration

if TYPE_CHECKING:
    from marketbell.store.migrations import Report


def migrate(
    *,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Print what would run, and change nothing.")
    ] = False,
    wait: Annotated[
        str, Parameter(help="How long to try for locks that others hold, such as 5m.")
    ] = "1m",
    db: Annotated[str | None, Parameter(help="The server's database.")] = None,
    config: Annotated[Path | None, Parameter(help="The server's TOML file of settings.")] = None,
    json: JsonFlag = False,
) -> int:
    """
    Bring the database's schema up to date, or make it.

    On PostgreSQL it may run while servers of the version before serve, and goes as far as they
    allow: what waits for them is named, and done by calling it again once they are gone.
    """
    from marketbell import schema

    try:
        patience_s = read_duration(wait) / 1000
    except BadValueError as fault:
        raise InvalidError(("wait",), str(fault)) from None
    settings = settings_of({"db": db}, config)
    if not (dry_run or settings.on_postgresql or settings.db_file.exists()):
        ensure_secrets(settings)  # the server would miss them beside a file that is there
    done = schema.migrate(settings, dry_run=dry_run, patience_s=patience_s)
    if json:
        print(msgspec.json.encode(done).decode())
    else:
        _tell(settings, done)
    return Exit.OK


def _tell(settings: Settings, done: Report) -> None:
    from marketbell import schema

    for name in done.applied:
        if done.dry_run:
            print(f"-- {name}\n{schema.script_of(settings, name)}")
        else:
            print(f"ran {name}")
    if done.dry_run:
        print(f"-- schema {done.before} would become {done.schema}; nothing was run")
    else:
        print(f"schema {done.schema}" + ("" if done.applied else ", nothing to do"))
    if done.waiting:
        nodes = ", ".join(done.held_up_by)
        print(
            f"waiting: {', '.join(done.waiting)}, until {nodes} run this version or are gone;"
            " then call this again"
        )
