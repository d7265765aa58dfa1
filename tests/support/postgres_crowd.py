"""A PostgreSQL database with thousands of rows, and how it would run our statements on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import psycopg

from marketbell.store import keys
from marketbell.store.statements import statements
from marketbell.testing.clock import START

SMALL: Final = "org_small"
"""An organization with little of everything, all of it made before the others' much."""
BIG: Final = "org_big"

_DAY: Final = keys.day(keys.floor(START))

CROWD: Final = f"""
insert into application (id, public_id, organization, uid, name, metadata, revision, created_at,
  updated_at, deleted_at)
select n, 'app_' || lpad(n::text, 27, '0'), case when n <= 100 then '{SMALL}' else '{BIG}' end,
  'uid' || n, 'x', '{{}}', 1, n, n, case when n % 10 = 0 then n end
from generate_series(1, 5000) n;

insert into endpoint (id, public_id, application_id, uid, url, description, metadata, disabled,
  paused, slot, revision, version, created_at, updated_at, deleted_at)
select n, 'ep_' || lpad(n::text, 27, '0'), n % 5000 + 1, 'uid' || n, 'https://x.example/', '',
  '{{}}', 0, 0, n % 64, 1, 1, n, n, case when n % 10 = 0 then n end
from generate_series(1, 20000) n;

insert into lane (endpoint_id, slot, next_at)
select id, slot, case when id % 3 = 0 then id end from endpoint;

insert into secret (endpoint_id, kind, sealed, expires_at, created_at)
select n % 20000 + 1, 'v1', '\\x00', case when n > 20000 then n end, n
from generate_series(1, 25000) n;

insert into event_type (organization, name, description, archived, deprecated, feature_flags,
  created_at, updated_at)
select case when n <= 500 then '{SMALL}' when n <= 1000 then '{BIG}' else 'org_' || n % 400 end, 'type.' || lpad(n::text, 6, '0'), '', 0,
  0, '["a"]', n, n
from generate_series(1, 5000) n;

insert into event_type_revision select 'org_' || n, n from generate_series(1, 5000) n;
insert into access_revision select 'org_' || n, n from generate_series(1, 5000) n;

insert into api_key (public_id, organization, name, digest, created_at, expires_at, ends_at)
select 'key_' || lpad(n::text, 27, '0'), case when n <= 100 then '{SMALL}' else '{BIG}' end, 'x',
  '\\x00', n, case when n % 3 = 0 then n end, case when n % 5 = 0 then n end
from generate_series(1, 5000) n;

insert into tokens_end select 'org_' || n % 500, 'app_' || n % 50, n, n
from generate_series(1, 5000) n;
insert into ended_token select 'org_' || n % 500, decode(md5(n::text), 'hex'), n
from generate_series(1, 5000) n;

insert into audit (public_id, organization, at, actor, operation, application, path, address,
  request_id)
select 'audit_' || lpad(n::text, 27, '0'), case when n <= 1000 then '{SMALL}' else '{BIG}' end, n,
  'key ' || n % 20, 'operation ' || n % 20, case when n % 2 = 0 then 'app_' || n % 200 end, '', '',
  ''
from generate_series(1, 40000) n;

insert into portal_code
select decode(md5(n::text), 'hex'), 'org_x', 'app_' || n % 100, '', n, n
from generate_series(1, 5000) n;
insert into portal_session
select decode(md5(n::text), 'hex'), 'org_x', 'app_' || n % 100, '', n, n, n
from generate_series(1, 5000) n;

insert into credential (public_id, application_id, marketplace, "user", sealed, created_at)
select 'login_' || lpad(n::text, 27, '0'), n, 'ovoko', 'user' || n, '\\x00', n
from generate_series(1, 5000) n;

insert into entity (kind, number, application_id, key, sole, parent, state, over, revision, body,
  created_at, updated_at)
select 'order', n, n % 20 + 1, case when n % 2 = 0 then 'key' || n else '' end,
  case when n % 2 = 0 then 1 else 0 end, n / 7, 'state' || n % 5, case when n % 5 = 0 then 1 else 0 end,
  1, '\\x00', n, n
from generate_series(1, 30000) n;
insert into entity_number select 'kind' || n, n from generate_series(1, 5000) n;

insert into task (public_id, kind, organization, application_id, application_public_id, selection,
  status, first, last, position, looked, made, skipped, failures, claim_number, due_at, created_at,
  updated_at)
select 'task_' || lpad(n::text, 27, '0'), 'recover', case when n <= 200 then '{SMALL}' else '{BIG}'
  end, 1, '', '', case when n % 100 = 0 then 'running' else 'finished' end, 0, 0, 0, 0, 0, 0, 0, 0,
  n, n, n
from generate_series(1, 10000) n;

insert into notice (public_id, organization, body)
select 'notice_' || lpad(n::text, 27, '0'), 'org_' || n % 10, '\\x00'
from generate_series(1, 5000) n;

select add_partitions({_DAY} + n) from generate_series(0, 2) n;

insert into message (id, public_id, application_id, event_type, occurred_at, created_at,
  payload_expires_at)
select ({START} + n * 6000 - 1577836800000) << 22, 'msg_' || lpad(n::text, 27, '0'),
  case when n % 50 = 0 then 1 else n % 5000 + 1 end, 'part.updated', {START}, {START}, {START}
from generate_series(1, 30000) n;
insert into payload select id, '\\x7b7d' from message;
insert into attempt (id, public_id, message_id, endpoint_id, claim_number, number, trigger, outcome,
  status_code, reason, url, address, started_at, duration)
select id, 'atmpt_' || substr(public_id, 5), id, id / 4194304 / 6000 % 20000 + 1, 1, 1, 'scheduled',
  'accepted', 200, '', '', '', created_at, 5
from message;
insert into finished_delivery
select id, id / 4194304 / 6000 % 20000 + 1, 'delivered', 1, 1, created_at from message;
insert into delivery
select id, id / 4194304 / 6000 % 20000 + 2, 'pending', created_at, 0, 0, 0, created_at,
  'scheduled', null, id
from message where id / 4194304 / 6000 % 2 = 0;
insert into aimed_message select id from message where id / 4194304 / 6000 % 5 = 0;
insert into announced_delivery select id, 1 from message where id / 4194304 / 6000 % 5 = 0;
"""

