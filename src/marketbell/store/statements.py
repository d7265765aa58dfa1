"""Named SQL statements, read from the `.sql` files beside this module, in the words of each database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import msgspec

_HEAD: Final = re.compile(r"^-- (name|part): (\w+)\n((?:-- .*\n)+)", re.MULTILINE)
_PART: Final = re.compile(r"\{(\w+)\}")
_PARAMETER: Final = re.compile(r"'[^']*'|--[^\n]*|::|:(\w+)|\?")


class Numbered(msgspec.Struct, frozen=True):
    """A statement whose parameters are `$1`, `$2` and so on, as PostgreSQL takes them."""

    text: str
    names: tuple[str, ...]
    """The named parameters in order of their numbers; none where they were question marks."""

    def values(self, given: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any]:
        """What is given for the parameters, in order of their numbers."""
        if isinstance(given, Mapping):
            return [given[name] for name in self.names]
        return given


class Statement(msgspec.Struct, frozen=True):
    """
    One statement as each database takes it.

    Where one database has no need of it, its text is not SQL, and running it fails with its name.
    """

    name: str
    sqlite: str
    postgresql: Numbered


@cache
def statements(file: str) -> Mapping[str, Statement]:
    """
    The statements of `sql/*/{file}.sql` by name.

    Each stands below a `-- name:` line and a line that says what it is for, and ends with a
    semicolon. What several have in common stands below a `-- part:` line, once, and in braces
    where it belongs. Raises ValueError for a file that is not written so.
    """
    sqlite, postgresql = texts("sqlite", file), texts("postgresql", file)
    return MappingProxyType(
        {
            name: Statement(
                name,
                sqlite.get(name, f"{name} is not for SQLite"),
                numbered(postgresql.get(name, f"{name} is not for PostgreSQL")),
            )
            for name in [*sqlite, *(postgresql.keys() - sqlite.keys())]
        }
    )


@cache
def texts(database: str, file: str) -> Mapping[str, str]:
    """The statements of `sql/{database}/{file}.sql` by name, as they are written; see `statements`."""
    source = files("marketbell.store") / "sql" / database / f"{file}.sql"
    if not source.is_file():
        return MappingProxyType({})
    text = source.read_text("utf-8")
    heads = list(_HEAD.finditer(text))
    found: dict[str, str] = {}
    parts: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        end = following.start() if following else len(text)
        body = text[head.end() : end].strip()
        if body.endswith(";") is not (head[1] == "name") or head[2] in found | parts:
            raise ValueError(f"{database}/{file}.sql: {head[2]} is unfinished or named twice")
        (found if head[1] == "name" else parts)[head[2]] = body
    try:
        whole = {name: _PART.sub(lambda part: parts[part[1]], body) for name, body in found.items()}
    except KeyError as error:
        raise ValueError(f"{database}/{file}.sql: there is no part {error}") from None
    return MappingProxyType(whole)


def numbered(text: str) -> Numbered:
    """A statement with `:names` or question marks, as PostgreSQL takes it; casts stay as they are."""
    names: list[str] = []
    marks = 0

    def number(found: re.Match[str]) -> str:
        nonlocal marks
        if found[0] == "?":
            marks += 1
            return f"${marks}"
        if found[1] is None:
            return found[0]
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return Numbered(_PARAMETER.sub(number, text), tuple(names))
