"""Times and tables of the command line: what is read, what is shown, and that nothing heavy loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from marketbell.cli.given import json_given, pairs_given
from marketbell.cli.moments import clock_of, moment_of, seconds_of, told
from marketbell.cli.tables import aligned, text_of
from marketbell.errors import InvalidError

NOW = 1_795_316_400.0
"""2026-11-22T03:00:00Z."""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", "2026-11-22T01:00:00.000Z"),
        ("1d 1h", "2026-11-21T02:00:00.000Z"),
        ("1h30m", "2026-11-22T01:30:00.000Z"),
        ("500ms", "2026-11-22T02:59:59.500Z"),
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("2026-11-21T09:30:00Z", "2026-11-21T09:30:00.000Z"),
        ("2026-11-21T09:30:00+02:00", "2026-11-21T07:30:00.000Z"),
        ("2026-11-21 09:30", "2026-11-21T09:30:00.000Z"),
    ],
)
def test_a_time_is_so_long_ago_or_a_date(text: str, moment: str) -> None:
    assert moment_of(text, "since", NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "2", "2 hours", "-2h", "999999999d", "2026-13-01"])
def test_what_is_no_time_is_said_with_the_option(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        moment_of(text, "since", NOW)
    assert refused.value.field == ("since",)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("60", 60), ("90s", 90), ("2h 30m", 9_000), ("7d", 604_800)]
)
def test_a_length_is_with_a_unit_or_in_seconds(text: str, seconds: int) -> None:
    assert seconds_of(text, "grace") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5h", "500ms", "2 hours"])
def test_what_is_no_length_is_said_with_the_option(text: str) -> None:
    with pytest.raises(InvalidError, match="90s, 2h or 7d") as refused:
        seconds_of(text, "grace")
    assert refused.value.field == ("grace",)


@pytest.mark.parametrize(
    ("iso", "shown"),
    [
        ("2026-11-22T02:59:59.900Z", "2026-11-22 02:59:59Z (now)"),
        ("2026-11-22T02:59:15.000Z", "2026-11-22 02:59:15Z (45s ago)"),
        ("2026-11-22T01:00:00.000Z", "2026-11-22 01:00:00Z (2h ago)"),
        ("2026-11-20T02:00:00.000Z", "2026-11-20 02:00:00Z (2d ago)"),
        ("2026-11-22T03:05:00.000Z", "2026-11-22 03:05:00Z (in 5m)"),
        (None, ""),
        ("whenever", "whenever"),
    ],
)
def test_a_time_is_shown_both_ways(iso: str | None, shown: str) -> None:
    assert told(iso, NOW) == shown


def test_of_what_happens_now_the_time_of_day_is_shown() -> None:
    assert clock_of("2026-11-22T02:59:59.900Z") == "02:59:59.900"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (0, "0"),
        (["a", "b"], "a, b"),
        ({"a": "b", "c": None}, "a=b, c="),
        ("a\x1b[31m\nb\x9b", "a\\x1b[31m\\nb\\x9b"),
        ("ąž", "ąž"),
    ],
)
def test_a_value_is_one_line_that_commands_no_terminal(value: object, text: str) -> None:
    assert text_of(value) == text


def test_columns_are_two_spaces_apart_and_end_with_the_text() -> None:
    assert aligned(["a", "bb", ""], [3, 2, 5]) == "a    bb"
    assert aligned(["abcdef", "b"], [3, 2]) == "abcdef  b"


def test_pairs_are_read_at_their_first_mark() -> None:
    assert pairs_given(["a=b=c", "d="], "metadata") == {"a": "b=c", "d": ""}
    assert pairs_given(["X-A: b:c"], "header", ":") == {"X-A": "b:c"}
    assert pairs_given([], "metadata") is None
    with pytest.raises(InvalidError):
        pairs_given(["=a"], "metadata")


def test_deep_json_is_refused_and_not_a_fault() -> None:
    with pytest.raises(InvalidError, match="is not JSON"):
        json_given("[" * 100_000, "payload")


@pytest.mark.parametrize("line", ["message tail --help", "endpoint create --help"])
def test_help_of_the_groups_imports_nothing_heavy(line: str) -> None:
    code = (
        "import sys\n"
        "from marketbell.cli import run\n"
        f"assert run({line.split()!r}) == 0\n"
        "heavy = {'uvicorn', 'starlette', 'httpx', 'apsw', 'cryptography', 'jwt', 'structlog',"
        " 'jsonschema_rs', 'prometheus_client', 'asyncio', 'ssl', 'uvloop'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "[]\n"
