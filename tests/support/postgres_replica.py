"""A second PostgreSQL that follows a first one and takes its place when told to."""

from __future__ import annotations

import time
from typing import Final

from support.postgres import PostgresServer
from support.postgres_programs import SUPERUSER

_WAIT_S: Final = 60.0
_LOOK_S: Final = 0.005


class Replica(PostgresServer):
    """
    A streaming replica of a server that runs, made by its first start; answers reads only.

    If it is `synchronous`, the primary says of a transaction that it is committed only once the
    replica has it too, so that a failover loses nothing; then the primary waits for it for ever
    when it is gone. One synchronous replica for a primary.
    """

    def __init__(self, primary: PostgresServer, *, synchronous: bool = False) -> None:
        # What it was told to wait for came along with the copy, and is not its own concern.
        settings = {**primary.settings, "synchronous_standby_names": ""}
        super().__init__(durable=primary.settings.get("fsync") != "off", settings=settings)
        self.primary = primary
        self._synchronous = synchronous

    def start(self) -> float:
        """Start it; how many seconds it took until it follows its primary, or is one itself."""
        begun = time.monotonic()
        super().start()
        if self._synchronous and self.follows:
            self.primary.execute("alter system set synchronous_standby_names = '*'")
            self.primary.execute("select pg_reload_conf()")
            self._wait_until_streams("sync")
        elif self.follows:
            self._wait_until_streams("async")
        return time.monotonic() - begun

    @property
    def follows(self) -> bool:
        """Whether it is a replica still."""
        return bool(self.execute("select pg_is_in_recovery()")[0][0])

    def catch_up(self) -> None:
        """Return once all that the primary has written by now can be read here."""
        (wanted,) = self.primary.execute("select pg_current_wal_lsn()::text")[0]
        deadline = time.monotonic() + _WAIT_S
        while not self.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", wanted)[0][0]:
            assert time.monotonic() < deadline, self._said()
            time.sleep(_LOOK_S)

    def promote(self) -> float:
        """Make it a primary; how many seconds it took until it could be written to."""
        begun = time.monotonic()
        assert self.execute("select pg_promote(wait => true)") == [(True,)], self._said()
        return time.monotonic() - begun

    def _make_data(self) -> None:
        self._programs.run(
            "pg_basebackup",
            *("--pgdata", self.data),
            *("--host", self.primary.folder),
            *("--port", str(self.primary.port)),
            *("--username", SUPERUSER),
            *("--checkpoint", "fast"),
            *("--wal-method", "stream"),
            "--write-recovery-conf",
            "--no-sync",
        )

    def _wait_until_streams(self, kind: str) -> None:
        states = "select state, sync_state from pg_stat_replication where state = 'streaming'"
        deadline = time.monotonic() + _WAIT_S
        while ("streaming", kind) not in self.primary.execute(states):
            assert time.monotonic() < deadline, self._said()
            time.sleep(_LOOK_S)
