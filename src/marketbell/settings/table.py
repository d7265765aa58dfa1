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
    "db": "The database",
    "role": "Nodes",
    "host": "Where it listens",
    "jwt_secret": "Secrets and tokens",
    "allow_networks": "Whom it may call",
    "body_max": "Limits of what comes in",
    "public_url": "Proxies, browsers and clients",
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


_INTRODUCTION: Final = """\
# Settings

Written from the table in the code by `make docs`; `marketbell serve --help` shows the same.

Every setting can be given in four ways, and the later one wins:

1. its default;
2. a key of the TOML file that `--config FILE` or `MARKETBELL_CONFIG` names:
   `body_max = "2MB"`, also `body-max`, and `[portal] may_set` for `portal_may_set`;
3. a variable: `MARKETBELL_` and its name in capitals, `MARKETBELL_BODY_MAX=2MB`;
4. a flag of `marketbell serve`: `--body-max 2MB`; `--ovoko-id-bridge` and `--no-ovoko-id-bridge`
   for those that are true or false.

A duration is whole numbers with `ms`, `s`, `m`, `h` or `d`: `500ms`, `90d`, `1h 30m`. A size is a
number of bytes, or one with `kB`, `MB`, `GB` (thousands) or `KiB`, `MiB`, `GiB`. Words and
networks are separated by spaces or commas; in TOML a list will do.

All of it is checked before anything starts, and every fault is told at once, each with the place
that its value came from. Beside the bounds in the tables:

- `lease` is at least the sum of `attempt_timeout`, `resolve_timeout`, `connect_timeout`,
  `first_byte_timeout` and 5 s;
- `node_heartbeat` is at most a third of `node_lease`;
- `payload_retention` and `attempt_retention` are at most `message_retention`;
- `batch_bytes_max` is at least `body_max`; `waiting_bytes_max` at least `batch_bytes_max`;
  `waiting_rows_max` at least `batch_messages_max`;
- `sockets_max` is at least `endpoint_in_flight`;
- `sockets_max`, `idle_connections_max`, `connections_max` and 200 more files may be open. The soft limit is raised
  as far as the hard one allows (`ulimit -Hn`; `LimitNOFILE` in systemd).

## PostgreSQL

`db = "postgresql://marketbell@db.example/marketbell"`; `postgres://` is the same. Whatever the
address leaves out is taken from `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGPASSFILE`,
`PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT` and the other PG* variables. TLS is asked for with
`?sslmode=verify-full&sslrootcert=FILE` or by these variables. Passwords are never shown or logged.

Both `jwt_secret` (or a key pair) and `secrets_key` must be given, the same to every node: nodes on
several machines share no file that they could be kept in.

A node holds `readers` and 4 more connections: three that write, and one for its signs of life and what
nodes tell one another. With `db_pooled`, or where `db_direct` is given, nothing that goes through `db`
outlives a transaction: no prepared statement, no session setting.

## The secrets file

On SQLite, `jwt_secret` and `secrets_key` need not be given: the first start makes them and keeps
them in a file beside the database, `marketbell.db.secrets`, that only its owner may read. Back it
up with the database: without it the endpoints' signing secrets cannot be read. Marketbell never
makes a new one beside a database that was written with another, and refuses one that others can
read.

"""


def page() -> str:
    """The whole of docs/settings.md."""
    return _INTRODUCTION + markdown()


def markdown() -> str:
    """A table of settings for each section."""
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
