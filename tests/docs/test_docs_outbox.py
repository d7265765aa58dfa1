"""The page of the outbox: its programs run, and what it says of arguments and routes is so."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from marketbell.api import rejected
from marketbell.metrics import METRICS
from marketbell.outbox import Draft, Outbox, publish
from marketbell.settings import SETTINGS
from support.postgres import PostgresServer

PAGE = (Path(__file__).parents[2] / "docs" / "outbox.md").read_text()
PROGRAMS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
STATEMENTS = re.findall(r"<!-- run -->\n```sql\n(.*?)```", PAGE, re.DOTALL)
GRANTS = re.findall(r"^grant .*;$", PAGE, re.MULTILINE)


@pytest.fixture
def shop_url(postgres: PostgresServer, migrated_url: str) -> str:
    """The database as the shop's own role, with the rights that the page gives it and its orders."""
    name = str(psycopg.conninfo.conninfo_to_dict(migrated_url)["dbname"])
    if not postgres.execute("select 1 from pg_roles where rolname = 'shop'"):
        postgres.execute("create role shop login")
    assert len(GRANTS) == 2
    with psycopg.connect(migrated_url) as connection:
        for grant in GRANTS:
            connection.execute(grant)
        connection.execute("create schema shop")
        connection.execute("create table shop.orders (id bigint primary key, seller text)")
        connection.execute("grant all on schema shop to shop")
        connection.execute("grant all on shop.orders to shop")
    with postgres.connect(name) as connection:
        connection.execute("alter role shop set search_path to shop")
    return postgres.url(name, "shop")


def test_the_programs_run(shop_url: str, migrated_url: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, "DATABASE_URL": shop_url},
            stderr=subprocess.PIPE,
            text=True,
        )
        for program in PROGRAMS
    ]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
    with psycopg.connect(shop_url) as connection:
        for statement in STATEMENTS:
            connection.execute(statement)
    with psycopg.connect(migrated_url) as connection:
        orders = connection.execute("select id from shop.orders order by id").fetchall()
        told = connection.execute(
            "select application, body ->> 'eventType', (body -> 'payload' ->> 'order_id')::bigint"
            " from marketbell.outbox order by 3, 2"
        ).fetchall()
    count = len(PROGRAMS) + len(STATEMENTS)
    assert count == 8
    assert [row[0] for row in orders] == list(range(1, count + 1))
    created = [("kaunas", "order.created", n) for n in range(1, count + 1)]
    assert told == sorted([*created, ("kaunas", "order.paid", 7)], key=lambda row: (row[2], row[1]))


def test_the_arguments_are_those_that_are_taken() -> None:
    table = PAGE.split("\n| argument | value |\n", 1)[1].split("\n\n", 1)[0]
    told = [
        name
        for line in table.splitlines()[1:]
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(told) == sorted(Draft.__struct_fields__)
    assert sorted(inspect.signature(publish).parameters) == sorted(["connection", *told])
    for name in inspect.signature(Outbox).parameters:
        assert f"`{name}`" in PAGE


def test_routes_metrics_and_settings_that_are_named_exist() -> None:
    routes = set(re.findall(r"`((?:GET|POST|DELETE) /api/v1/outbox[^`]*)`", PAGE))
    assert routes == {f"{one.method} {one.path}" for one in rejected.OPERATIONS}
    assert set(re.findall(r"`(marketbell_\w+)`", PAGE)) == {
        name for name in METRICS if "outbox" in name
    }
    assert {"body_max", "payload_retention"} <= set(SETTINGS)
