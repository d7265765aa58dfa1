"""What tasks and notices read: by which index, whatever the size of the tables."""

from __future__ import annotations

import re

import apsw
import pytest

from marketbell.store.migrate import migrate
from marketbell.store.sqlite import keep_plans
from marketbell.store.statements import texts

STATEMENTS = {
    (file, name): text
    for file in ("tasks", "operational")
    for name, text in texts("sqlite", file).items()
}
DRIVERS = {
    ("tasks", "tasks_up"): "INDEX task_organization (organization=? AND id>? AND id<?)",
    ("tasks", "tasks_running_of"): "COVERING INDEX task_running (organization=?)",
    ("tasks", "task_claim"): "INDEX task_due (due_at<?)",
    ("tasks", "tasks_ended_delete"): "INDEX task_ended (updated_at<?)",
    ("tasks", "candidates"): "PRIMARY KEY (application_id=? AND label=? AND message_id>?",
    ("tasks", "candidates_late"): "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    ("tasks", "due_count"): "COVERING INDEX delivery_due (endpoint_id=? AND due_at<?)",
    ("tasks", "parked_after"): "INDEX delivery_parked (",
    ("tasks", "aimed_prune"): "INTEGER PRIMARY KEY (rowid<?)",
    ("operational", "notice_names"): "INDEX application_uid (organization=? AND uid=?)",
    ("operational", "announced_prune"): "PRIMARY KEY (message_id<?)",
}
MAY_SCAN = (
    "SCAN CONSTANT ROW",
    "SCAN (subquery",  # what a limit has bounded already
    "SCAN json_each",
    "SCAN notice",  # those that wait, from the first on, up to a limit
    "SCAN task USING",  # those that run: few
)


@pytest.fixture(scope="module")
def connection() -> apsw.Connection:
    opened = apsw.Connection(":memory:")
    keep_plans(opened)
    migrate(opened)
    return opened


def plan(connection: apsw.Connection, statement: str) -> list[str]:
    """What each line of a statement's plan says."""
    values = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
    question = f"explain query plan {statement}"
    rows = connection.execute(question, values or (1,) * statement.count("?"))
    return [str(row[3]) for row in rows]


@pytest.mark.parametrize(("file", "name"), sorted(STATEMENTS))
def test_nothing_is_scanned(connection: apsw.Connection, file: str, name: str) -> None:
    lines = plan(connection, STATEMENTS[file, name])
    if name != "message_last":  # one look at the end of the table
        for line in lines:
            assert not line.startswith("SCAN") or line.startswith(MAY_SCAN), line
            assert "TEMP B-TREE" not in line, line
    driver = DRIVERS.get((file, name))
    if driver is not None:
        assert any(driver in line for line in lines), lines
