"""Named SQL statements, read from the `.sql` files beside this module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_HEAD = re.compile(r"^-- (name|part): (\w+)\n((?:-- .*\n)+)", re.MULTILINE)
_PART = re.compile(r"\{(\w+)\}")


@cache
def statements(database: str, file: str) -> Mapping[str, str]:
    """
    The statements of `sql/{database}/{file}.sql` by name.

    Each stands below a `-- name:` line and a line that says what it is for, and ends with a
    semicolon. What several have in common stands below a `-- part:` line, once, and in braces
    where it belongs. Raises ValueError for a file that is not written so.
    """
    text = (files("marketbell.store") / "sql" / database / f"{file}.sql").read_text("utf-8")
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


@cache
def migrations(database: str) -> tuple[tuple[int, str, str], ...]:
    """Every migration as (number, file name, script), in order."""
    folder = files("marketbell.store") / "sql" / database / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((int(name[:4]), name, (folder / name).read_text("utf-8")) for name in names)
