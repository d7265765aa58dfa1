"""What publishing, claiming and recording read: by which index, and no more for a greater backlog."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import apsw
import pytest

from marketbell import ids
from marketbell.model import (
    Application,
    Claim,
    DeliveryState,
    Endpoint,
    Message,
    Verdict,
)
from marketbell.store import claiming
from marketbell.store.base import (
    Birth,
    Claimed,
    ClaimRequest,
    Idempotency,
    Publication,
    Published,
    Result,
)
from marketbell.store.configuration import owner_and_endpoint
from marketbell.store.keys import SerialKeys
from marketbell.store.marks import IndexedMarks
from marketbell.store.migrate import migrate
from marketbell.store.publishing import Publisher, PublishWork
from marketbell.store.recording import RecordWork, go_on, record
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteTransaction, keep_plans
from marketbell.store.statements import statements, texts
from marketbell.store.transaction import Transaction
from marketbell.testing.clock import START as NOW
from support.values import a_refusal

pytestmark = pytest.mark.alone

SMALL, LARGE = 5_000, 500_000
DAY = 86_400_000
NEVER = 1 << 62
LEASE = 60_000
KEY = b"k" * 16
BOX = Box([bytes(32)])
EVERY = sorted(texts("sqlite", "queue").keys() - {"mark_table"})

DRIVERS = {
    "application_revision": "INTEGER PRIMARY KEY (rowid=?)",
    "application_revisions": "INTEGER PRIMARY KEY (rowid=?)",
    "event_id_taken": "COVERING INDEX message_event_id (application_id=? AND event_id=?)",
    "message_by_id": "INTEGER PRIMARY KEY (rowid=?)",
    "order_next": "INDEX delivery_order (endpoint_id=? AND order_key=?)",
    "leases_ended": "INDEX delivery_leased (due_at<?)",
    "lanes_due": "INDEX lane_next (next_at<?)",
    "lane_live": "INTEGER PRIMARY KEY (rowid=?)",
    "deliveries_due": "INDEX delivery_due (endpoint_id=? AND due_at<?)",
    "delivery_next_due": "COVERING INDEX delivery_due (endpoint_id=? AND due_at<?)",
    "delivery_claim": "PRIMARY KEY (message_id=? AND endpoint_id=?)",
    "delivery_again": "PRIMARY KEY (message_id=? AND endpoint_id=?)",
    "delivery_unfinished": "PRIMARY KEY (message_id=? AND endpoint_id=?)",
    "delivery_delivered": "PRIMARY KEY (message_id=? AND endpoint_id=?)",
    "delivery_failed": "PRIMARY KEY (message_id=? AND endpoint_id=?)",
    "delivery_release": "PRIMARY KEY (message_id=? AND endpoint_id=?)",
    "lane_lower": "INTEGER PRIMARY KEY (rowid=?)",
    "lane_set": "INTEGER PRIMARY KEY (rowid=?)",
    "key_held_by": "INDEX held_key_message (message_id=?",
    "mark_find": "INTEGER PRIMARY KEY (rowid=?)",
    "mark_part": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "mark_drop": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "mark_load": "PRIMARY KEY (bucket=?)",
}
MAY_SCAN = (
    "SCAN CONSTANT ROW",
    "SCAN j VIRTUAL TABLE",  # the keys that were asked for
    "SCAN part",  # of the index over marks, as many as one step may pass
    "SCAN delivery USING",  # the claims of a process that is gone, once, when a file is opened
)
MAY_SCAN_ONE_ROW = ("last_message_id", "attempt_last", "lane_next_at", "mark_last")
"""The greatest or least of an index, which is one look at its end."""
MAY_SORT = ("mark_load",)
"""What runs when a file is opened and then no more."""


class Crowd:
    """A database with so many deliveries, none of them due, over so many lanes."""

    def __init__(self, deliveries: int, lanes: int) -> None:
        self.connection = apsw.Connection(":memory:")
        keep_plans(self.connection)
        migrate(self.connection)
        self.transaction = SqliteTransaction(
            self.connection, IndexedMarks(SqliteTransaction(self.connection), NOW)
        )
        self._fill(deliveries, lanes)
        self.last_message = deliveries

    def _fill(self, deliveries: int, lanes: int) -> None:
        execute = self.connection.execute
        count = "with recursive n (i) as (select 1 union all select i + 1 from n where i < ?)"
        with self.connection:
            execute(
                "insert into application (id, public_id, organization, name, metadata, revision,"
                " created_at, updated_at) values (1, 'app_1', 'org_x', 'x', '{}', 1, 0, 0)"
            )
            execute(
                f"{count} insert into endpoint (id, public_id, application_id, url, description,"
                " metadata, disabled, paused, slot, revision, version, created_at, updated_at)"
                " select i, 'ep_' || i, 1, 'https://x.example/', '', '{}', 0, 0, 0, 1, 1, 0, 0"
                " from n",
                (lanes,),
            )
            execute(
                "insert into lane (endpoint_id, slot, next_at) select id, 0, ? + id from endpoint",
                (NOW + DAY,),
            )
            execute(
                f"{count} insert into message (id, public_id, application_id, event_type,"
                " event_id, occurred_at, created_at, payload_expires_at)"
                " select i, 'msg_' || i, 1, 't', 'evt-' || i, ?2, ?2, ?3 from n",
                (deliveries, NOW, NOW + 90 * DAY),
            )
            execute("insert into payload select id, x'7b7d' from message")
            execute(
                "insert into delivery select id, id % ? + 1, 'pending', ? + id, 0, 0, 0, ?,"
                " 'scheduled', null, id from message",
                (lanes, NOW + DAY, NOW),
            )

    def make_due(self, where: str) -> None:
        """Let these deliveries be due since a second, and their lanes with them."""
        self.connection.execute(f"update delivery set due_at = ? where {where}", (NOW - 1_000,))
        self.connection.execute(
            "update lane set next_at = ?1 where endpoint_id in"
            " (select endpoint_id from delivery where due_at = ?1)",
            (NOW - 1_000,),
        )

    def claim(self, **request: Any) -> Claimed:
        """Claim with more room than is needed, unless told otherwise."""

        def look_up(transaction: Transaction, endpoint_id: int) -> tuple[Application, Endpoint]:
            return owner_and_endpoint(transaction, BOX, endpoint_id, NOW)

        fields = {
            "now": NOW,
            "lease_until": NOW + LEASE,
            "limit": 1_000,
            "rooms": {},
            "new_room": 1_000,
            **request,
        }
        return claiming.claim(self.transaction, ClaimRequest(**fields), look_up)

    def publish(self, births: tuple[Birth, ...], count: int = 100) -> list[Published]:
        """Publish so many messages in one transaction."""
        publications = [
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
            for number in range(count)
        ]
        work = PublishWork(publications, asyncio.get_running_loop().create_future())
        Publisher(SerialKeys(self.last_message), 90 * DAY).keep(self.transaction, [work])
        return [verdict for verdict in work.verdicts if isinstance(verdict, Published)]

    def results(self, claims: Sequence[Claim], verdict: Verdict) -> list[Result]:
        """An attempt of each claim with what follows from it."""
        return [
            Result(claim=claim, attempt=a_refusal(claim, NOW), verdict=verdict) for claim in claims
        ]

    def record(self, results: Sequence[Result]) -> None:
        """Record them in one call."""
        future = asyncio.get_running_loop().create_future()
        record(self.transaction, [RecordWork(results, future)])

    def cost(self, work: Callable[[], object]) -> int:
        """How many operations of the database a piece of work takes, to ten."""
        operations = 0

        def tick() -> bool:
            nonlocal operations
            operations += 10
            return False

        self.connection.set_progress_handler(tick, 10)
        try:
            work()
        finally:
            self.connection.set_progress_handler(None)
        return operations

    def plan(self, name: str) -> list[str]:
        """The lines of a statement's query plan."""
        statement = texts("sqlite", "queue")[name]
        names = set(re.findall(r":(\w+)", statement))
        values = dict.fromkeys(names) if names else (None,) * statement.count("?")
        rows = self.connection.execute(f"explain query plan {statement}", values)
        return [str(row[3]) for row in rows]


