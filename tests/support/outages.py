"""A PostgreSQL behind a faulty network, and every way in which it can be away for a while."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
import psycopg

from marketbell.clock import SystemClock
from support.knobs import Knobs
from support.pgbouncer import PgBouncer
from support.postgres import PostgresServer
from support.postgres_plane import PostgresPlane
from support.postgres_programs import OWNER
from support.postgres_stores import migrated
from support.proxy import Act, Line, TcpProxy

STATEMENT_S: Final = 3.0
"""How long the planes here let the server take for a statement, so that tests need not wait long."""

CONNECTIONS: Final = 17
"""How many an ordinary role may have on a server with ILL_TREATED."""
ILL_TREATED: Final = {"max_connections": CONNECTIONS + 3, "superuser_reserved_connections": 3}

_BEGIN: Final = re.compile(rb"^Q....begin\b", re.DOTALL)
_COMMIT: Final = re.compile(rb"^Q....commit\0", re.DOTALL)
_IDLE: Final = b"Z\0\0\0\x05I"
"""What a server says when no transaction is open on a connection."""


class Site:
    """A database that has the schema, on a server that may be ill treated, and ways to it."""

    def __init__(
        self, server: PostgresServer, database: str, bouncer: PgBouncer | None = None
    ) -> None:
        self.server = server
        self.database = database
        self.bouncer = bouncer
        way: PostgresServer | PgBouncer = bouncer or server
        self.proxy = TcpProxy.before(way.url(database))
        self.url = self.proxy.url(way.url(database))
        self.quiet = False
        """Whether a test is to be made on a connection that nothing was sent on for a while."""
        self._crowd: list[psycopg.Connection[tuple[object, ...]]] = []

    def plane(self, knobs: Knobs) -> PostgresPlane:
        """A data plane on it, in real time."""
        return PostgresPlane(
            self.url,
            SystemClock(),
            knobs,
            statement_s=STATEMENT_S,
            connect_s=STATEMENT_S,
            pooled=self.bouncer is not None,
        )

    def at_commit(self, act: Act, *, of: bytes = b"") -> threading.Event:
        """
        Do this with the next transaction, at its commit or if it is a statement alone; once.

        See `TcpProxy.at_commit`. `of` stands in a statement of it, one that has not been asked on
        this connection before. Nobody may read meanwhile.
        """
        happened = threading.Event()
        armed = False
        begun = done = False

        def watch(piece: bytes) -> Act:
            nonlocal armed, begun, done
            armed = armed or of in piece
            if done:
                return Act.PASS
            if _BEGIN.search(piece):
                begun = True
            elif _COMMIT.search(piece) if begun else piece.startswith(b"B"):
                begun = False
                if not armed:
                    return Act.PASS
                done = True
                if act is not Act.LOSE_ANSWER:
                    happened.set()
                return act
            return Act.PASS

        def answered(answer: bytes) -> bool:
            if not answer.endswith(_IDLE):
                return False
            happened.set()
            return True

        self.proxy.watch(watch, answered)
        return happened

    def cut_backends(self) -> None:
        """End every connection to the database, by its server."""
        self.server.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
            self.database,
        )

    def take_all_connections(self) -> None:
        """Let others have every connection that there is."""
        while len(self._crowd) < CONNECTIONS:
            try:
                self._crowd.append(psycopg.connect(self.server.url("postgres", OWNER)))
            except psycopg.OperationalError:
                self.cut_backends()

    def give_connections_back(self) -> None:
        """Let the others go."""
        while self._crowd:
            self._crowd.pop().close()

    def heal(self) -> None:
        """Undo whatever was done to it."""
        self.give_connections_back()
        self.proxy.close()
        if self.bouncer is not None:
            self.bouncer.clear()
        if self.server.runs:
            self.server.thaw()
        else:
            self.server.start()


@contextlib.contextmanager
def site(server: PostgresServer, template: str, *, pooled: bool = False) -> Iterator[Site]:
    """A database that is a copy of `template` and was never touched, on a server that runs."""
    name = server.create_database(template=template)
    bouncer = None
    if pooled:
        bouncer = PgBouncer(server)
        bouncer.start()
    found = Site(server, name, bouncer)
    try:
        yield found
    finally:
        found.heal()
        server.drop_database(name)


def template(server: PostgresServer) -> str:
    """The name of a database on it that has the schema and nothing in it."""
    name = server.create_database()
    migrated(server.url(name))
    return name


class Outage(msgspec.Struct, frozen=True):
    """How the database goes away and comes back; both are done when they return."""

    begin: Callable[[Site], object]
    end: Callable[[Site], object]


def _bouncer(at: Site) -> PgBouncer:
    assert at.bouncer is not None
    return at.bouncer


OUTAGES: Final[Mapping[str, Outage]] = {
    "refused": Outage(lambda at: at.proxy.refuse(), lambda at: at.proxy.admit()),
    "stalled": Outage(lambda at: at.proxy.put(Line(stalled=True)), lambda at: at.proxy.put(Line())),
    "answers lost": Outage(
        lambda at: at.proxy.put(Line(swallowed="down")), lambda at: at.proxy.put(Line())
    ),
    "questions lost": Outage(
        lambda at: at.proxy.put(Line(swallowed="up")), lambda at: at.proxy.put(Line())
    ),
    "stopped": Outage(lambda at: at.server.stop("fast"), lambda at: at.server.start()),
    "dropped": Outage(lambda at: at.server.stop("immediate"), lambda at: at.server.start()),
    "killed": Outage(lambda at: at.server.kill(), lambda at: at.server.start()),
    "frozen": Outage(lambda at: at.server.freeze(), lambda at: at.server.thaw()),
    "crowded": Outage(lambda at: at.take_all_connections(), lambda at: at.give_connections_back()),
}

POOLED_OUTAGES: Final[Mapping[str, Outage]] = {
    "stopped": OUTAGES["stopped"],
    "killed": OUTAGES["killed"],
    "frozen": OUTAGES["frozen"],
    "pooler stopped": Outage(lambda at: _bouncer(at).stop(), lambda at: _bouncer(at).start()),
    "pooler killed": Outage(lambda at: _bouncer(at).kill(), lambda at: _bouncer(at).start()),
}
"""The same where a PgBouncer stands between."""
