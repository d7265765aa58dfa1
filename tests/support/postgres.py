"""A real PostgreSQL in processes of its own, to be stopped, frozen and killed at will."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, LiteralString, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from support.children import children_of, gone
from support.ports import free_ports
from support.postgres_programs import OWNER, SUPERUSER, own_folder, programs, run
from support.watchdog import Watchdog

_STOPS: Final = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_START_S: Final = 60.0
_STOP_S: Final = 60.0
_TEMPLATE_TRIES: Final = 5
_LOOK_S: Final = 0.005
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    # A server that is killed leaves nothing in /dev/shm with these.
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "mmap",
    "huge_pages": "off",
    "shared_buffers": "64MB",
    "wal_keep_size": "256MB",
}
_NOT_DURABLE: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer:
    """
    One server with an empty cluster, on a port of its own; started as often as one likes.

    It is durable only if told so: else it syncs nothing and is faster, and still loses nothing
    when it is killed, only when the machine is. `settings` are PostgreSQL's own and may be
    changed before a start. It ends with the test process, also when that is killed; `clear`
    leaves nothing of it.
    """

    def __init__(
        self, *, durable: bool = False, settings: Mapping[str, object] | None = None
    ) -> None:
        self.settings: dict[str, object] = {
            **_SETTINGS,
            **({} if durable else _NOT_DURABLE),
            **(settings or {}),
        }
        self.folder = own_folder("marketbell-pg-")
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = 0
        """Of the first start and all that follow."""
        self._programs = programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._watchdog = Watchdog(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.clear()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    # -- its processes ------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the running server's first process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Start it; how many seconds it took until it answers. After a kill it recovers first."""
        assert not self.runs, "it runs already"
        begun = time.monotonic()
        if not self.data.exists():
            self._make_data()
        if self.port == 0:
            self._start_somewhere()
        else:
            assert self._start(), self._said()
        return time.monotonic() - begun

    def stop(self, mode: str = "fast") -> None:
        """
        End it: `smart` waits for its clients to leave, `fast` sends them away, `immediate` drops
        everything and has it recover at the next start.
        """
        process = self._running()
        self.thaw()
        process.send_signal(_STOPS[mode])
        process.wait(_STOP_S)
        self._process = None

    def kill(self) -> None:
        """SIGKILL of all its processes at once, and wait until they are dead."""
        process = self._running()
        children = children_of(process.pid)
        process.kill()
        process.wait(_STOP_S)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + _STOP_S
        while not all(map(gone, children)):
            assert time.monotonic() < deadline, "a child of the killed server lives on"
            time.sleep(_LOOK_S)
        self._process = None

    def ended(self, limit_s: float = _STOP_S) -> int:
        """Its exit code, once it has ended by itself."""
        code = self._running().wait(limit_s)
        self._process = None
        return code

    def restart(self, mode: str = "fast") -> None:
        """Stop it and start it again, on the same port and with the settings of now."""
        self.stop(mode)
        self.start()

    def freeze(self) -> None:
        """SIGSTOP of all its processes: connections stay open, nothing answers."""
        pid = self._running().pid
        os.kill(pid, signal.SIGSTOP)  # the parent first, so that no child is born meanwhile
        for child in children_of(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT of all its processes; as if nothing had been."""
        pid = self._running().pid
        for each in (*children_of(pid), pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)

    def clear(self) -> None:
        """Leave no process and no file behind; it cannot be started again."""
        if not self._watchdog.watches:
            return
        if self.runs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop("immediate")
        if self.runs:
            self.kill()
        self._forget_memory()
        self._give_up_data()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watchdog.dismiss()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _make_data(self) -> None:
        """Before the first start: what the server begins with."""
        run(["cp", "-a", self._programs.cluster, self.data], self._programs.account)

    def _give_up_data(self) -> None:
        """After the last stop: what is more to be undone than to remove files."""

    def _start_somewhere(self) -> None:
        for self.port in free_ports():
            if self._start():
                return
            assert "in use" in self._said(), self._said()

    def _start(self) -> bool:
        """Whether it answers; it has ended if not."""
        settings = {
            **self.settings,
            "port": self.port,
            "unix_socket_directories": self.folder,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs.folder / "postgres", "-D", self.data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._programs.account,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None:
                self._process = None
                return False
            assert time.monotonic() < deadline, self._said()
            time.sleep(_LOOK_S)
        return True

    def _answers(self) -> bool:
        """What the server itself writes once it takes connections, as pg_ctl looks for it."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _said(self) -> str:
        return f"PostgreSQL said:\n{self.log.read_text()[-3_000:]}"

    def _forget_memory(self) -> None:
        """Remove the few bytes of shared memory by which a killed server is recognized."""
        with contextlib.suppress(FileNotFoundError, IndexError):
            number = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", number], check=False, capture_output=True)

    # -- its databases ------------------------------------------------------------------

    def url(self, database: str = "postgres", user: str = OWNER) -> str:
        """Where a client finds it, over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres", user: str = OWNER) -> str:
        """The same over its Unix socket."""
        folder = quote(str(self.folder), safe="")
        return f"postgresql://{user}@/{database}?host={folder}&port={self.port}"

    def connect(
        self, database: str = "postgres", user: str = SUPERUSER
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that commits each statement by itself; as the superuser if not told."""
        return psycopg.connect(self.socket_url(database, user), autocommit=True)

    def execute(
        self,
        statement: LiteralString | sql.Composed,
        *parameters: object,
        database: str = "postgres",
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser; its rows. Parameters stand as `%s`."""
        with self.connect(database) as connection:
            done = connection.execute(statement, parameters or None)
            return done.fetchall() if done.description else []

    def create_database(self, name: str | None = None, template: str = "template0") -> str:
        """The name of a new database that belongs to OWNER: empty, or a copy of `template`."""
        name = name or f"test_{next(self._names)}"
        # Copying files takes 10 ms, and writing them through the log, which is the default, 20.
        make = sql.SQL("create database {} owner {} template {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
        )
        for left in reversed(range(_TEMPLATE_TRIES)):
            try:
                self.execute(make)
                break
            except psycopg.errors.ObjectInUse:
                # The vacuum looks into the template, too; the server itself waits 5 s for it.
                if not left:
                    raise
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextlib.contextmanager
def fresh_database(server: PostgresServer, template: str = "template0") -> Iterator[str]:
    """A database of one's own for a while; its name."""
    name = server.create_database(template=template)
    try:
        yield name
    finally:
        server.drop_database(name)
