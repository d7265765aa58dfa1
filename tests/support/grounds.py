"""Databases that a test opens stores on, one after the other or several at once, and crashes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings

from marketbell.clock import Clock
from marketbell.store.base import Store
from marketbell.store.statements import statements
from support.opened import SECRETS_KEY, after_a_crash, opened
from support.postgres import PostgresServer, fresh_database
from support.postgres_stores import postgres_store


class Ground(ABC):
    """One database that has the schema, and whatever was written to it."""

    @abstractmethod
    def opened(
        self,
        clock: Clock | None = None,
        *,
        secrets_key: bytes = SECRETS_KEY,
        old_keys: tuple[bytes, ...] = (),
        node: int = 0,
        **options: Any,
    ) -> AbstractAsyncContextManager[Store]:
        """
        A store on it until the end of the block.

        Only on PostgreSQL may there be several at once, each a node with a number of its own.
        """

    @abstractmethod
    def after_a_crash(self) -> Ground:
        """It as the next process finds it if all that use it are killed now; they go on here."""


class SqliteGround(Ground):
    """A file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copies = 0

    def opened(
        self,
        clock: Clock | None = None,
        *,
        secrets_key: bytes = SECRETS_KEY,
        old_keys: tuple[bytes, ...] = (),
        node: int = 0,
        **options: Any,
    ) -> AbstractAsyncContextManager[Store]:
        """See Ground.opened."""
        return opened(self.path, clock, secrets_key=secrets_key, old_keys=old_keys, **options)

    def after_a_crash(self) -> Ground:
        """See Ground.after_a_crash; database and log are copied."""
        self._copies += 1
        folder = self.path.parent / f"{self.path.name}-crashed-{self._copies}"
        return SqliteGround(after_a_crash(self.path, folder))


class PostgresGround(Ground):
    """A database of a server."""

    def __init__(self, server: PostgresServer, name: str, until: ExitStack) -> None:
        self._server = server
        self._name = name
        self._until = until

    @property
    def url(self) -> str:
        """Where stores find it."""
        return self._server.url(self._name)

    @asynccontextmanager
    async def opened(
        self,
        clock: Clock | None = None,
        *,
        secrets_key: bytes = SECRETS_KEY,
        old_keys: tuple[bytes, ...] = (),
        node: int = 0,
        **options: Any,
    ) -> AsyncIterator[Store]:
        """See Ground.opened."""
        store = postgres_store(
            self.url, secrets_key, clock, old_keys=old_keys, node_number=node, **options
        )
        try:
            yield store
        finally:
            await store.aclose()

    def after_a_crash(self) -> Ground:
        """See Ground.after_a_crash; connections are cut, and what was committed is copied."""
        self.cut()
        copy = self._until.enter_context(fresh_database(self._server, self._name))
        return PostgresGround(self._server, copy, self._until)

    def cut(self) -> None:
        """End every connection, whatever it is doing."""
        self._server.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
            self._name,
        )

    @contextmanager
    def hold_control(self) -> Iterator[None]:
        """Have every change of the control plane wait, as for another node's, until the end of the block."""
        with self._server.connect(self._name) as connection, connection.transaction():
            lock = statements("queue")["control_lock"].postgresql.text
            connection.execute(lock.replace("$1", "'marketbell'").encode())
            yield


class Grounds:
    """Gives new empty databases: files, if it is not another kind of grounds."""

    share = 1.0
    """How many of the usual examples a property is tried with."""

    @contextmanager
    def fresh(self) -> Iterator[Ground]:
        """One of its own, until the end of the block."""
        with TemporaryDirectory() as folder:
            yield SqliteGround(Path(folder) / "m.db")

    def examples(self, count: int) -> settings:
        """Settings of a property that needs so many examples."""
        return settings(max_examples=max(1, round(count * self.share)), deadline=None)
