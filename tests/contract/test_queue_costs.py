"""What publishing, claiming and recording touch on PostgreSQL: no more for a greater backlog."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from marketbell import ids
from marketbell.model import (
    SLOTS,
    Claim,
    DeliveryState,
    Message,
    Verdict,
)
from marketbell.store import keys
from marketbell.store.base import Birth, ClaimRequest, Idempotency, Publication, Result
from marketbell.store.keys import TimedKeys
from marketbell.store.postgresql_claiming import wanted
from marketbell.store.postgresql_publishing import Publishing
from marketbell.store.postgresql_recording import AttemptKeys, Recording
from marketbell.store.statements import statements
from marketbell.testing.clock import START as NOW
from support.postgres import PostgresServer, fresh_database
from support.postgres_crowd import nodes
from support.values import a_refusal

pytestmark = pytest.mark.alone

HOT = statements("hot")
DAY = 86_400_000
LEASE = 60_000
NEVER = 1 << 62
KEY = b"k" * 16
NESTED_PLANS = {
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
}
"""The plans of all statements, those within functions too, are told to the client."""
SIZES = {"small": (2_000, 500), "large": (60_000, 15_000)}
"""Deliveries and lanes."""


class Crowd:
    """A database with so many deliveries, none of them due, over so many lanes."""

    def __init__(self, url: str, deliveries: int, lanes: int) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.first = keys.floor(NOW)
        self.lanes = lanes
        self._keys = TimedKeys(5)
        self._keys.last = keys.floor(NOW + 10_000)
        self._fill(deliveries, lanes)
        self.execute("vacuum analyze")
        self.execute("checkpoint")

    def execute(self, statement: str, values: dict[str, Any] | None = None) -> list[Any]:
        done = self.connection.execute(statement.encode(), values)
        return done.fetchall() if done.description else []

    def _fill(self, deliveries: int, lanes: int) -> None:
        self.execute("set search_path to marketbell")
        self.execute(f"select add_partitions({NOW // DAY})")
        self.execute(
            "insert into application (public_id, organization, name, metadata, revision,"
            " created_at, updated_at) values ('app_1', 'org_x', 'x', '{}', 1, 0, 0)"
        )
        self.execute(
            "insert into endpoint (public_id, application_id, url, description, metadata, disabled,"
            " paused, slot, revision, version, created_at, updated_at)"
            " select 'ep_' || i, 1, 'https://x.example/', '', '{}', 0, 0, i % 1024, 1, 1, 0, 0"
            f" from generate_series(1, {lanes}) i"
        )
        self.execute(
            f"insert into lane (endpoint_id, slot, next_at) select id, slot, {NOW + DAY} + id"
            " from endpoint"
        )
        # Only the first thousand are ever claimed.
        for table, columns in (
            (
                (
                    "message (id, public_id, application_id, event_type, occurred_at, created_at,"
                    " payload_expires_at)"
                ),
                f"{self.first} + i, 'msg_' || i, 1, 't', {NOW}, {NOW}, {NOW + 90 * DAY}",
            ),
            ("payload", f"{self.first} + i, '{{}}'"),
        ):
            self.execute(f"insert into {table} select {columns} from generate_series(1, 1000) i")
        self.execute(
            f"insert into delivery select {self.first} + i, i % {lanes} + 1, 'pending',"
            f" {NOW + DAY} + i, 0, 0, 0, {NOW}, 'scheduled', null, 0"
            f" from generate_series(1, {deliveries}) i"
        )

    def make_due(self, count: int) -> None:
        """Let so many be due since a second, and their lanes with them."""
        self.execute(
            f"update delivery set due_at = {NOW - 1_000} where message_id <= {self.first + count}"
        )
        self.execute(
            f"update lane set next_at = {NOW - 1_000} where endpoint_id in"
            f" (select endpoint_id from delivery where due_at = {NOW - 1_000})"
        )

    def ask(self, name: str, values: dict[str, Any]) -> list[Any]:
        """The rows of a statement of the hot path."""
        return self.execute(text_of(name), values)

    def cost(self, name: str, values: dict[str, Any]) -> int:
        """How many blocks it touches, once the plans are made."""
        self.execute("savepoint before")
        self.ask(name, values)
        self.execute("rollback to before")
        explain = f"explain (analyze, buffers, format json) {text_of(name)}"
        (((whole,),),) = self.execute(explain, values)
        plan = whole["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    def took_ms(self, name: str, values: dict[str, Any]) -> float:
        """How long it takes by the server's own clock; it is undone."""
        self.execute("begin")
        explain = f"explain (analyze, timing off, format json) {text_of(name)}"
        (((whole,),),) = self.execute(explain, values)
        self.execute("rollback")
        return float(whole["Execution Time"])

    def looked_at(self, name: str, values: dict[str, Any]) -> int:
        """How many rows it takes into its hand, those of the statements within it too."""
        plans: list[dict[str, Any]] = []

        def told(notice: psycopg.errors.Diagnostic) -> None:
            _, found, plan = (notice.message_primary or "").partition("plan:\n")
            if found:
                plans.append(json.loads(plan)["Plan"])

        self.execute("load 'auto_explain'")
        for setting, value in NESTED_PLANS.items():
            self.execute(f"set local {setting} = {value}")
        self.connection.add_notice_handler(told)
        try:
            self.ask(name, values)
        finally:
            self.connection.remove_notice_handler(told)
            self.execute("set local client_min_messages = notice")
        assert plans
        return sum(
            (node["Actual Rows"] + node.get("Rows Removed by Join Filter", 0))
            * node["Actual Loops"]
            for plan in plans
            for node, _above in nodes(plan)
        )

    def scanned(self) -> dict[str, int]:
        """Tables that were read from end to end in this transaction, with how many rows."""
        return dict(
            self.execute(
                "select relname, seq_tup_read from pg_stat_xact_user_tables"
                " where seq_tup_read > 0 and schemaname = 'marketbell'"
            )
        )

    # -- what is asked --------------------------------------------------------------------

    def claim(
        self,
        lanes: Sequence[int] = (),
        *,
        limit: int = 1_000,
        room: int = 1_000,
        rooms: Mapping[int, int] | None = None,
        slots: Collection[int] | None = None,
    ) -> dict[str, Any]:
        request = ClaimRequest(
            now=NOW,
            lease_until=NOW + LEASE,
            limit=limit,
            bytes_max=1_000_000,
            lanes=list(lanes),
            rooms=rooms or {},
            new_room=room,
            slots=None if slots is None else frozenset(slots),
        )
        return wanted(request)

    def publications(self, *, key: bytes | None = None, lease: int = 0) -> dict[str, Any]:
        births = tuple(
            Birth(
                endpoint_id=place,
                due_at=NOW,
                lease_until=NOW + lease if lease else 0,
                order_key=key,
            )
            for place in range(1, 11)
        )
        made = [
            Publication(
                message=Message(
                    id=0,
                    public_id=ids.new_id(ids.MESSAGE, NOW),
                    application_id=1,
                    event_type="t",
                    event_id=f"new-{number}",
                    payload=b"{}",
                    occurred_at=NOW,
                    created_at=NOW,
                    payload_expires_at=NOW + 90 * DAY,
                ),
                revision=1,
                births=births,
                idempotency=Idempotency(number.to_bytes(16, "big"), bytes(16), True),
            )
            for number in range(50)
        ]
        return Publishing(made, self._keys.next, 90 * DAY).values()

    def results(self, rows: list[Any], state: str) -> dict[str, Any]:
        verdict = Verdict(state=DeliveryState(state), due_at=NOW + 7_000)
        results = [
            Result(claim=claim, attempt=a_refusal(claim, NOW), verdict=verdict)
            for claim in map(claim_of, rows)
        ]
        return Recording(results, AttemptKeys(self._keys)).values()


