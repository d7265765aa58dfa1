"""What every list and every step of retention reads: which index, how many rows, whatever the past."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from marketbell import ids
from marketbell.store import retention
from marketbell.store.base import Ages, MessageFilter, Page, Pruned
from marketbell.store.marks import Marks
from marketbell.store.migrate import migrate
from marketbell.store.searching import Searcher
from marketbell.store.sqlite import SqliteOptions, SqliteTransaction, keep_plans, open_writer
from marketbell.store.statements import texts
from marketbell.testing.clock import START

FILES = ("configuration", "history", "retention", "search", "statistics", "access")
EVERY = [(file, name) for file in FILES for name in texts("sqlite", file)]
DAY = 86_400_000
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)

# Small by their nature: the in-flight, one endpoint's secrets, a parameter, a bounded count.
MAY_SCAN = ("SCAN json_each VIRTUAL TABLE", "SCAN d USING COVERING INDEX delivery_leased")
MAY_SORT = ("secrets", "destinations")
# The index of words is asked by its words; what has yet to be added up is read whole.
WORDS = ("SCAN t VIRTUAL TABLE INDEX",)
MAY_SCAN_ALL = {
    "parked": ("SCAN (subquery-1)",),
    "delivery_now": ("SCAN CONSTANT ROW", "SCAN (subquery-1)"),
    "messages_worded_down": WORDS,
    "messages_worded_up": WORDS,
    "tallies": ("SCAN tally",),
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
    "messages_up": "INDEX message_application (application_id=? AND id>? AND id<?)",
    "messages_down": "INDEX message_application (application_id=? AND id>? AND id<?)",
    "attempts_of_endpoint_up": "INDEX attempt_endpoint (endpoint_id=? AND id>? AND id<?)",
    "attempts_of_endpoint_down": "INDEX attempt_endpoint (endpoint_id=? AND id>? AND id<?)",
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
    "deliveries_of_endpoint_up": "INDEX message_application (application_id=? AND id>? AND id<?)",
    "deliveries_of_endpoint_down": "INDEX message_application (application_id=? AND id>? AND id<?)",
    "deliveries_undelivered_up": "COVERING INDEX finished_undelivered (endpoint_id=? AND message_id>?",
    "deliveries_undelivered_down": "COVERING INDEX finished_undelivered (endpoint_id=? AND message_id>?",
    "deliveries_unfinished_up": "PRIMARY KEY (message_id>? AND message_id<?)",
    "deliveries_unfinished_down": "PRIMARY KEY (message_id>? AND message_id<?)",
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
    "parked": "INDEX delivery_parked",
    "keys_held_by_message": "INDEX held_key_message (message_id=?)",
    "endpoint_expunge": "INDEX attempt_endpoint (endpoint_id=?)",
    "application_expunge": "INDEX message_application (application_id=?)",
}


class Filled:
    """A database in memory that was filled by statements, and that counts what its queries do."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        keep_plans(self.connection)
        migrate(self.connection)
        self.transaction = SqliteTransaction(
            self.connection, Marks(SqliteTransaction(self.connection), START)
        )
        self.operations = 0

    def application(self, key: int = 1) -> None:
        """An application with one endpoint of the same key."""
        self.connection.execute(
            "insert into application (id, public_id, organization, name, metadata, revision,"
            " created_at, updated_at) values (?, ?, 'org_x', 'x', '{}', 1, ?, ?)",
            (key, f"app_{key}", START, START),
        )
        self.connection.execute(
            "insert into endpoint (id, public_id, application_id, url, description, metadata,"
            " disabled, paused, slot, revision, version, created_at, updated_at)"
            " values (?, ?, ?, 'https://x.example/', '', '{}', 0, 0, 0, 1, 1, ?, ?)",
            (key, f"ep_{key}", key, START, START),
        )
        self.connection.execute(
            "insert into lane (endpoint_id, slot, next_at) values (?, 0, null)", (key,)
        )

    def messages(self, count: int, *, step: int, application_id: int = 1) -> None:
        """So many messages with payloads, an attempt each, one every `step` milliseconds."""
        rows = [
            (ids.new_id(ids.MESSAGE, START + index * step), START + index * step)
            for index in range(count)
        ]
        self.connection.executemany(
            "insert into message (public_id, application_id, event_type, occurred_at, created_at,"
            f" payload_expires_at) values (?1, {application_id}, 'part.updated', ?2, ?2, ?2)",
            rows,
        )
        self.connection.execute("insert into payload select id, x'7b7d' from message")
        self.connection.execute(
            "insert into attempt (public_id, message_id, endpoint_id, claim_number, number,"
            " trigger, outcome, status_code, reason, url, address, started_at, duration)"
            " select 'atmpt_' || substr(public_id, 5), id, ?, 1, 1, 'scheduled', 'accepted', 200,"
            " '', '', '', created_at, 5 from message",
            (application_id,),
        )

    def pending(self) -> None:
        """An unfinished delivery of every message."""
        self.connection.execute(
            "insert into delivery select id, application_id, 'pending', created_at, 0, 0, 0,"
            " created_at, 'scheduled', null, id from message"
        )

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the database's operations, to 50."""
        self.operations = 0

        def tick() -> bool:
            self.operations += 50
            return False

        self.connection.set_progress_handler(tick, 50)
        try:
            yield
        finally:
            self.connection.set_progress_handler(None)

    def plan(self, file: str, name: str) -> list[str]:
        """The lines of a statement's query plan."""
        statement = texts("sqlite", file)[name]
        names = set(re.findall(r":(\w+)", statement))
        values = dict.fromkeys(names) if names else (None,) * statement.count("?")
        rows = self.connection.execute(f"explain query plan {statement}", values)
        return [str(row[3]) for row in rows]

    def prune(self, now: int, limit: int = 100) -> Pruned:
        """A first step of retention."""
        return retention.prune(
            self.transaction, retention.Walks(), AGES, now=now, real=now, limit=limit
        )


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


