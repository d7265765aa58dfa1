"""Every trap of the documents, 1 to 35, has a test that names its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TRAPS = set(range(1, 36))
TESTS = Path(__file__).parent.parent


def numbers_of(text: str) -> set[int]:
    """The numbers that a name or a sentence gives after the word: `trap_24_and_25`, `Traps 5, 6 and 7`."""
    found: set[int] = set()
    for run in re.findall(
        r"(?i)\btraps?[ _](\d+(?:(?:, | and |_and_)\d+)*)", text.replace("test_", "")
    ):
        found |= set(map(int, re.findall(r"\d+", run)))
    return found


def test_numbers_are_read_from_names_and_sentences() -> None:
    assert numbers_of("test_trap_24_and_25_the_table") == {24, 25}
    assert numbers_of("Traps 5, 6 and 7: three resends") == {5, 6, 7}
    assert numbers_of("Trap 4, seen from the API") == {4}
    assert numbers_of("a trapdoor 9") == set()


def test_every_trap_has_a_test_that_names_it() -> None:
    named: dict[int, list[str]] = {number: [] for number in TRAPS}
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                for number in numbers_of(node.name) | numbers_of(ast.get_docstring(node) or ""):
                    named.setdefault(number, []).append(f"{file.name}::{node.name}")
    assert named.keys() == TRAPS
    assert {number for number, tests in named.items() if not tests} == set()
