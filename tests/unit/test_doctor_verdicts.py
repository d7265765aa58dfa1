"""The doctor's verdicts: each judgement on either side of each of its bounds. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from marketbell.doctor import of_database, of_machine
from marketbell.doctor.findings import (
    Finding,
    exit_code,
    failure,
    ok,
    size_told,
    time_told,
    unknown,
    warning,
)
from marketbell.doctor.machine import Disk, Kept, Limit
from marketbell.store.inspecting import MANY, Count, Here, Outbox, Transactions
from marketbell.store.migrations import LiveNode, Migration, Standing
from marketbell.store.nodes_plane import NodeRow

NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
GB = 1_000_000_000
TABLES = ("attempt", "message")


def here(**other: object) -> Here:
    well: dict[str, object] = {"now": NOW, "version": "18.1", "number": 180_001, "replica": False}
    return Here(**{**well, "size": GB, **other})  # type: ignore[arg-type]


def node(name: str = "a", **other: object) -> NodeRow:
    whole: dict[str, object] = {
        "number": 1, "name": name, "role": "all", "version": "1", "schema": 3, "leaving": False,
        "skew": 0, "started_at": NOW, "left": 9_000, "slots": 1_024, **other,
    }  # fmt: skip
    return NodeRow(**whole)  # type: ignore[arg-type]


def step(number: int, *, after: bool = False) -> Migration:
    return Migration(number, f"{number:04}_x.sql", after, False, "")


def days(*names: str) -> Mapping[str, list[str]]:
    return {table: [f"{table}_{name}" for name in names] for table in TABLES}


def durable(**other: str) -> Mapping[str, str]:
    return {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", **other}


def partitions(*names: str) -> Finding:
    return of_database.of_partitions(days(*names), NOW, dict.fromkeys(TABLES, 90 * DAY))


CASES = [
    # -- the database
    (of_database.of_postgresql(here(), 3), "ok", "answers in 3 ms"),
    (of_database.of_postgresql(here(), 101), "warning", "nearer"),
    (of_database.of_postgresql(here(replica=True), 3), "failure", "primary"),
    (of_database.of_postgresql(here(number=140_023), 3), "failure", "needs 15 or later"),
    (of_database.of_postgresql(here(number=150_000), 3), "ok", "answers"),
    (of_database.of_postgresql(here(number=189_999), 3), "ok", "answers"),
    (of_database.of_postgresql(here(number=190_000), 3), "warning", "newer Marketbell"),
    (of_database.of_schema(Standing(3, (), (), ())), "ok", "up to date"),
    (of_database.of_schema(Standing(4, (), (), (), 1)), "warning", "1 ahead of this program"),
    (of_database.of_schema(Standing(2, (step(3),), (), ())), "failure", "marketbell migrate"),
    (of_database.of_schema(Standing(2, (step(3, after=True),), (), ())), "warning", "migrate"),
    (
        of_database.of_schema(Standing(2, (), (step(3, after=True),), (LiveNode("old", 2),))),
        "warning",
        "wait for old",
    ),
    (of_database.of_clocks(-1_999, []), "ok", "behind"),
    (of_database.of_clocks(2_000, []), "warning", "chrony"),
    (of_database.of_clocks(0, [node("b", skew=-60_000)]), "failure", "b is 60000 ms behind"),
    (of_database.of_clocks(0, [node("b", skew=-60_000, left=-1)]), "ok", "this machine"),
    (of_database.of_file_clock(None, NOW), "ok", "no message"),
    (of_database.of_file_clock(NOW + 1_999, NOW), "ok", "not behind"),
    (of_database.of_file_clock(NOW + 3 * SECOND, NOW), "warning", "set back"),
    (of_database.of_file_clock(NOW + HOUR, NOW), "failure", "set back"),
    (of_database.of_durability(durable(synchronous_commit="remote_apply")), "ok", "fsync on"),
    (of_database.of_durability(durable(fsync="off")), "failure", "Set fsync to on"),
    (of_database.of_durability(durable(synchronous_commit="off")), "failure", "Set synchronous"),
    (of_database.of_durability(durable(full_page_writes="off")), "failure", "Set full_page"),
    (of_database.of_connections(79, 100), "ok", "79 of 100"),
    (of_database.of_connections(80, 100), "warning", "max_connections"),
    (of_database.of_connections(95, 100), "failure", "max_connections"),
    (of_database.of_transactions(Transactions(0, 0, "")), "ok", "0 ms old"),
    (of_database.of_transactions(Transactions(5 * MINUTE, 0, "")), "warning", "terminate"),
    (of_database.of_transactions(Transactions(HOUR, 0, "")), "failure", "terminate"),
    (of_database.of_transactions(Transactions(0, HOUR, "")), "failure", "prepared"),
    (of_database.of_transactions(Transactions(0, 0, "gone")), "warning", "slots gone"),
    (partitions("20261121", "20261122", "20261123"), "ok", "6 partitions"),
    (partitions("20261122"), "warning", "attempt_20261123, message_20261123"),
    (partitions("20260701", "20261122", "20261123"), "warning", "past their age"),
    (partitions("20260823", "20261122", "20261123"), "ok", "none left over"),
    # -- the work
    (of_database.of_due(None, NOW), "ok", "nothing is late"),
    (of_database.of_due(NOW - 59 * SECOND, NOW), "ok", "59 s"),
    (of_database.of_due(NOW - MINUTE, NOW), "warning", "60 s"),
    (of_database.of_due(NOW - 10 * MINUTE, NOW), "failure", "10 min"),
    (of_database.of_leases(Count(0), NOW), "ok", "no claim"),
    (of_database.of_leases(Count(2, NOW - MINUTE), NOW), "warning", "2 claims"),
    (of_database.of_leases(Count(MANY, NOW - HOUR), NOW), "failure", "10000 or more"),
    (of_database.of_parked(0), "ok", "no delivery"),
    (of_database.of_parked(3), "warning", "redrive-dlq"),
    (of_database.of_payloads(Count(0), NOW, 90 * DAY), "ok", "90 days"),
    (of_database.of_payloads(Count(5, NOW - 99 * DAY), NOW, 90 * DAY), "warning", "99 days old"),
    (of_database.of_outbox(Outbox(3, 900, 0)), "ok", "3 wait"),
    (of_database.of_outbox(Outbox(3, 10 * SECOND, 0)), "warning", "nodes serve"),
    (of_database.of_outbox(Outbox(3, 5 * MINUTE, 9)), "failure", "nodes serve"),
    (of_database.of_outbox(Outbox(0, 0, 1)), "warning", "1 rejected"),
    (of_database.of_keys({b"\1" * 4: 7}, [b"\1" * 4]), "ok", "newest 7 secrets"),
    (of_database.of_keys({b"\2" * 4: 7}, [b"\1" * 4]), "failure", "7 secrets are sealed with 0202"),
    # -- the nodes
    (of_database.of_nodes([node(), node("b", role="api")]), "ok", "2 nodes live (1)"),
    (of_database.of_nodes([]), "warning", "marketbell serve"),
    (of_database.of_nodes([node(), node("b", left=0)]), "warning", "lost in the last hour: b"),
    (of_database.of_nodes([node(), node("b", fit=False)]), "warning", "what b asks for its slots"),
    (of_database.of_nodes([node(fit=False)]), "failure", "gets no answer"),
    (of_database.of_nodes([node(left=-1)]), "failure", "no node lives"),
    (of_database.of_nodes([node(role="api")]), "failure", "--role worker"),
    (of_database.of_slots([node(slots=512), node("b", slots=512)]), "ok", "512 at most"),
    (of_database.of_slots([node(slots=1_000)]), "warning", "24 of 1024"),
    (of_database.of_slots([node(left=-1)]), "unknown", "no worker"),
    (of_machine.of_server(True), "ok", "a server has the file"),
    (of_machine.of_server(False), "warning", "marketbell serve"),
    # -- the machine
    (of_machine.of_disk(Disk(50 * GB, 100 * GB), GB), "ok", "50 GB free of 100 GB"),
    (of_machine.of_disk(Disk(1 * GB, 10 * GB), GB), "ok", "1.0 GB free"),
    (of_machine.of_disk(Disk(1 * GB, 100 * GB), GB), "warning", "Make room"),
    (of_machine.of_disk(Disk(GB // 10, 1 * GB), GB), "failure", "Make room"),
    (of_machine.of_disk(Disk(50 * GB, 100 * GB), GB, GB), "warning", "its log 1.0 GB"),
    (of_machine.of_distant_disk(GB), "unknown", "cannot be seen"),
    (of_machine.of_syncs(900_000, "ext4"), "ok", "900 us on ext4"),
    (of_machine.of_syncs(900_000, ""), "ok", "unknown file system"),
    (of_machine.of_syncs(14_000, "ext4"), "failure", "No disk is so quick"),
    (of_machine.of_syncs(100_000_001, "ext4"), "warning", "quicker disk"),
    (of_machine.of_syncs(900_000, "tmpfs"), "failure", "gone when the machine is off"),
    (of_machine.of_syncs(900_000, "nfs4"), "failure", "local disk"),
    (of_machine.of_syncs(900_000, "overlay"), "warning", "volume"),
    (of_machine.of_secrets_file(Path("s"), Kept(0o600, 7), Kept(0o644, 7)), "ok", "mode 0600"),
    (of_machine.of_secrets_file(Path("s"), Kept(0o640, 7), Kept(0o644, 7)), "failure", "chmod 600"),
    (of_machine.of_secrets_file(Path("s"), Kept(0o600, 0), Kept(0o644, 7)), "warning", "owner"),
    (of_machine.of_secrets_file(Path("s"), None, Kept(0o644, 7)), "failure", "backup"),
    (of_machine.of_secrets_file(Path("s"), None, None), "ok", "first start"),
    (of_machine.of_given_secrets([], None, None), "ok", "given"),
    (of_machine.of_given_secrets([], Path("c"), Kept(0o640, 0)), "ok", "given"),
    (of_machine.of_given_secrets([], Path("c"), Kept(0o644, 0)), "warning", "chmod 640"),
    (of_machine.of_given_secrets(["secrets_key"], None, None), "failure", "secrets_key not given"),
    (of_machine.of_files(Limit(8_000), 7_000), "ok", "8000 may be open"),
    (of_machine.of_files(Limit(-1), 7_000), "ok", "any number"),
    (of_machine.of_files(Limit(6_999), 7_000), "failure", "LimitNOFILE"),
    (of_machine.of_resolvers([("a", True), ("b", True)]), "ok", "2 of 2 answer: a, b"),
    (of_machine.of_resolvers([("a", True), ("b", False)]), "warning", "why b does not"),
    (of_machine.of_resolvers([("a", False)]), "failure", "0 of 1"),
    (of_machine.of_resolvers([]), "warning", "resolv.conf"),
    (of_machine.of_no_database("Gone.", 5_000, file=False), "failure", "Gone (after 5 s)"),
    (of_machine.of_no_database("Gone.", 0, file=True), "failure", "first start"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "verdict", "said"), CASES, ids=[f"{one.check}-{v}" for one, v, _ in CASES]
)
def test_each_verdict(finding: Finding, verdict: str, said: str) -> None:
    assert finding.verdict == verdict, finding
    assert said in f"{finding.fact} {finding.mend}"
    assert bool(finding.mend) is (verdict in {"warning", "failure"}) or verdict == "unknown"


def test_the_exit_code_is_that_of_the_worst() -> None:
    fine, away = ok("a", "x"), unknown("b", "x")
    wanting, bad = warning("c", "x", "y"), failure("d", "x", "y")
    assert exit_code([]) == exit_code([fine, away]) == 0
    assert exit_code([fine, wanting, away]) == 1
    assert exit_code([bad, wanting, fine]) == 2


@pytest.mark.parametrize(
    ("time", "told"),
    [(0, "0 ms"), (1_999, "1999 ms"), (2_000, "2 s"), (119_999, "119 s"), (2 * MINUTE, "2 min"),
     (2 * HOUR, "2 h"), (47 * HOUR, "47 h"), (2 * DAY, "2 days")],
)  # fmt: skip
def test_times_are_told_as_a_person_tells_them(time: int, told: str) -> None:
    assert time_told(time) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_500, "1.5 kB"),
        (12_345_678, "12 MB"),
        (3_200_000_000, "3.2 GB"),
    ],
)
def test_sizes_are_told_as_a_person_tells_them(size: int, told: str) -> None:
    assert size_told(size) == told