def text_of(name: str) -> str:
    """A statement of the hot path as psycopg takes it."""
    own = HOT[name].postgresql
    return re.sub(r"\$(\d+)", lambda found: f"%({own.names[int(found[1]) - 1]})s", own.text)


def claim_of(row: Any) -> Claim:
    message = Message(
        id=row[0],
        public_id=row[1],
        application_id=1,
        event_type="t",
        event_id=None,
        payload=b"{}",
        occurred_at=NOW,
        created_at=NOW,
        payload_expires_at=NOW,
    )
    return Claim(
        message=message,
        endpoint_id=row[19],
        endpoint_revision=1,
        claim_number=row[13],
        attempt_count=0,
        born_at=NOW,
        due_at=NOW,
        lease_until=NOW + LEASE,
    )


@pytest.fixture(scope="module")
def crowds(postgres: PostgresServer, migrated_template: str) -> Iterator[list[Crowd]]:
    """A small and a large database."""
    with ExitStack() as until:
        made = []
        for deliveries, lanes in SIZES.values():
            name = until.enter_context(fresh_database(postgres, migrated_template))
            made.append(Crowd(postgres.url(name, user="postgres"), deliveries, lanes))
            until.callback(made[-1].connection.close)
        yield made


@pytest.fixture
def pair(crowds: list[Crowd]) -> Iterator[list[Crowd]]:
    """Both of them, as they were filled."""
    for crowd in crowds:
        crowd.execute("begin")
    yield crowds
    for crowd in crowds:
        crowd.execute("rollback")