_ANY: Final = {
    "bigint": "1",
    "text": "'x'",
    "bytea": r"'\x00'",
    "boolean": "false",
    "jsonb": "'[]'",
    "text[]": "'{}'",
    "bigint[]": "'{}'",
    "bytea[]": "'{}'",
}


class Planner:
    """Says how a database would run a statement; `connection` sees our tables."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def plan(
        self,
        file: str,
        name: str,
        values: Mapping[str, str] = MappingProxyType({}),
        *,
        alone: bool = False,
    ) -> dict[str, Any]:
        """
        The plan of a statement, the general one that is used again and again, or with `alone` that
        for these values, which are as SQL writes them.

        The general one too leaves out partitions in which the values cannot be.
        """
        execute = self._connection.execute
        mode = b"force_custom_plan" if alone else b"force_generic_plan"
        execute(b"set plan_cache_mode = " + mode)
        with self._prepared(file, name) as types:
            names = statements(file)[name].postgresql.names or ("",) * len(types)
            given = [
                values.get(parameter, _ANY[of_type])
                for parameter, of_type in zip(names, types, strict=True)
            ]
            arguments = f"({', '.join(given)})" if given else ""
            rows = execute(f"explain (format json) execute planned{arguments}".encode()).fetchall()
        plan: dict[str, Any] = rows[0][0][0]["Plan"]
        return plan

    def types(self, file: str, name: str) -> list[str]:
        """What the parameters of a statement are taken for, in their order."""
        with self._prepared(file, name) as types:
            return types

    @contextmanager
    def _prepared(self, file: str, name: str) -> Iterator[list[str]]:
        """A statement as `planned`, with the types of its parameters."""
        text = statements(file)[name].postgresql.text
        self._connection.execute(b"prepare planned as " + text.rstrip(";").encode())
        try:
            found = self._connection.execute(
                "select parameter_types::text[] from pg_prepared_statements where name = 'planned'"
            ).fetchall()
            yield found[0][0]
        finally:
            self._connection.execute("deallocate planned")


def nodes(
    plan: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Every node of a plan, from the top; with the kinds of the two above it."""
    yield plan, above
    for below in plan.get("Plans", ()):
        yield from nodes(below, (*above[-1:], plan["Node Type"]))


def said(plan: Mapping[str, Any]) -> str:
    """A plan as one reads it when a test fails."""
    kept = ("Node Type", "Relation Name", "Index Name", "Index Cond", "Filter", "Plan Rows")
    lines = [
        ", ".join(f"{key}: {node[key]}" for key in kept if key in node) for node, _ in nodes(plan)
    ]
    return "\n" + "\n".join(lines) + "\n" + json.dumps(plan)[:200]
