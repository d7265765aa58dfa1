"""`marketbell doctor`: what is not as it should be, and what is to be done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from marketbell.cli.options import JsonFlag, config_of, settings_of
from marketbell.cli.tables import Column, Thing, print_json, print_table, prose
from marketbell.errors import SettingsError
from marketbell.settings import Settings, ensure_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS: Final[Sequence[Column]] = (
    Column("Verdict", lambda thing: thing["verdict"]),
    Column("Check", lambda thing: thing["check"]),
    prose("Found", "fact"),
    prose("Mend", "mend"),
)


def doctor(
    *,
    db: Annotated[str | None, Parameter(help="The server's database.")] = None,
    config: Annotated[Path | None, Parameter(help="The server's TOML file of settings.")] = None,
    json: JsonFlag = False,
) -> int:
    """
    Check the database, the work in it and this machine; say what to do about what is wrong.

    Works beside running servers and where the database is away, and changes nothing. Exit code 0
    if all is well, 1 with a warning, 2 with a failure.
    """
    from marketbell.clock import SystemClock
    from marketbell.doctor.examination import Site, examine
    from marketbell.doctor.findings import exit_code

    settings = _with_secrets(settings_of({"db": db}, config))
    findings = list(examine(settings, SystemClock(), Site(config=config_of(config))))
    things: list[Thing] = [msgspec.to_builtins(one) for one in findings]
    if json:
        print_json({"exit": exit_code(findings), "findings": things})
    else:
        print_table(_COLUMNS, [things], "")
    return exit_code(findings)


def _with_secrets(settings: Settings) -> Settings:
    """The settings with the secrets that are kept beside the file, if they can be had."""
    from marketbell.settings import secrets_file

    if settings.on_postgresql or not secrets_file(settings).exists():
        return settings
    try:
        found = ensure_secrets(settings)
    except SettingsError:  # a check says what is wrong with the file
        return settings
    return msgspec.structs.replace(settings, secrets_key=found.secrets_key)
