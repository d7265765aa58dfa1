"""The page of access: every scope, algorithm and limit, on both sides."""

from __future__ import annotations

import re
from pathlib import Path

from marketbell.api import keys
from marketbell.control.scopes import SCOPES
from marketbell.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_scopes_are_told_word_for_word() -> None:
    told = re.findall(r"^\| `([a-z-]+:[a-z]+)` \| (.*) \|$", section("Scopes"), re.MULTILINE)
    assert dict(told) == SCOPES


def test_the_algorithms_are_those_that_are_taken() -> None:
    rows = [line for line in section("Signed tokens").splitlines() if line.startswith("| `")]
    told = re.findall(r"`([A-Za-z0-9]+)`", " ".join(row.split("|")[1] for row in rows))
    assert sorted(told) == sorted(SETTINGS["jwt_algorithm"].choices)


def test_settings_and_routes_that_are_named_exist() -> None:
    limits = re.findall(r"^- `([a-z_]+)`", section("Limits"), re.MULTILINE)
    assert limits
    assert set(limits) <= set(SETTINGS)
    ours = {f"{one.method} {one.path}" for one in keys.OPERATIONS}
    named = set(re.findall(r"`((?:GET|POST) /api/v1/[^`]*)`", PAGE))
    assert named <= ours
    assert len(named) >= 5
