"""What every statement reads on PostgreSQL: by which index, however much there is, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from marketbell.store.statements import statements, texts
from support.postgres import PostgresServer, fresh_database
from support.postgres_crowd import BIG, CROWD, SMALL, Planner, nodes, said

FILES = (
    "configuration",
    "access",
    "audit",
    "credentials",
    "portal",
    "operational",
    "marketplace",
    "tasks",
)
EVERY = [(file, name) for file in FILES for name in texts("postgresql", file)]

# What SQLite notes for its lists behind the writing, PostgreSQL keeps in indexes.
SQLITE_ALONE = {"candidates_late"}

# One endpoint's secrets, an application's users, tasks that run: bounded by limits of their own.
MAY_SORT = {
    "secrets",
    "portal_sessions_over",
    "credentials_of_application",
    "entities_by_number",
    "entities_by_key",
    "entities_by_parent",
    "entity_counts",  # it reads all that it counts
}
# From the first row on, up to a limit; tasks that run: few.
MAY_WALK = {"notices", "tasks_running", "tasks_release"}

DRIVERS = {
    "applications_up": "application_organization",
    "applications_down": "application_organization",
    "application_id_by_uid": "application_uid",
    "endpoints_up": "endpoint_application",
    "endpoints_down": "endpoint_application",
    "endpoint_id_by_uid": "endpoint_uid",
    "endpoint_states": "endpoint_application",
    "event_types_up": "event_type_pkey",
    "event_types_down": "event_type_pkey",
    "api_keys_up": "api_key_organization",
    "api_keys_down": "api_key_organization",
    "api_keys_unexpired": "api_key_live",
    "access_changes": "access_revision_order",
    "audit_by_organization_up": "audit_organization",
    "audit_by_organization_down": "audit_organization",
    "audit_by_application_up": "audit_application",
    "audit_by_application_down": "audit_application",
    "audit_by_actor_up": "audit_actor",
    "audit_by_actor_down": "audit_actor",
    "audit_by_operation_up": "audit_operation",
    "audit_by_operation_down": "audit_operation",
    "portal_sessions_over": "portal_session_application",
    "entities_created_up": "entity_created",
    "entities_created_down": "entity_created",
    "entities_updated_up": "entity_updated",
    "entities_updated_down": "entity_updated",
    "entities_state_up": "entity_state",
    "entities_state_down": "entity_state",
    "entities_by_number": "entity_pkey",
    "entities_by_key": "entity_key",
    "entities_by_parent": "entity_parent",
    "entities_over": "entity_over",
    "tasks_up": "task_organization",
    "tasks_down": "task_organization",
    "task_claim": "task_due",
    "candidates": "message_",
    "due_count": "delivery_due",
    "parked_after": "delivery_parked",
    "notice_names": "application_uid",
}
"""The index that a list begins at; of partitions, how its name begins."""

_LATEST = {
    "low": "0",
    "high": "4611686018427387904",
    "limit": "51",
    "offset": "0",
    "kind": "'order'",
    "state": "'state1'",
    "parent": "null",
    "numbers": "'[1, 2]'",
    "keys": """'["key2"]'""",
    "states": "null",
    "statuses": "null",
    "flags": "null",
    "parts": """'["order"]'""",
    "since": "null",
    "until": "null",
    "created_since": "-4611686018427387904",
    "created_until": "4611686018427387904",
    "updated_since": "-4611686018427387904",
    "updated_until": "4611686018427387904",
    "cutoff": "100",
    "low_at": "0",
    "high_at": "100",
}
ASKERS = {
    "a small one": {
        **_LATEST,
        "organization": f"'{SMALL}'",
        "actor": "'key 7'",
        "operation": "'operation 7'",
        "application": "'app_8'",
        "application_id": "7",
    },
    "a big one": {
        **_LATEST,
        "organization": f"'{BIG}'",
        "actor": "'key 7'",
        "operation": "'operation 7'",
        "application": "'app_8'",
        "application_id": "1",
    },
}
"""Values of lists: of one with little that lies far back, and of one that has nearly everything."""


@pytest.fixture(scope="module")
def planner(postgres: PostgresServer, migrated_template: str) -> Iterator[Planner]:
    with fresh_database(postgres, migrated_template) as name:
        url = f"{postgres.url(name)}?options=-csearch_path%3Dmarketbell"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(CROWD)
            connection.execute("vacuum analyze")
            yield Planner(connection)


def faults(name: str, plan: dict[str, Any], *, known: bool = False) -> Iterator[str]:
    """What makes a plan slow where there is much; of what is `known` to be little it may be sorted."""
    for node, above in nodes(plan):
        kind = node["Node Type"]
        if kind == "Seq Scan":
            yield f"reads all of {node['Relation Name']}"
        little = known and node["Plan Rows"] < 500
        if "Sort" in kind and name not in MAY_SORT and not little:
            yield f"sorts by {node['Sort Key']}"
        if kind in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}:
            first_ones = "Filter" not in node and "Limit" in above
            if "Index Cond" not in node and not first_ones and name not in MAY_WALK:
                yield f"walks all of {node['Index Name']}"
        if kind in {"Hash Join", "Merge Join", "Materialize"}:
            yield f"has a {kind}"


@pytest.mark.parametrize(("file", "name"), EVERY, ids=[name for _file, name in EVERY])
def test_no_statement_reads_a_whole_table_or_sorts(planner: Planner, file: str, name: str) -> None:
    plan = planner.plan(file, name)
    assert not list(faults(name, plan)), said(plan)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("name", list(DRIVERS))
def test_every_list_begins_at_its_index(planner: Planner, name: str, asker: str) -> None:
    """Also when it is planned for one asker alone, of whom the planner knows how much there is."""
    file = next(file for file, other in EVERY if other == name)
    values = ASKERS[asker] | ({"parent": "7"} if name == "entities_by_parent" else {})
    for alone in (False, True):
        plan = planner.plan(file, name, values, alone=alone)
        assert not list(faults(name, plan, known=alone)), said(plan)
        used = [str(node["Index Name"]) for node, _ in nodes(plan) if "Index Name" in node]
        assert any(index.startswith(DRIVERS[name]) for index in used), said(plan)


@pytest.mark.parametrize("file", FILES)
def test_numbers_have_eight_bytes(planner: Planner, file: str) -> None:
    """PostgreSQL takes a parameter beside a small number for a small one, and refuses instants."""
    for name in texts("postgresql", file):
        assert "integer" not in planner.types(file, name), name


@pytest.mark.parametrize("file", FILES)
def test_every_statement_is_there_for_both(file: str) -> None:
    for name, statement in statements(file).items():
        assert not statement.sqlite.endswith("is not for SQLite"), name
        missing = statement.postgresql.text.endswith("is not for PostgreSQL")
        assert missing is (name in SQLITE_ALONE), name