def compare(pair: list[Crowd], ask: Callable[[Crowd], tuple[str, dict[str, Any]]]) -> int:
    """The cost on the large one, which must not be twice that on the small one; nothing is scanned."""
    costs = []
    for crowd in pair:
        name, values = ask(crowd)
        before = crowd.scanned()
        costs.append(crowd.cost(name, values))
        scanned = {
            table: rows - before.get(table, 0)
            for table, rows in crowd.scanned().items()
            if rows > before.get(table, 0)
        }
        assert not scanned
    assert costs[1] <= 2 * costs[0] + 20, costs
    return costs[1]


@pytest.mark.parametrize("slots", [None, set(range(0, SLOTS, 3))], ids=["all", "a third"])
def test_a_claim_with_nothing_due_is_a_few_blocks(
    pair: list[Crowd], slots: set[int] | None
) -> None:
    assert compare(pair, lambda crowd: ("claim", crowd.claim(slots=slots))) < 60


def test_a_claim_behind_others_who_are_late_is_bounded(pair: list[Crowd]) -> None:
    """All lanes are due, and those of this node's slot later than all others."""
    _small, large = pair
    large.execute(f"update lane set next_at = {NOW - 1_000} - slot")
    large.execute("savepoint late")
    assert large.cost("claim", large.claim(slots={0, 1}, room=0)) < 3_000
    large.execute("rollback to late")
    *_, last = large.ask("claim", large.claim(slots={0, 1}, room=0))
    backlog = last[-3]
    assert backlog
    assert all(lane % SLOTS in {0, 1} for lane in backlog)


def test_a_claim_from_one_lane_with_the_whole_backlog_costs_as_much_as_it_takes(
    pair: list[Crowd],
) -> None:
    for crowd in pair:
        crowd.execute("update delivery set endpoint_id = 1")
        crowd.make_due(1_000)
    compare(pair, lambda crowd: ("claim", crowd.claim([1], limit=100)))


def test_a_claim_over_many_lanes_costs_as_much_as_it_takes(pair: list[Crowd]) -> None:
    for crowd in pair:
        crowd.make_due(400)
    compare(pair, lambda crowd: ("claim", crowd.claim(list(range(2, 202)), limit=100, room=1)))


def test_a_claim_by_the_lanes_own_times_costs_as_much_as_it_takes(pair: list[Crowd]) -> None:
    """With the rooms of as many lanes as a node may have claims of."""
    rooms = dict.fromkeys(range(1, 4_097), 1)
    for crowd in pair:
        crowd.make_due(150)
    compare(pair, lambda crowd: ("claim", crowd.claim(limit=100, room=1, rooms=rooms)))
    for crowd in pair:
        *rows, _last = crowd.ask("claim", crowd.claim(limit=100, room=1, rooms=rooms))
        assert len(rows) == 50  # which the measured one had left


def test_a_claim_costs_the_same_when_statistics_are_of_a_time_when_nothing_waited(
    pair: list[Crowd],
) -> None:
    """The planner takes all that waits for a few rows, which it might as well read whole."""
    for crowd in pair:
        crowd.execute("update delivery set state = 'sending'")
        crowd.execute("analyze delivery")
        crowd.execute("update delivery set state = 'pending'")
        crowd.make_due(200)
    compare(pair, lambda crowd: ("claim", crowd.claim(list(range(2, 202)), limit=100, room=1)))


@pytest.mark.parametrize("lease", [0, LEASE], ids=["pending", "claimed"])
def test_publishing_costs_the_same_however_much_waits(pair: list[Crowd], lease: int) -> None:
    compare(pair, lambda crowd: ("publish", crowd.publications(lease=lease)))