@pytest.fixture(scope="module")
def crowds() -> dict[int, Crowd]:
    """A small and a large database; a test that changes them does so in a transaction of its own."""
    return {SMALL: Crowd(SMALL, 1_000), LARGE: Crowd(LARGE, 100_000)}


@pytest.fixture
def pair(crowds: dict[int, Crowd]) -> Iterator[tuple[Crowd, Crowd]]:
    """Both of them, as they were filled."""
    both = (crowds[SMALL], crowds[LARGE])
    for crowd in both:
        crowd.connection.execute("begin")
    yield both
    for crowd in both:
        crowd.connection.execute("rollback")


@pytest.fixture(scope="module", params=["empty", "with statistics"])
def planned(request: pytest.FixtureRequest) -> Crowd:
    """A new database, and one whose planner knows the sizes of its tables."""
    if request.param == "empty":
        return Crowd(1, 1)
    crowd = Crowd(SMALL, 100)
    crowd.connection.execute("analyze")
    return crowd


# -- plans --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_no_statement_reads_a_whole_table_or_sorts(planned: Crowd, name: str) -> None:
    for line in planned.plan(name):
        allowed = line.startswith(MAY_SCAN) or name in MAY_SCAN_ONE_ROW
        assert not line.startswith("SCAN") or allowed, line
        assert "TEMP B-TREE" not in line or name in MAY_SORT, line
        assert "AUTOMATIC" not in line, line


@pytest.mark.parametrize("name", DRIVERS)
def test_every_hot_statement_begins_at_its_index(planned: Crowd, name: str) -> None:
    plan = planned.plan(name)
    assert any(DRIVERS[name] in line for line in plan), plan


@pytest.mark.parametrize("name", MAY_SCAN_ONE_ROW)
def test_the_ends_of_an_index_are_one_look(pair: tuple[Crowd, Crowd], name: str) -> None:
    statement = texts("sqlite", "queue")[name]
    values = {"bucket": 1} if ":bucket" in statement else {}

    def look(crowd: Crowd) -> None:
        crowd.transaction.row(statements("queue")[name], values)

    assert compare(pair, look) <= 50


