"""A real PostgreSQL for every suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.postgres import PostgresServer, fresh_database
from support.postgres_stores import migrated


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """
    One server for all tests of this process, started when the first of them asks for it.

    It syncs nothing. A test that stops, kills or freezes a server starts one of its own.
    """
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """
    A new empty database of the test's own, as its owner, who is no superuser; dropped afterwards.

    Made and dropped in 20 ms, as quickly as a schema with our tables is dropped; and the marks of
    one test (advisory locks, statistics, open connections) are not seen by another.
    """
    with fresh_database(postgres) as name:
        yield postgres.url(name)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """The name of a database that has the schema and nothing in it."""
    name = postgres.create_database(template="template0")
    migrated(postgres.url(name))
    return name


@pytest.fixture
def migrated_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A new database of the test's own that has the schema; dropped afterwards."""
    with fresh_database(postgres, migrated_template) as name:
        yield postgres.url(name)
