"""What the queue's state machine runs on: one SQLite file, or three nodes on one PostgreSQL."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw
import psycopg

from marketbell.model import SLOTS
from marketbell.store.base import Store
from marketbell.store.keys import NODES_MAX
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock
from support.opened import SECRETS_KEY, after_a_crash
from support.postgres import PostgresServer, fresh_database

T = TypeVar("T")

NODES = 3


class QueueStores(ABC):
    """Stores of one database; whichever is asked next does the next thing."""

    by_slot = False
    """Whether a crash ends claims slot by slot, so that those of a deleted endpoint run out by themselves."""

    def __init__(
        self, run: Callable[[Awaitable[Any]], Any], clock: FakeClock, lost_max: int
    ) -> None:
        self._run = run
        self._clock = clock
        self._lost_max = lost_max

    @property
    @abstractmethod
    def store(self) -> Store:
        """The one whose turn it is."""

    @abstractmethod
    def rows(self, query: str) -> list[Any]:
        """What a query finds, past every store."""

    @abstractmethod
    def restart(self, crash: bool) -> int | None:
        """
        Let one go and open another, after a crash if so; how many claims that ended.

        None if it ended none: they come back by their leases.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""


class OneFile(QueueStores):
    """A file with the one process that it may have."""

    def __init__(
        self, run: Callable[[Awaitable[Any]], Any], clock: FakeClock, lost_max: int
    ) -> None:
        super().__init__(run, clock, lost_max)
        self._folder = Path(tempfile.mkdtemp(prefix="marketbell-machine-"))
        self._path = self._folder / "marketbell.db"
        self._opened = 0
        self._store = self._open()

    def _open(self) -> SqliteStore:
        async def open_it() -> SqliteStore:
            return SqliteStore(
                SqliteOptions(path=self._path),
                Box([SECRETS_KEY]),
                self._clock,
                WriterLimits(wait_s=30.0, lost_claims=self._lost_max),
            )

        return cast(SqliteStore, self._run(open_it()))

    @property
    def store(self) -> Store:
        """See QueueStores.store."""
        return self._store

    def rows(self, query: str) -> list[Any]:
        """See QueueStores.rows."""
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return cast("list[Any]", connection.execute(query).fetchall())
        finally:
            connection.close()

    def restart(self, crash: bool) -> int | None:
        """See QueueStores.restart; the next process finds all that were open, and ends them."""
        self._opened += 1
        copy = self._path
        if crash:
            copy = after_a_crash(self._path, self._folder / str(self._opened))
        self._run(self._store.aclose())
        self._path = copy
        self._store = self._open()
        return self._store.lost_at_open

    def close(self) -> None:
        """See QueueStores.close."""
        self._run(self._store.aclose())
        shutil.rmtree(self._folder)


class ThreeNodes(QueueStores):
    """A database of its own with three nodes, who take turns."""

    by_slot = True

    def __init__(
        self,
        run: Callable[[Awaitable[Any]], Any],
        clock: FakeClock,
        lost_max: int,
        server: PostgresServer,
        template: str,
    ) -> None:
        super().__init__(run, clock, lost_max)
        self._until = ExitStack()
        name = self._until.enter_context(fresh_database(server, template))
        self._url = server.url(name)
        self._numbers = itertools.count(1)
        self._looking = self._until.enter_context(psycopg.connect(self._url, autocommit=True))
        self._looking.execute("set search_path to marketbell")
        self._nodes = [self._open() for _ in range(NODES)]
        self._turn = 0

    def _open(self) -> PostgresStore:
        async def open_it() -> PostgresStore:
            number = next(self._numbers) % (NODES_MAX // 2)
            return PostgresStore(
                PostgresOptions(url=self._url, node_number=number, readers=1),
                Box([SECRETS_KEY]),
                self._clock,
                WriterLimits(wait_s=30.0, lost_claims=self._lost_max),
            )

        return cast(PostgresStore, self._run(open_it()))

    @property
    def store(self) -> Store:
        """See QueueStores.store."""
        self._turn += 1
        return self._nodes[self._turn % NODES]

    def rows(self, query: str) -> list[Any]:
        """See QueueStores.rows."""
        return self._looking.execute(query.encode()).fetchall()

    def restart(self, crash: bool) -> int | None:
        """See QueueStores.restart; after a crash the others find all slots to be nobody's."""
        place = self._turn % NODES
        self._run(self._nodes[place].aclose())
        self._nodes[place] = self._open()
        if not crash:
            return None
        left = self._nodes[place - 1]
        now = self._clock.now()
        return cast(
            int, self._run(left.lose_claims(range(SLOTS), now=now, lost_max=self._lost_max))
        )

    def close(self) -> None:
        """See QueueStores.close."""
        for node in self._nodes:
            self._run(node.aclose())
        self._until.close()