def test_publishing_to_a_key_with_a_long_line_costs_the_same(pair: list[Crowd]) -> None:
    for crowd in pair:
        crowd.execute(
            "update delivery set endpoint_id = 1, order_key = %(key)s, due_at = due_at + %(never)s",
            {"key": KEY, "never": NEVER},
        )
    compare(pair, lambda crowd: ("publish", crowd.publications(key=KEY)))


@pytest.mark.parametrize("state", ["delivered", "pending"])
def test_recording_costs_the_same_however_much_waits(pair: list[Crowd], state: str) -> None:
    claimed = {}
    for crowd in pair:
        crowd.make_due(100)
        rows = crowd.ask("claim", crowd.claim(list(range(2, 102))))
        claimed[crowd] = rows[:-1]
        assert len(claimed[crowd]) == 100
    compare(pair, lambda crowd: ("record", crowd.results(claimed[crowd], state)))


@pytest.mark.parametrize("known", [1, 1_000_000_000], ids=["emptier", "fuller"])
@pytest.mark.parametrize("what", ["publish", "claim", "delivered", "pending"])
def test_no_statement_goes_through_all_of_its_time_whatever_the_planner_believes(
    crowds: list[Crowd], what: str, known: int
) -> None:
    """It takes what is kept for a few rows, which it might as well compare with each, or for too many to hash."""
    crowd, kept = crowds[0], 5_000
    crowd.execute("begin")
    crowd.make_due(200)
    *rows, _last = crowd.ask("claim", crowd.claim(list(range(2, 102)), limit=100))
    crowd.execute(
        "insert into attempt (id, public_id, message_id, endpoint_id, claim_number, number, trigger,"
        " outcome, status_code, reason, url, address, started_at, duration)"
        f" select {keys.floor(NOW + 5_000)} + i, 'atmpt_' || i, {crowd.first} + 1, 1, 1, 1,"
        f" 'scheduled', 'accepted', 200, '', '', '', {NOW + 5_000}, 1"
        f" from generate_series(1, {kept}) i"
    )
    crowd.execute("analyze")
    crowd.execute(
        f"update pg_class set reltuples = {known}, relpages = 1"
        " where relnamespace = 'marketbell'::regnamespace and relkind in ('r', 'p', 'i')"
    )
    match what:
        case "publish":
            asked = "publish", crowd.publications()
        case "claim":
            asked = "claim", crowd.claim(limit=100)
        case _:
            asked = "record", crowd.results(rows, what)
            assert asked[1]["first"] < keys.floor(NOW + 5_000) < asked[1]["last"]
    looked_at = crowd.looked_at(*asked)
    crowd.execute("rollback")
    assert len(rows) == 100
    assert looked_at < 3 * kept


def test_ending_leases_costs_as_much_as_there_are(pair: list[Crowd]) -> None:
    for crowd in pair:
        crowd.make_due(100)
        crowd.ask("claim", crowd.claim(list(range(2, 102))))

    def lose(crowd: Crowd) -> tuple[str, dict[str, Any]]:
        return "lose_claims", {
            "now": NOW,
            "leases_now": NOW + LEASE,
            "owned": None,
            "lost_max": 20,
            "reason": "",
            "ids": [crowd.first + number for number in range(100)],
            "public_ids": [ids.new_id(ids.ATTEMPT, NOW) for _ in range(100)],
        }

    compare(pair, lose)


@pytest.mark.huge
@pytest.mark.timeout(3_600)
def test_a_claim_at_ten_million_costs_what_it_costs_at_ten_thousand(
    postgres: PostgresServer, migrated_template: str
) -> None:
    """100,000 lanes, of which 200 are due; blocks, and the best of the times."""
    took: list[float] = []
    costs: list[int] = []
    for deliveries, lanes in ((10_000, 1_000), (10_000_000, 100_000)):
        with fresh_database(postgres, migrated_template) as name:
            crowd = Crowd(postgres.url(name, user="postgres"), deliveries, lanes)
            crowd.make_due(1_000)
            crowd.execute("vacuum analyze")
            ask = ("claim", crowd.claim(list(range(2, 202)), limit=200, room=1))
            crowd.execute("begin")
            costs.append(crowd.cost(*ask))
            crowd.execute("rollback")
            took.append(min(crowd.took_ms(*ask) for _ in range(21)))
            crowd.connection.close()
    assert costs[1] <= 2 * costs[0], costs
    assert took[1] <= 2 * took[0], took
