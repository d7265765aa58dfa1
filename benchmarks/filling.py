"""Fills a PostgreSQL database by SQL with deliveries that wait, while no node uses it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks import wire
from benchmarks.postgres import Database
from marketbell.store import keys

DUE_LANES: Final = 200
_DAY: Final = 86_400_000


def fill_due(database: Database, applications: Sequence[str], count: int) -> None:
    """So many messages, in turn for these applications, due at their one endpoint each."""
    now = int(time.time() * 1000)
    first = _begin(database, now)
    before, _, after = wire.payload(0).decode().partition("000000000")
    names = ", ".join(f"'{one}'" for one in applications)
    _messages(
        database, first, now, count,
        f"(array(select id from application where public_id in ({names}) order by id))"
        f"[1 + i % {len(applications)}]",
        f"convert_to('{before}' || lpad(i::text, 9, '0') || '{after}', 'UTF8')",
    )  # fmt: skip
    database.execute(
        f"insert into delivery select m.id, e.id, 'pending', {now}, 0, 0, 0, {now}, 'scheduled',"
        " null, 0 from message m join endpoint e using (application_id)"
    )
    database.execute(
        f"insert into lane (endpoint_id, slot, next_at) select id, slot, {now} from endpoint"
        " on conflict (endpoint_id) do update set next_at = excluded.next_at"
    )
    database.execute("vacuum analyze")
    database.execute("checkpoint")


def fill_waiting(database: Database, waiting: int, due: int) -> list[int]:
    """
    So many deliveries that wait for tomorrow over one lane for each hundred of them, and some that are due.

    Those that are due are spread over the first lanes and have a message; gives all lanes' ids.
    """
    now = int(time.time() * 1000)
    first = _begin(database, now)
    lanes = max(1_000, waiting // 100)
    database.execute(
        "insert into application (public_id, organization, name, metadata, revision, created_at,"
        " updated_at) values ('app_1', 'org_benchmarks', 'x', '{}', 1, 0, 0)"
    )
    database.execute(
        "insert into endpoint (public_id, application_id, url, description, metadata, disabled,"
        " paused, slot, revision, version, created_at, updated_at) select 'ep_' || i, 1,"
        " 'https://x.example/', '', '{}', 0, 0, i % 1024, 1, 1, 0, 0"
        f" from generate_series(1, {lanes}) i"
    )
    database.execute(
        "insert into lane (endpoint_id, slot, next_at) select id, slot,"
        f" case when id <= {DUE_LANES} then {now - 1_000} else {now + _DAY} + id end from endpoint"
    )
    _messages(database, first, now, due, "1", "'{}'")
    database.execute(
        f"insert into delivery select {first} + i,"
        f" case when i < {due} then i % {DUE_LANES} else i % {lanes} end + 1, 'pending',"
        f" case when i < {due} then {now - 1_000} else {now + _DAY} + i end,"
        f" 0, 0, 0, {now}, 'scheduled', null, 0 from generate_series(0, {waiting + due - 1}) i"
    )
    database.execute("vacuum analyze")
    database.execute("checkpoint")
    return list(range(1, lanes + 1))


def _begin(database: Database, now: int) -> int:
    """The first key of a minute ago, whose day's partitions are there then."""
    database.execute(f"select add_partitions({(now - 60_000) // _DAY})")
    return keys.floor(now - 60_000)


def _messages(
    database: Database, first: int, now: int, count: int, application: str, body: str
) -> None:
    series = f"from generate_series(0, {count - 1}) i"
    database.execute(
        "insert into message (id, public_id, application_id, event_type, occurred_at, created_at,"
        f" payload_expires_at) select {first} + i, 'msg_' || lpad(i::text, 27, '0'), {application},"
        f" 'order.paid', {now}, {now}, {now + 90 * _DAY} {series}"
    )
    database.execute(f"insert into payload select {first} + i, {body} {series}")