# -- costs --------------------------------------------------------------------------------


def compare(pair: tuple[Crowd, Crowd], work: Callable[[Crowd], object]) -> int:
    """The cost on the large one, which must not be twice that on the small one."""
    costs = [crowd.cost(partial(work, crowd)) for crowd in pair]
    assert costs[1] <= 2 * costs[0] + 100, costs
    return costs[1]


def test_a_claim_with_nothing_due_looks_at_nothing(pair: tuple[Crowd, Crowd]) -> None:
    """500,000 deliveries wait in 100,000 lanes, none of which is due."""
    _small, large = pair
    assert compare(pair, lambda crowd: crowd.claim()) < 200
    assert large.claim().next_at == NOW + DAY + 1
    fastest = 1.0
    for _ in range(20):
        begun = time.perf_counter()
        large.claim()
        fastest = min(fastest, time.perf_counter() - begun)
    assert fastest < 0.001


def test_a_claim_from_one_lane_with_the_whole_backlog_costs_as_much_as_it_takes(
    pair: tuple[Crowd, Crowd],
) -> None:
    for crowd in pair:
        crowd.connection.execute("update delivery set endpoint_id = 1")
        crowd.make_due("true")

    def work(crowd: Crowd) -> None:
        claimed = crowd.claim(new_room=100)
        assert len(claimed.claims) == 100
        assert claimed.backlog == {1}

    compare(pair, work)


def test_a_claim_over_many_lanes_that_are_due_costs_as_much_as_it_takes(
    pair: tuple[Crowd, Crowd],
) -> None:
    for crowd in pair:
        crowd.make_due("true")

    def work(crowd: Crowd) -> None:
        assert len(crowd.claim(limit=100, new_room=1).claims) == 100

    compare(pair, work)


def test_a_claim_behind_lanes_without_room_stays_bounded(pair: tuple[Crowd, Crowd]) -> None:
    for crowd in pair:
        crowd.make_due("true")

    def work(crowd: Crowd) -> None:
        assert crowd.claim(new_room=0).claims == ()

    assert compare(pair, work) < 30_000


def test_ending_leases_costs_as_much_as_there_are(pair: tuple[Crowd, Crowd]) -> None:
    for crowd in pair:
        crowd.make_due("message_id <= 150")
        assert len(crowd.claim().claims) == 150

    def work(crowd: Crowd) -> None:
        assert crowd.claim(now=NOW + LEASE, lease_until=NOW + 2 * LEASE).lost == 150

    compare(pair, work)


async def test_publishing_costs_the_same_however_much_waits(pair: tuple[Crowd, Crowd]) -> None:
    births = tuple(
        Birth(endpoint_id=number, due_at=NOW, lease_until=NOW + LEASE if number % 2 else 0)
        for number in range(1, 11)
    )

    def work(crowd: Crowd) -> None:
        assert len(crowd.publish(births)) == 100

    compare(pair, work)


async def test_publishing_to_a_key_with_a_long_line_costs_the_same(
    pair: tuple[Crowd, Crowd],
) -> None:
    for crowd in pair:
        crowd.connection.execute(
            "update delivery set endpoint_id = 1, order_key = ?, due_at = due_at + ?"
            " where message_id > 1",
            (KEY, NEVER),
        )

    def work(crowd: Crowd) -> None:
        assert len(crowd.publish((Birth(endpoint_id=1, due_at=NOW, order_key=KEY),))) == 100

    compare(pair, work)


@pytest.mark.parametrize("state", ["delivered", "pending", "failed"])
async def test_recording_costs_the_same_however_much_waits(
    pair: tuple[Crowd, Crowd], state: str
) -> None:
    verdict = Verdict(state=DeliveryState(state), due_at=NOW + 7_000)
    results: dict[Crowd, list[Result]] = {}
    for crowd in pair:
        crowd.make_due("message_id <= 100")
        results[crowd] = crowd.results(crowd.claim().claims, verdict)
        assert len(results[crowd]) == 100
    compare(pair, lambda crowd: crowd.record(results[crowd]))
    compare(pair, lambda crowd: crowd.record(results[crowd]))  # once more, for nothing


def test_releasing_costs_the_same_however_much_waits(pair: tuple[Crowd, Crowd]) -> None:
    claims: dict[Crowd, Sequence[Claim]] = {}
    for crowd in pair:
        crowd.make_due("message_id <= 100")
        claims[crowd] = crowd.claim().claims
    compare(pair, lambda crowd: claiming.release(crowd.transaction, claims[crowd]))


def test_a_key_goes_on_at_the_same_cost_however_long_its_line(pair: tuple[Crowd, Crowd]) -> None:
    for crowd in pair:
        crowd.connection.execute(
            "update delivery set endpoint_id = 1, order_key = ?, due_at = due_at + ?",
            (KEY, NEVER),
        )
    assert compare(pair, lambda crowd: go_on(crowd.transaction, 1, KEY)) < 500
