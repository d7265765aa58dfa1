"""What every list and every step of retention reads: which index, how many rows, whatever the past."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from marketbell.store.migrate import migrate
from marketbell.store.sqlite import SqliteOptions, open_writer
from marketbell.store.statements import texts
from support.counted import Filled

FILES = ("configuration", "history", "retention", "search", "following", "statistics", "access")
EVERY = [(file, name) for file in FILES for name in texts("sqlite", file)]

# Small by their nature: the in-flight, one endpoint's secrets, a parameter, a bounded count.
MAY_SCAN = ("SCAN json_each VIRTUAL TABLE", "SCAN d USING COVERING INDEX delivery_leased")
# A run of rows that is noted for the lists is put in their order.
MAY_SORT = (
    "secrets", "destinations",
    "label_messages", "label_event_types", "label_channels", "label_tags", "note_attempts",
)  # fmt: skip
# The index of words is asked by its words; what has yet to be added up is read whole.
WORDS = ("SCAN t VIRTUAL TABLE INDEX",)
MAY_SCAN_ALL = {
    "parked": ("SCAN (subquery-1)",),
    "delivery_now": ("SCAN CONSTANT ROW", "SCAN (subquery-1)"),
    "messages_worded_down": WORDS,
    "messages_worded_up": WORDS,
    "tallies": ("SCAN tally",),
    "message_run": ("SCAN CONSTANT ROW",),
    "attempt_run": ("SCAN CONSTANT ROW",),
    "newest": ("SCAN CONSTANT ROW",),
    "setbacks_delete": ("SCAN setback",),
    "figures": ("SCAN CONSTANT ROW", "SCAN hours"),
}

DRIVERS = {
    "applications_up": "INDEX application_organization (organization=? AND id>? AND id<?)",
    "applications_down": "INDEX application_organization (organization=? AND id>? AND id<?)",
    "application_id_by_uid": "INDEX application_uid (organization=? AND uid=?)",
    "endpoints_up": "INDEX endpoint_application (application_id=? AND id>? AND id<?)",
    "endpoints_down": "INDEX endpoint_application (application_id=? AND id>? AND id<?)",
    "endpoint_id_by_uid": "INDEX endpoint_uid (application_id=? AND uid=?)",
    "api_keys_up": "INDEX api_key_organization (organization=? AND id>? AND id<?)",
    "api_keys_down": "INDEX api_key_organization (organization=? AND id>? AND id<?)",
    "api_keys_unexpired": "INDEX api_key_live (organization=? AND expires_at>?)",
    "event_types_up": "PRIMARY KEY (organization=? AND name>? AND name<?)",
    "event_types_down": "PRIMARY KEY (organization=? AND name>? AND name<?)",
    "message_id_by_event_id": "INDEX message_event_id (application_id=? AND event_id=?)",
    "messages_up": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "messages_down": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "attempts_of_endpoint_up": "PRIMARY KEY (endpoint_id=? AND attempt_id>? AND attempt_id<?)",
    "attempts_of_endpoint_down": "PRIMARY KEY (endpoint_id=? AND attempt_id>? AND attempt_id<?)",
    "attempts_late_up": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "attempts_late_down": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "messages_labelled_up": "PRIMARY KEY (application_id=? AND label=? AND message_id>?",
    "messages_labelled_down": "PRIMARY KEY (application_id=? AND label=? AND message_id>?",
    "messages_anywhere_up": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "messages_anywhere_down": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "attempts_refused_of_endpoint_up": "INDEX attempt_refused (endpoint_id=? AND id>? AND id<?)",
    "attempts_refused_of_endpoint_down": "INDEX attempt_refused (endpoint_id=? AND id>? AND id<?)",
    "attempts_anywhere_up": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "attempts_anywhere_down": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "attempts_refused_anywhere_up": "INDEX attempt_refused_anywhere (id>? AND id<?)",
    "attempts_refused_anywhere_down": "INDEX attempt_refused_anywhere (id>? AND id<?)",
    "deliveries_of_endpoint_up": "PRIMARY KEY (application_id=? AND label=? AND message_id>?",
    "deliveries_of_endpoint_down": "PRIMARY KEY (application_id=? AND label=? AND message_id>?",
    "deliveries_late_up": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "deliveries_late_down": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "deliveries_undelivered_up": "COVERING INDEX finished_undelivered (endpoint_id=? AND message_id>?",
    "deliveries_undelivered_down": "COVERING INDEX finished_undelivered (endpoint_id=? AND message_id>?",
    "deliveries_unfinished_up": "PRIMARY KEY (message_id>? AND message_id<?)",
    "deliveries_unfinished_down": "PRIMARY KEY (message_id>? AND message_id<?)",
    "label_messages": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "label_event_types": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "label_channels": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "label_tags": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "note_attempts": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "attempts_of_message_up": "INDEX attempt_message (message_id=? AND id>? AND id<?)",
    "attempts_of_message_down": "INDEX attempt_message (message_id=? AND id>? AND id<?)",
    "payloads_between": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "expiries_between": "PRIMARY KEY ((expires_at,message_id)>(?,?)",
    "attempts_between": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "messages_between": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "endpoints_deleted": "INDEX endpoint_deleted (deleted_at>? AND deleted_at<?)",
    "applications_deleted": "INDEX application_deleted (deleted_at>? AND deleted_at<?)",
    "deliveries_pending": "INDEX delivery_due (endpoint_id=?)",
    "failing_since": "INDEX lane_failing (failing_since>? AND failing_since<?)",
    "oldest_due": "INDEX lane_next (next_at>? AND next_at<?)",
    "bucket_after": "PRIMARY KEY (bucket>?)",
}
WITHIN = {
    "finished_delete": "PRIMARY KEY (message_id>? AND message_id<?)",
    "attempts_of_messages_delete": "INDEX attempt_message (message_id>? AND message_id<?)",
    "marks_delete": "PRIMARY KEY (bucket=?)",
    "secrets_over_delete": "INDEX secret_expiry (expires_at<?)",
    "oldest_pending": "INDEX lane_next (next_at>? AND next_at<?)",
    "parked": "INDEX delivery_parked",
    "keys_held_by_message": "INDEX held_key_message (message_id=?)",
    "endpoint_expunge": "SEARCH a USING PRIMARY KEY (endpoint_id=?)",
    "application_expunge": "PRIMARY KEY (application_id=? AND label=?)",
}


@pytest.fixture(scope="module", params=["empty", "with statistics"])
def planned(request: pytest.FixtureRequest) -> Filled:
    """A database that is new, and one whose planner knows the sizes of its tables."""
    filled = Filled()
    if request.param == "with statistics":
        for key in range(1, 4):
            filled.application(key)
        filled.messages(5_000, step=1_000)
        filled.pending()
        filled.connection.execute("analyze")
    return filled


@pytest.mark.parametrize(("file", "name"), EVERY, ids=[name for _file, name in EVERY])
def test_no_statement_reads_a_whole_table_or_sorts(planned: Filled, file: str, name: str) -> None:
    for line in planned.plan(file, name):
        allowed = line.startswith((*MAY_SCAN, *MAY_SCAN_ALL.get(name, ())))
        assert not line.startswith("SCAN") or allowed, line
        assert "TEMP B-TREE" not in line or name in MAY_SORT, line
        assert "AUTOMATIC" not in line, line


def test_a_join_is_planned_once(database_file: Path) -> None:
    """Planning takes twenty times as long as running, and SQLite's default is to do it each time."""
    options = SqliteOptions(path=database_file)
    connection = open_writer(options)
    migrate(connection)
    asked = 0

    def authorize(*_of: object) -> int:
        nonlocal asked
        asked += 1
        return apsw.SQLITE_OK

    # SQLite asks this for every column, each time that it plans a statement.
    connection.authorizer = authorize
    statement = texts("sqlite", "history")["attempt"]
    counts = []
    for key in range(5):
        connection.execute(statement, {"id": key, "with_content": True}).fetchall()
        counts.append(asked)
    connection.close()
    assert counts[0] > 0
    assert set(counts) == {counts[0]}


@pytest.mark.parametrize("name", DRIVERS)
def test_every_list_begins_at_its_index(planned: Filled, name: str) -> None:
    file = next(file for file, other in EVERY if other == name)
    assert DRIVERS[name] in planned.plan(file, name)[0]


def test_an_attempt_is_read_from_no_more_tables_than_it_shows(planned: Filled) -> None:
    """Where much is kept, each of a list's rows lies in a page of its own, in each table."""
    plan = "\n".join(planned.plan("history", "attempt"))
    assert not re.search(r"\b(p|f) USING", plan), plan


@pytest.mark.parametrize("name", WITHIN)
def test_every_removal_finds_its_rows_by_an_index(planned: Filled, name: str) -> None:
    plan = planned.plan("retention", name)
    assert any(WITHIN[name] in line for line in plan), plan
