"""What lists and retention read of history on PostgreSQL: by which index, and of which days."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from marketbell.store import keys
from marketbell.store.postgresql import READING
from marketbell.store.statements import texts
from marketbell.testing.clock import START
from support.postgres import PostgresServer, fresh_database
from support.postgres_crowd import BIG, CROWD, SMALL, Planner, nodes, said

DAY = 86_400_000
MUCH = re.compile(r".*_2026\d{4}|delivery|endpoint|application|lane")
"""Partitions, and tables that may be as big."""
LISTS = {
    "messages": "application_id_id",
    "messages_typed": "application_id_event_type_id",
    "messages_labelled": "message_label_",
    "messages_anywhere": "message_",
    "attempts_of_endpoint": "endpoint_id_id",
    "attempts_of_endpoints": "endpoint_id_id",
    "attempts_refused_of_endpoint": "endpoint_id_id",
    "attempts_refused_of_endpoints": "endpoint_id_id",
    "attempts_of_message": "message_id_id",
    "attempts_anywhere": "attempt_",
    "attempts_refused_anywhere": "attempt_",
    "deliveries_of_endpoint": "application_id_id",
    "deliveries_undelivered": "endpoint_id_message_id",
    "deliveries_unfinished": "delivery_pkey",
    "messages_worded": "payload_text_",
}
"""By list, a part of the name of the index that it begins at."""
MERGED = {"messages_typed", "attempts_of_endpoints", "attempts_refused_of_endpoints"}
WALKS = [f"{name}_{way}" for name in LISTS for way in ("down", "up")]
OTHERS = [
    *(("search", name) for name in texts("postgresql", "search") if name not in WALKS),
    *(("history", name) for name in texts("postgresql", "history")),
    *(("statistics", name) for name in texts("postgresql", "statistics")),
    *(("retention", name) for name in texts("postgresql", "retention")),
]
LOOKED_UP = re.compile(r"\bid = [a-z]+\.")
"""By a key that another row gives."""
# Of the catalogue, and of a run of messages.
MAY_JOIN = {"partition_days", "oldest_writer", "finished_delete"}

ASKED = {
    "low": str(keys.floor(START + DAY)),
    "high": str(keys.floor(START + DAY + 3_600_000)),
    "limit": "51",
    "since": "null",
    "until": "null",
    "event_types": "null",
    "channel": "null",
    "tag": "null",
    "succeeded": "null",
    "status_code_class": "null",
    "states": """'["failed"]'""",
    "sources": """'["1", "2", "3"]'""",
    "words": "'#a1 needle'",
    "label": "'cx'",
    "endpoint_id": "7",
    "message_id": str(keys.floor(START + DAY)),
    "with_content": "true",
    "keys": f"'[\"{keys.floor(START + DAY)}\"]'",
}
ASKERS = {
    "a small one": {"organization": f"'{SMALL}'", "application_id": "7"},
    "a big one": {"organization": f"'{BIG}'", "application_id": "1"},
}


@pytest.fixture(scope="module")
def connection(
    postgres: PostgresServer, migrated_template: str
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with fresh_database(postgres, migrated_template) as name:
        url = f"{postgres.url(name)}?options=-csearch_path%3Dmarketbell"
        with psycopg.connect(url, autocommit=True) as opened:
            opened.execute(CROWD)
            opened.execute("insert into payload_text select id, '{needle,#a1}' from message")
            opened.execute("update attempt set outcome = 'rejected' where message_id % 13 = 0")
            opened.execute("vacuum analyze")
            yield opened


@pytest.fixture(params=["a reader", "a writer"])
def planner(
    request: pytest.FixtureRequest, connection: psycopg.Connection[tuple[Any, ...]]
) -> Planner:
    """As the connections that read are set, and as those that write."""
    for name, value in READING.items():
        told = value if request.param == "a reader" else "default"
        connection.execute(f"set {name} = {told}".encode())
    return Planner(connection)


def faults(name: str, plan: dict[str, Any]) -> Iterator[str]:
    """What makes a plan slow where there is much history."""
    for node, _ in nodes(plan):
        kind, table = node["Node Type"], str(node.get("Relation Name", ""))
        if kind == "Seq Scan" and MUCH.fullmatch(table):
            yield f"reads all of {table}"
        if kind in {"Hash Join", "Merge Join"} and name not in MAY_JOIN:
            yield f"has a {kind}"


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("walk", WALKS)
def test_every_list_goes_along_its_index_in_order(
    connection: psycopg.Connection[tuple[Any, ...]], walk: str, asker: str
) -> None:
    for name, value in READING.items():
        connection.execute(f"set {name} = {value}".encode())
    plan = Planner(connection).plan("search", walk, ASKED | ASKERS[asker])
    assert not list(faults(walk, plan)), said(plan)
    kind = walk.rpartition("_")[0]
    used = [str(node["Index Name"]) for node, _ in nodes(plan) if "Index Name" in node]
    assert any(LISTS[kind] in index for index in used), said(plan)
    sorts = [node for node, _ in nodes(plan) if "Sort" in node["Node Type"]]
    # Those of several sources are put in order, a piece of them; those with words, a part of time.
    assert kind in MERGED | {"messages_worded"} or not sorts, said(plan)


@pytest.mark.parametrize("walk", [walk for walk in WALKS if not walk.startswith("deliveries_unf")])
def test_a_list_of_an_hour_opens_the_partitions_of_its_day(
    connection: psycopg.Connection[tuple[Any, ...]], walk: str
) -> None:
    for name, value in READING.items():
        connection.execute(f"set {name} = {value}".encode())
    plan = Planner(connection).plan("search", walk, ASKED | ASKERS["a big one"])
    driven = {"attempts": "attempt", "deliveries_undelivered": "finished_delivery"}
    table = next((driven[start] for start in driven if walk.startswith(start)), "message")
    if walk.startswith(("messages_labelled", "messages_worded")):
        table = "message_label" if "labelled" in walk else "payload_text"
    partitions = {
        str(node["Relation Name"])
        for node, _ in nodes(plan)
        if str(node.get("Relation Name", "")).startswith(f"{table}_2026")
        and not LOOKED_UP.search(str(node.get("Index Cond", "")))
    }
    assert partitions == {f"{table}_20260102"}, said(plan)


@pytest.mark.parametrize(("file", "name"), OTHERS, ids=[name for _file, name in OTHERS])
def test_no_statement_reads_all_of_history(planner: Planner, file: str, name: str) -> None:
    plan = planner.plan(file, name, ASKED | ASKERS["a big one"])
    assert not list(faults(name, plan)), said(plan)
