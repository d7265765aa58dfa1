"""Settings as options of a command: the table of settings turned into flags and help."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from cyclopts import Group, Parameter

from marketbell.settings import SETTINGS, Settings, default_of, load_settings, sections

C = TypeVar("C", bound=Callable[..., object])

JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
"""The option that every command takes."""

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY


def with_settings(command: C) -> C:
    """
    Give a command one flag per setting.

    The command takes them as `**flags`, ready for `settings_of`; its own parameters come first.
    """
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    flags = [
        _flag(name, Group(title, sort_key=number))
        for number, (title, names) in enumerate(sections(), start=1)
        for name in names
    ]
    described: Any = command
    described.__signature__ = inspect.Signature([*own, *flags])
    described.__annotations__ = {one.name: one.annotation for one in (*own, *flags)}
    return command


def _flag(name: str, group: Group) -> inspect.Parameter:
    setting = SETTINGS[name]
    given = bool | None if setting.kind == "flag" else str | None
    bounds = f" ({setting.bounds})" if setting.bounds else ""
    shown = Parameter(
        help=setting.purpose.replace("`", "") + bounds,
        group=group,
        metavar=None if setting.kind == "flag" else setting.kind.upper(),
        show_default=lambda _value: default_of(name),
        show_choices=False,
    )
    return inspect.Parameter(name, _KEYWORD, default=None, annotation=Annotated[given, shown])


def settings_of(
    flags: Mapping[str, object], config: Path | None, *, serving: bool = False
) -> Settings:
    """The settings in force, from flags, this process's environment and the TOML file; see load_settings."""
    return load_settings(flags, os.environ, config_of(config), serving=serving)


def config_of(given: Path | None) -> Path | None:
    """The TOML file that is read, if any: the one that is given, else the environment's."""
    named = os.environ.get("MARKETBELL_CONFIG")
    return given or (Path(named) if named else None)
