"""Migrations: their heads, their numbers, which may run now, and that what is released never changes."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from marketbell.errors import SchemaError
from marketbell.store.migrations import (
    LiveNode,
    Migration,
    fault_to_serve,
    known,
    read,
    standing,
)

RELEASED = Path(__file__).parents[1] / "golden" / "released_migrations.txt"


def steps(*after: int, last: int) -> tuple[Migration, ...]:
    """Migrations 1 to `last`, of which some run after."""
    return tuple(
        Migration(number, f"{number:04}_x.sql", number in after, False, "")
        for number in range(1, last + 1)
    )


def numbers(of: tuple[Migration, ...]) -> list[int]:
    return [one.number for one in of]


# -- the files


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_migrations_that_there_are_can_be_read(database: str) -> None:
    assert numbers(known(database)) == list(range(1, len(known(database)) + 1))
    if database == "sqlite":
        assert not any(one.alone for one in known(database))  # one process has the file anyway


def test_a_head_says_when_it_runs() -> None:
    assert read("0003_a.sql", "-- migrate: before\nx").after is False
    assert read("0003_a.sql", "-- migrate: after\nx").after is True
    alone = read("0003_a.sql", "-- migrate: before, no transaction\n-- Why.\nx y\n  z;\n\nw;\n")
    assert (alone.alone, alone.number) == (True, 3)
    assert [one.splitlines()[-1].strip() for one in alone.statements] == ["z", "w"]


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("0003_a.sql", "create table x ();"),
        ("0003_a.sql", "-- migrate: sometime\n"),
        ("0003_a.sql", " -- migrate: before\n"),
        ("3_a.sql", "-- migrate: before\n"),
        ("0003-A.sql", "-- migrate: before\n"),
    ],
)
def test_what_is_no_migration_is_not_taken_for_one(name: str, script: str) -> None:
    with pytest.raises(ValueError, match="no migration"):
        read(name, script)


def released() -> dict[str, str]:
    """The digest of each migration that a release holds, by its path in the store's `sql` folder."""
    lines = (line.split(maxsplit=1) for line in RELEASED.read_text().splitlines() if line)
    return {path: digest for digest, path in lines if digest != "#"}


def test_what_was_released_has_not_been_changed() -> None:
    folder = files("marketbell.store") / "sql"
    for path, digest in released().items():
        found = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        assert found == digest, f"{path} is in a release: mend it with a new migration"


# -- which may run


def test_with_nobody_there_all_that_is_missing_runs() -> None:
    found = standing(steps(3, last=5), 1)
    assert (numbers(found.runnable), found.waiting) == ([2, 3, 4, 5], ())


def test_what_runs_after_waits_for_the_nodes_that_do_not_know_it_and_holds_up_the_rest() -> None:
    old, new = LiveNode("old", 2), LiveNode("new", 4)
    found = standing(steps(3, last=5), 1, [new, old])
    assert (numbers(found.runnable), numbers(found.waiting)) == ([2], [3, 4, 5])
    assert found.held_up_by == (old,)
    assert numbers(standing(steps(3, last=5), 1, [new]).runnable) == [2, 3, 4, 5]


def test_old_nodes_hold_up_nothing_that_runs_before() -> None:
    assert numbers(standing(steps(last=4), 1, [LiveNode("old", 1)]).runnable) == [2, 3, 4]


def test_a_newer_schema_is_refused() -> None:
    assert standing(steps(last=3), 3).runnable == ()
    with pytest.raises(SchemaError, match=r"has schema 4, this program knows 3; use a newer one"):
        standing(steps(last=3), 4)


# -- who may serve


@pytest.mark.parametrize(
    ("after", "last", "current", "ran_after", "serves"),
    [
        ((), 3, 3, (), True),
        ((), 3, 2, (), False),  # what it needs has not run yet
        ((), 3, 0, (), False),
        ((3,), 3, 2, (), True),  # only what waits for others is missing
        ((2,), 3, 2, (2,), False),
        ((), 3, 5, (), True),  # of the version before, while the one after is brought in
        ((), 3, 5, (4,), False),  # too late: what it needs has gone
        ((2,), 3, 4, (2,), True),
    ],
)
def test_a_program_serves_on_the_schemas_next_to_its_own(
    after: tuple[int, ...], last: int, current: int, ran_after: tuple[int, ...], serves: bool
) -> None:
    fault = fault_to_serve(steps(*after, last=last), current, ran_after)
    assert (fault is None) is serves, fault
    if fault:
        assert ("marketbell migrate" in fault) is (current < last)
