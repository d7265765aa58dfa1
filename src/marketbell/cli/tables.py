"""What a command prints: tables on a terminal, plain columns in a pipe, JSON where it is asked for."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from marketbell.cli.moments import told

if TYPE_CHECKING:
    from rich.console import Console

Thing: TypeAlias = Mapping[str, Any]
"""An application, endpoint, attempt and so on, as the API shows it."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GAP: Final = "  "
_WIDE: Final = 10_000
"""Columns of what has no width of its own."""
_FOLDED_LEAST: Final = 12
_NONE: Final = "-"
"""What stands in a pipe's column where there is nothing, so that every line has as many."""


class Column(NamedTuple):
    """One column: its head, and what stands in it."""

    head: str
    value: Callable[[Thing], object]
    folds: bool = False
    """Whether it may take several lines on a terminal; ids and times stay whole."""


def field(head: str, name: str) -> Column:
    """A column that shows a field as it is."""
    return Column(head, lambda thing: thing.get(name))


def prose(head: str, name: str) -> Column:
    """The same for what may be long; it takes several lines where a terminal is narrow."""
    return Column(head, lambda thing: thing.get(name), folds=True)


def time_of(head: str, name: str) -> Column:
    """A column that shows a time, absolute and relative."""
    return Column(head, lambda thing: told(thing.get(name)))


def text_of(value: object) -> str:
    """
    A value as one line of text.

    Control characters are written out: names and answers are other people's, and a terminal
    would obey them.
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Mapping():
            text = ", ".join(f"{key}={text_of(one)}" for key, one in value.items())
        case list() | tuple():
            text = ", ".join(text_of(one) for one in value)
        case _:
            text = str(value)
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def json_of(value: object, *, indent: int | None = None) -> str:
    """JSON of an answer; numbers of any size stay as they are."""
    ascii_only = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    return _CONTROL.sub(
        lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text
    )


def print_json(value: object) -> None:
    """One JSON document over several lines."""
    print(json_of(value, indent=2))


def print_json_list(pages: Iterable[Sequence[Thing]]) -> None:
    """One JSON list, each element on a line of its own; written page by page."""
    before = "["
    for thing in chain.from_iterable(pages):
        print(before, json_of(thing), sep="\n", end="")
        before = ","
    print("[]" if before == "[" else "\n]")


def print_table(columns: Sequence[Column], pages: Iterable[Sequence[Thing]], none: str) -> None:
    """
    What a list has: a table on a terminal; in a pipe lines of columns with a head, page by page.

    `none` is said on stderr if there is nothing.
    """
    if sys.stdout.isatty():
        rows = [_cells(columns, thing) for thing in chain.from_iterable(pages)]
        if rows:
            _print_rich(columns, rows)
        else:
            print(none, file=sys.stderr)
        return
    widths: list[int] = []
    for page in pages:
        rows = [[cell or _NONE for cell in _cells(columns, thing)] for thing in page]
        if not rows:
            continue
        if not widths:
            heads = [column.head.upper() for column in columns]
            widths = [max(map(len, cells)) for cells in zip(heads, *rows, strict=True)]
            print(aligned(heads, widths))
        for row in rows:
            print(aligned(row, widths))
    if not widths:
        print(none, file=sys.stderr)


def print_thing(columns: Sequence[Column], thing: Thing) -> None:
    """One thing, a line for each of its columns that has something."""
    cells = [(column.head, text_of(column.value(thing))) for column in columns]
    width = max(len(head) for head, _cell in cells)
    console = console_of()
    for head, cell in cells:
        if cell:
            console.print(f"{head:<{width}}", style="bold", end=_GAP)
            console.print(cell, soft_wrap=True)


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells as one line of columns."""
    return _GAP.join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def console_of(*, stderr: bool = False) -> Console:
    """One that colours a terminal only, unless NO_COLOR is set, and reads no markup."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr,
        force_terminal=terminal,
        width=None if terminal else _WIDE,
        markup=False,
        highlight=False,
        emoji=False,
    )


def pages_of(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    """A list that came whole, as pages."""
    yield things


def _cells(columns: Sequence[Column], thing: Thing) -> list[str]:
    return [text_of(column.value(thing)) for column in columns]


def _print_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    least = len(_GAP) * len(columns)
    for number, column in enumerate(columns):
        width = max(cell_len(column.head), *(cell_len(row[number]) for row in rows))
        width = min(width, _FOLDED_LEAST) if column.folds else width
        table.add_column(column.head, no_wrap=not column.folds, overflow="fold", min_width=width)
        least += width
    for row in rows:
        table.add_row(*row)
    console = console_of()
    # Where a terminal is too narrow it breaks the lines itself, and nothing is cut.
    console.width = max(console.width, least)
    console.print(table, crop=False)
