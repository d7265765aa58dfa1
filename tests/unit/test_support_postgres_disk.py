"""The tests' PostgreSQL runs out of disk and gets over it."""

from __future__ import annotations

import contextlib

import psycopg
import pytest

from support.postgres_disk import CrampedPostgres

MORE = "insert into kept select generate_series(1, 10000)"


def test_a_full_disk_fails_what_needs_room_and_nothing_else() -> None:
    with CrampedPostgres(64) as server:
        server.execute("create table kept (id bigint)")
        server.execute(MORE)
        server.fill()
        assert server.free_bytes == 0
        with pytest.raises(psycopg.errors.DiskFull):
            server.execute(MORE)
        assert server.execute("select count(*) from kept") == [(10_000,)]
        server.free()
        server.execute(MORE)
        assert server.execute("select count(*) from kept") == [(20_000,)]
        server.fill(leave=1_000_000)
        assert 900_000 < server.free_bytes <= 1_000_000


def test_without_room_for_its_log_it_ends_and_loses_nothing() -> None:
    with CrampedPostgres(96, log_apart=False) as server:
        server.execute("create table kept (id bigint)")
        server.fill(leave=12_000_000)  # less than a file of its log, more than the rows need
        written = 0
        with contextlib.suppress(psycopg.OperationalError), server.connect() as connection:
            while written < 1_000_000:
                connection.execute(MORE)
                written += 10_000
        assert server.ended() != 0
        assert "No space left on device" in server.log.read_text()
        server.free()
        server.start()
        assert server.execute("select count(*) from kept") == [(written,)]
        server.execute(MORE)
