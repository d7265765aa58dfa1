"""The page on Ovoko: its diagrams, events and paths are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from marketbell.dialects.ovoko import PartStatus
from marketbell.dialects.registry import dialect
from marketbell.marketplace.ovoko.face import OPERATIONS
from marketbell.marketplace.ovoko.orders import ORDERS
from marketbell.marketplace.ovoko.parts import NUMBER_OF, PARTS
from marketbell.marketplace.ovoko.returns import RETURNS
from marketbell.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs/marketplaces/ovoko.md").read_text()


def column(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table whose head begins so."""
    table = PAGE.split(f"\n| {heading}", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_the_diagrams_are_those_of_the_tables() -> None:
    shown = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown == [machine.diagram() for machine in (PARTS, ORDERS, RETURNS)]


def test_every_event_type_is_there() -> None:
    catalogue = dialect("ovoko").catalogue
    assert [row[0] for row in column("event type")] == list(catalogue)


def test_every_status_has_its_number() -> None:
    rows = column("status | number")
    assert [row[0] for row in rows] == [status.value for status in PartStatus]
    for word, number, _meaning in rows:
        expected = NUMBER_OF[word]
        assert number.removeprefix("shown as ") == ("null" if expected is None else str(expected))


def test_every_path_is_there() -> None:
    assert [row[0] for row in column("path")] == list(OPERATIONS)


def test_settings_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:ovoko|marketplace|body|allow|attempt)_[a-z_]+)`", PAGE))
    assert named <= set(SETTINGS), named - set(SETTINGS)
