"""A real PostgreSQL for every suite."""

from __future__ import annotations

import functools
import inspect
import signal
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from httpx._transports import default as transports
from hypothesis import HealthCheck, settings

from support.eventually import PATIENCE_S
from support.postgres import PostgresServer, fresh_database
from support.postgres_programs import described
from support.postgres_stores import migrated

# What a shell runs in its background ignores Ctrl+C, and so would everything that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# However slow the machine is: an example that takes long is no failure. A change is judged by the
# same examples each time; `--hypothesis-profile=explore` draws others, as `make test-full` does.
_SLOW: Final[dict[str, Any]] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("explore", **_SLOW)
settings.register_profile("same", derandomize=True, **_SLOW)
settings.load_profile("same")

# What httpx waits for an answer where a test says nothing: five seconds are short on such a machine.
_patience: httpx.Timeout = inspect.signature(httpx.Client).parameters["timeout"].default
_patience.connect = _patience.read = _patience.write = _patience.pool = PATIENCE_S

# Each client would read the roots of the Web anew, in 20 ms, and few of the thousands here speak TLS.
vars(transports)["create_ssl_context"] = functools.cache(httpx.create_ssl_context)


def pytest_report_header() -> str:
    """Which PostgreSQL it is."""
    return described()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a PostgreSQL is started for, so that it alone can be run on another version."""
    for item in items:
        if isinstance(item, pytest.Function) and _on_postgresql(item):
            item.add_marker("postgresql")


def _on_postgresql(item: pytest.Function) -> bool:
    """Whether it asks for the server, is the half of its parameters, or is of a module that starts its own."""
    return (
        "postgres" in item.fixturenames
        or (hasattr(item, "callspec") and "postgresql" in item.callspec.params.values())
        or any(
            getattr(value, "__module__", "").startswith("support.postgres")
            for value in vars(item.module).values()
        )
    )


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
