"""The tables of docs/api.md that the code knows best: routes and the parameters of their queries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from marketbell.api.access import rule_of
from marketbell.api.call import Access, Operation
from marketbell.api.reference import parameters
from marketbell.api.reference.parameters import Schema

_BEGIN: Final = "<!-- made by make docs: {} -->"
_END: Final = "<!-- end -->"

_WHOSE: Final[Mapping[Access, str]] = {
    Access.NOBODY: "none",
    Access.TOKEN: "any",
    Access.OPERATOR: "operator",
    Access.APPLICATION: "application",
}


def filled(page: str, operations: Sequence[Operation]) -> str:
    """A page with its tables made anew between their marks. ValueError if a mark is not there."""
    for name, lines in (("routes", _routes(operations)), ("parameters", _parameters(operations))):
        begin = _BEGIN.format(name)
        start = page.index(begin) + len(begin)
        end = page.index(_END, start)
        page = "\n".join((page[:start], *lines, page[end:]))
    return page


def _routes(operations: Iterable[Operation]) -> list[str]:
    rows = (
        (
            f"`{one.method} {one.path}`",
            _WHOSE[one.access],
            _code(rule_of(one).scope),
            one.summary,
            " ".join(f"`{name}`" for name in one.query),
            ", ".join(str(status) for status in sorted(one.gives)),
        )
        for one in operations
    )
    return _table(("route", "whose token", "scope", "does", "query", "answers"), rows)


def _parameters(operations: Iterable[Operation]) -> list[str]:
    used = {name for one in operations for name in one.query}
    rows = []
    for row, parameter in parameters.QUERY.items():
        operation, _, name = row.rpartition(" ")
        if name in used:
            where = f"`{name}` of `{operation}`" if operation else f"`{name}`"
            rows.append((where, _value(parameter.schema), parameter.description))
    return _table(("parameter", "value", "meaning"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        _row(heads),
        _row(["---"] * len(heads)),
        *(_row([cell.replace("|", r"\|") for cell in row]) for row in rows),
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _code(text: str | None) -> str:
    return "" if text is None else f"`{text}`"


def _value(schema: Schema) -> str:
    if "enum" in schema:
        return " ".join(f"`{one}`" for one in schema["enum"])
    kind = schema["type"]
    if kind == "boolean":
        words = "`true` or `false`"
    elif kind == "integer":
        words = f"{schema['minimum']} to {schema['maximum']}"
    elif kind == "array":
        words = "names"
    else:
        words = "a time" if schema.get("format") == "date-time" else "a text"
    if "default" in schema:
        words += f"; `{json.dumps(schema['default'])}` if absent"
    return words
