"""A real PgBouncer before a PostgreSQL, in the mode that keeps no session for its clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import Final, Self

from support.needs import missing
from support.ports import free_ports
from support.postgres import PostgresServer
from support.postgres_programs import OWNER, SUPERUSER, account, own_folder
from support.watchdog import Watchdog

_WAIT_S: Final = 60.0
_LOOK_S: Final = 0.005
_CONFIGURATION: Final = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {pool}
max_client_conn = 1000
server_round_robin = 1
server_login_retry = 1
pidfile = {folder}/server.pid
admin_users = {superuser}
"""


class PgBouncer:
    """
    One PgBouncer before a server, which need not run yet.

    `pool` is how many connections to the server it has for each database and user; `mode` is
    PgBouncer's pool_mode. In `transaction` mode a client gets another of them for each
    transaction, and session settings, advisory locks of sessions, LISTEN and prepared statements
    do not work. Skips the test where PgBouncer is missing, unless MARKETBELL_REQUIRE_ALL=1.
    """

    def __init__(
        self, server: PostgresServer, *, pool: int = 10, mode: str = "transaction"
    ) -> None:
        self._program = _found()
        self.server = server
        self.pool = pool
        self.mode = mode
        self.port = 0
        """Of the first start and all that follow."""
        self.folder = own_folder("marketbell-pgbouncer-")
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
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

    def url(self, database: str = "postgres", user: str = OWNER) -> str:
        """Where a client finds the server through it."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it; it answers when this returns."""
        assert self._process is None, "it runs already"
        if self.port:
            assert self._start(), self._said()
            return
        for self.port in free_ports():
            if self._start():
                return
            assert "in use" in self._said(), self._said()

    def stop(self) -> None:
        """End it and all connections at once."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self._end(signal.SIGKILL)

    def clear(self) -> None:
        """Leave no process and no file behind."""
        if not self._watchdog.watches:
            return
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder)
        self._watchdog.dismiss()

    def _start(self) -> bool:
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                server_port=self.server.port,
                port=self.port,
                folder=self.folder,
                mode=self.mode,
                pool=self.pool,
                superuser=SUPERUSER,
            )
        )
        (self.folder / "users").write_text(f'"{OWNER}" ""\n"{SUPERUSER}" ""\n')
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **account(),
            )
        deadline = time.monotonic() + _WAIT_S
        while not self._answers():
            if self._process.poll() is not None:
                self._process = None
                return False
            assert time.monotonic() < deadline, self._said()
            time.sleep(_LOOK_S)
        return True

    def _answers(self) -> bool:
        # It writes its number only once it has the port.
        if not (self.folder / "server.pid").exists():
            return False
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", self.port), timeout=_WAIT_S),
        ):
            return True
        return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        self._process.wait(_WAIT_S)
        self._process = None
        (self.folder / "server.pid").unlink(missing_ok=True)

    def _said(self) -> str:
        return f"PgBouncer said:\n{self.log.read_text()[-3_000:]}"


def _found() -> str:
    # Debian has it where only root's PATH leads.
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        missing("PgBouncer is missing: apt-get install pgbouncer")
    return program
