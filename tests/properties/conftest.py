"""Databases for properties: each example has one of its own, on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from support.grounds import Ground, Grounds, PostgresGround
from support.postgres import PostgresServer, fresh_database


class PostgresGrounds(Grounds):
    """Databases of a server; fewer examples, for each takes ten times as long."""

    share = 0.25

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server = server
        self._template = template

    @contextmanager
    def fresh(self) -> Iterator[Ground]:
        """See Grounds.fresh."""
        with ExitStack() as until:
            name = until.enter_context(fresh_database(self._server, self._template))
            yield PostgresGround(self._server, name, until)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def grounds(request: pytest.FixtureRequest) -> Grounds:
    """Gives a new empty database for every example."""
    if request.param == "sqlite":
        return Grounds()
    template: str = request.getfixturevalue("migrated_template")
    return PostgresGrounds(request.getfixturevalue("postgres"), template)
