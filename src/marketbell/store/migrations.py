"""
The schema's numbered migrations: what each says of itself, and which may run now.

A migration's first line is its head, in one of these forms:

    -- migrate: before
    -- migrate: after
    -- migrate: before, no transaction

`before` is for what the program of the version before does not notice: a table, a column with a
default, an index. It runs while that program serves, and a program needs all that stand before its
own. `after` is for what the version before cannot bear: a column goes, a rule is tightened. It
runs when no node of that version is left. They run in the order of their numbers and none is passed
over, so that the schema is one number. Without a transaction each statement stands alone, may be
run again, and names the schema as `{schema}`: `create index concurrently`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from marketbell.errors import SchemaError

_FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_HEAD: Final = re.compile(r"-- migrate: (before|after)(, no transaction)?\n")
_END: Final = re.compile(r";[ \t]*(?:\n|\Z)")


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema, as its file has it."""

    number: int
    name: str
    """Of its file."""
    after: bool
    """Whether it waits until no node of the version before is left."""
    alone: bool
    """Whether its statements run outside of a transaction, one by one."""
    script: str

    @property
    def statements(self) -> list[str]:
        """Its statements one by one; each ends its last line with a semicolon."""
        return [part.strip() for part in _END.split(self.script) if part.strip()]


class LiveNode(msgspec.Struct, frozen=True):
    """A node that serves, as it says of itself."""

    name: str
    schema: int
    """The last migration that its program knows."""


class Standing(msgspec.Struct, frozen=True):
    """Where a database is: which migrations may run now, and which wait for which nodes."""

    current: int
    """The number of the last migration that has run; 0 is an empty database."""
    runnable: tuple[Migration, ...]
    waiting: tuple[Migration, ...]
    held_up_by: tuple[LiveNode, ...]
    """The nodes that the first of the waiting ones waits for."""
    newer: int = 0
    """How many have run that the program does not know; its nodes can serve on."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `migrate` did, or with `dry_run` would do."""

    database: str
    """`sqlite` or `postgresql`."""
    before: int
    """The schema's number at first."""
    schema: int
    """The schema's number now; with `dry_run` what it would be."""
    applied: tuple[str, ...]
    """The names of the migrations that ran; with `dry_run` of those that would."""
    waiting: tuple[str, ...] = ()
    """The names of those that wait for nodes of a version before."""
    held_up_by: tuple[str, ...] = ()
    """The names of these nodes."""
    dry_run: bool = False


def read(name: str, script: str) -> Migration:
    """A migration from its file. ValueError for one that is not named or not headed so."""
    file, head = _FILE.fullmatch(name), _HEAD.match(script)
    if file is None or head is None:
        raise ValueError(f"{name} is no migration: see the head of store/migrations.py")
    return Migration(int(file[1]), name, head[1] == "after", head[2] is not None, script)


@cache
def known(database: str) -> tuple[Migration, ...]:
    """Every migration of a database in order. ValueError if a number is left out or there twice."""
    folder = files("marketbell.store") / "sql" / database / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    found = tuple(read(name, (folder / name).read_text("utf-8")) for name in names)
    if [one.number for one in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {database} are not numbered 1, 2, 3 and so on")
    return found


def standing(ours: Sequence[Migration], current: int, nodes: Iterable[LiveNode] = ()) -> Standing:
    """
    What may run on a schema while `nodes` serve.

    SchemaError if the schema is newer than the last of `ours`.
    """
    if current > ours[-1].number:
        raise SchemaError(
            f"The database has schema {current}, this program knows {ours[-1].number};"
            " use a newer one."
        )
    missing = [one for one in ours if one.number > current]
    for place, one in enumerate(missing):
        old = tuple(node for node in nodes if node.schema < one.number) if one.after else ()
        if old:
            return Standing(current, tuple(missing[:place]), tuple(missing[place:]), old)
    return Standing(current, tuple(missing), (), ())


def fault_to_serve(
    ours: Sequence[Migration], current: int, newer_after: Sequence[int] = ()
) -> str | None:
    """
    Why a program cannot serve on a schema, as a sentence; None if it can.

    It needs every migration that runs before it, and bears newer ones that run before its successor;
    `newer_after` are the numbers of those that ran after, of which none may be newer than it.
    """
    needed = max((one.number for one in ours if not one.after), default=0)
    last = ours[-1].number
    if current < needed:
        return f"The database has schema {current}, this program needs {needed}: run `marketbell migrate`."
    if any(number > last for number in newer_after):
        return f"The database has schema {current}, this program knows {last}; use a newer one."
    return None