def test_a_filter_by_time_reads_that_time_only() -> None:
    """The last of 30,000 messages, by a filter that none of the others passes."""
    filled = Filled()
    filled.application()
    filled.messages(30_000, step=10_000)
    end = START + 30_000 * 10_000
    for since, until in ((end - 10_000, None), (None, START + 1), (START + DAY, START + DAY + 1)):
        which = MessageFilter(since=since, until=until)
        with filled.counted():
            found = Searcher(filled.transaction, 60.0).messages(1, which, Page(limit=50))
        assert len(found.data) == 1
        assert filled.operations < 3_000


@pytest.mark.parametrize("place", ["newest", "oldest"])
def test_a_page_costs_the_same_wherever_it_begins(place: str) -> None:
    filled = Filled()
    filled.application()
    filled.messages(30_000, step=1_000)
    rows = filled.connection.execute(
        "select public_id from message where id = ?", (29_900 if place == "newest" else 100,)
    ).fetchall()
    public_id = str(rows[0][0])
    for page in (Page(limit=50, after=public_id), Page(limit=50, before=public_id)):
        with filled.counted():
            found = Searcher(filled.transaction, 60.0).messages(1, MessageFilter(), page)
        assert len(found.data) == 50
        assert filled.operations < 10_000


def test_a_step_with_nothing_to_do_costs_the_same_whatever_is_kept() -> None:
    costs = []
    for count in (1_000, 50_000):
        filled = Filled()
        filled.application()
        filled.messages(count, step=1)
        filled.pending()
        with filled.counted():
            assert filled.prune(START + DAY) == Pruned()
        costs.append(filled.operations)
    assert costs[1] <= costs[0] + 1_000


def test_a_step_costs_the_same_whatever_number_of_rows_cannot_go() -> None:
    """All are past every age, and an unfinished delivery needs each of them."""
    costs = []
    for count in (2_000, 20_000):
        filled = Filled()
        filled.application()
        filled.messages(count, step=1)
        filled.pending()
        filled.connection.execute("delete from attempt")
        walks = retention.Walks()
        steps = 0
        more = True
        while more:
            with filled.counted():
                pruned = retention.prune(
                    filled.transaction,
                    walks,
                    AGES,
                    now=START + 60 * DAY,
                    real=START,
                    limit=100,
                )
            more = pruned.more
            steps += 1
            if steps == 10:
                costs.append(filled.operations)
        assert (pruned.payloads, pruned.messages) == (0, 0)
        assert steps <= 2 * count / 100 + 4
        with filled.counted():
            retention.prune(
                filled.transaction,
                walks,
                AGES,
                now=START + 60 * DAY + 1,
                real=START,
                limit=100,
            )
        assert filled.operations < 3_000
    assert costs[1] <= costs[0] * 1.2
