"""The page of Seller Center says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from marketbell.dialects.sellercenter import SCHEDULE, SellerCenter
from marketbell.marketplace.sellercenter import feeds, items, products
from marketbell.marketplace.sellercenter.actions.table import ACTIONS
from marketbell.marketplace.sellercenter.errors import MESSAGES, NEVER_GIVEN
from marketbell.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs/marketplaces/sellercenter.md").read_text()


def cells(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    text = PAGE.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = [line.strip("|").split(" | ") for line in table[0].splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_diagrams_are_those_of_the_tables() -> None:
    shown = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    machines = (feeds.FEED, products.PRODUCT, products.QUALITY, items.ITEMS)
    assert shown == [machine.diagram() for machine in machines]


def test_every_event_is_there_with_its_fields() -> None:
    catalogue = SellerCenter().catalogue
    rows = {row[0].strip("`"): row[1].strip("`") for row in cells("## A webhook")}
    assert sorted(rows) == sorted(catalogue)
    for name, payload in rows.items():
        example = msgspec.json.decode(catalogue[name].example)
        assert list(json.loads(payload)) == list(example), name


def test_every_action_is_there_with_its_method_and_version() -> None:
    assert [[cell.strip("`") for cell in row] for row in cells("## The Action API")] == [
        [action.name, " or ".join(sorted(action.methods)), ", ".join(action.versions)]
        for action in ACTIONS.values()
    ]


def test_every_error_is_there_with_its_text() -> None:
    rows = [[row[0], row[1].strip("`")] for row in cells("### Errors")]
    assert rows == [[str(number), text.replace("{}", "…")] for number, text in MESSAGES.items()]
    never = re.search(r"Never given here[^:]*: ([\d, ]+)\.", PAGE)
    assert never is not None
    assert {int(number) for number in never[1].split(", ")} == NEVER_GIVEN


def test_the_retries_are_the_schedules() -> None:
    minutes = [wait // 60_000 for wait in SCHEDULE.waits]
    assert "1, 5, 10, 30, 60, 120, 300 and 600 minutes, then a day" in PAGE
    assert minutes == [1, 5, 10, 30, 60, 120, 300, 600, 1_440]


def test_settings_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:sellercenter|marketplace|allow)_\w+)`", PAGE))
    assert named <= set(SETTINGS)
    assert {"sellercenter_window", "sellercenter_linio", "sellercenter_body_max"} <= named
