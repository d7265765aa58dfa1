"""The table of settings: their names everywhere, their order, and the page that describes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final, get_type_hints

from marketbell.settings.fields import DEFAULTS, Settings
from marketbell.settings.values import Setting

PREFIX: Final = "MARKETBELL_"


def _table() -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        found[name] = next(extra for extra in hint.__metadata__ if isinstance(extra, Setting))
    return found


SECTIONS: Final = {
    "db": "Where it lives and listens",
    "jwt_secret": "Secrets and tokens",
    "allow_networks": "Whom it may call",
    "body_max": "Limits of what comes in",
    "attempt_timeout": "Attempts",
    "at_work_max": "Fairness and health",
    "payload_retention": "What is kept, and for how long",
    "rows_per_transaction": "The store",
    "ovoko_zone": "Dialects",
    "log_format": "What it tells",
}
"""The headings of help and documentation, each with the first setting under it."""

SETTINGS: Final[dict[str, Setting]] = _table()
"""Every setting's description by name, in the order of the documentation."""


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def flag_of(name: str) -> str:
    """The command line's flag of a setting."""
    return "--" + name.replace("_", "-")


def sections() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each heading with the names of the settings under it."""
    starts = [*SECTIONS, None]
    names = list(SETTINGS)
    for first, following in itertools.pairwise(starts):
        end = len(names) if following is None else names.index(following)
        yield SECTIONS[str(first)], tuple(names[names.index(str(first)) : end])


def default_of(name: str) -> str:
    """A setting's default as a person writes it, or in words what leaving it out means."""
    setting = SETTINGS[name]
    return setting.show(getattr(DEFAULTS, name)) or setting.unset


def markdown() -> str:
    """The tables of docs/settings.md, one for each section."""
    lines: list[str] = []
    for title, names in sections():
        lines += [
            f"## {title}",
            "",
            "| setting | default | allowed | what for |",
            "| --- | --- | --- | --- |",
        ]
        for name in names:
            setting = SETTINGS[name]
            default = setting.show(getattr(DEFAULTS, name))
            shown = f"`{default}`" if default else setting.unset
            lines.append(
                f"| `{name}` | {shown} | {setting.kind}{_bounded(setting)} | {setting.purpose} |"
            )
        lines.append("")
    return "\n".join(lines)


def _bounded(setting: Setting) -> str:
    if setting.choices:
        return ": " + ", ".join(f"`{word}`" for word in setting.choices)
    return f", {setting.bounds}" if setting.bounds else ""
