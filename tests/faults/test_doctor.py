"""The doctor at real databases and machines, well and ill: each look sees what is there."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import apsw
import psycopg
import pytest

from e2e.conftest import live_node
from marketbell.cli import run
from marketbell.clock import Clock, SystemClock
from marketbell.doctor import machine, of_database, of_machine
from marketbell.doctor.examination import Site, examine
from marketbell.doctor.findings import Finding
from marketbell.settings import Settings, load_settings
from marketbell.store import inspecting
from marketbell.store.migrations import known
from marketbell.store.postgresql import PostgresOptions
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from support import filled
from support.needs import missing
from support.pgbouncer import PgBouncer
from support.ports import free_ports
from support.postgres import PostgresServer
from support.postgres_stores import postgres_store

DAY = 86_400_000
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""filled.KEY in base64."""


def settings_for(db: str, **flags: object) -> Settings:
    given = {"db": db, "jwt_secret": "x" * 32, "secrets_key": KEY, **flags}
    return load_settings(given, {}, None)


def findings(
    settings: Settings, clock: Clock | None = None, site: Site | None = None
) -> dict[str, Finding]:
    """What each check finds, by its name; on a thread without a loop."""
    site = site or Site(resolv=Path("/nowhere"))
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: list(examine(settings, clock or SystemClock(), site))).result()
    assert len({one.check for one in found}) == len(found)
    return {one.check: one for one in found}


@pytest.fixture(autouse=True)
def _any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one may be slow; how slow is too slow is judged where no machine is asked."""
    monkeypatch.setattr(of_database, "SLOW_ANSWER", 60_000)
    monkeypatch.setattr(of_database, "SKEW_WARNING", 50_000)
    monkeypatch.setattr(of_machine, "SYNC_SLOW_NS", 60 * 10**9)


def verdicts(found: dict[str, Finding]) -> dict[str, str]:
    return {name: one.verdict.value for name, one in found.items()}


# -- an SQLite file


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder on a disk, wherever the others are: the doctor looks at what is below a database."""
    with tempfile.TemporaryDirectory(prefix="marketbell-doctor-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with work under way, of START."""
    path = tmp_path / "shop.db"
    asyncio.run(filled.fill_and_close(lambda: filled.sqlite_store(path)))
    return path


def test_a_file_that_is_well_is_well_from_end_to_end(path: Path) -> None:
    settings = settings_for(f"sqlite:///{path}")
    found = findings(settings, FakeClock(START + 500))
    assert verdicts(found) == {
        **dict.fromkeys(
            ["database", "schema", "clock", "durability", "disk", "due", "leases", "parked"], "ok"
        ),
        **dict.fromkeys(["payloads", "outbox", "keys", "secrets", "files"], "ok"),
        "nodes": "warning",  # no server has it
        "resolvers": "warning",
    }
    assert "open all of the newest 2 secrets" in found["keys"].fact
    assert not list(path.parent.glob(".marketbell-doctor-*"))


def test_what_is_late_stuck_and_kept_too_long_is_seen_beside_a_server(path: Path) -> None:
    settings = settings_for(f"sqlite:///{path}")
    with apsw.Connection(str(path)) as writer:
        writer.execute(
            "update delivery set lost_count = 20, due_at = ? where message_id in"
            " (select id from message where event_id = 'waiting')",
            (1 << 62,),
        )
    with path.with_name("shop.db.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = findings(settings, FakeClock(START + 91 * DAY))
    assert found["nodes"].verdict == "ok"
    assert verdicts(found) | {"nodes": "", "resolvers": ""} == {
        **dict.fromkeys(verdicts(found), "ok"),
        **dict.fromkeys(["due", "leases"], "failure"),
        **dict.fromkeys(["parked", "payloads"], "warning"),
        "nodes": "",
        "resolvers": "",
    }
    assert found["payloads"].fact.startswith("5 messages")
    assert found["leases"].fact.startswith("1 claims")


def test_a_clock_that_was_set_back_and_keys_of_another_are_seen(path: Path) -> None:
    other = settings_for(f"sqlite:///{path}", secrets_key="B" * 42 + "A=")
    found = findings(other, FakeClock(START - DAY))
    assert found["clock"].verdict == "failure"
    assert found["keys"].verdict == "failure"


def test_there_is_no_file_or_it_is_broken_or_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    settings = settings_for(f"sqlite:///{path}")
    found = findings(settings)
    assert found["database"].verdict == "failure"
    assert found["database"].fact.startswith("There is no file")
    assert found["due"].fact == "the database is away"
    assert [found[name].verdict for name in ("disk", "durability", "files")] == ["ok"] * 3
    assert not path.exists()
    path.write_bytes(b"no database at all" * 100)
    found = findings(settings)
    assert (found["database"].verdict, found["due"].verdict) == ("failure", "unknown")
    path.unlink()
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("create table message (id integer primary key, created_at)")
    found = findings(settings)
    assert (found["schema"].verdict, found["due"].verdict) == ("failure", "unknown")
    assert "another program's" in found["schema"].fact


def test_a_file_of_an_earlier_schema_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert run(["migrate", "--db", f"sqlite:///{path}"]) == 0
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", connection.pragma("user_version") - 1)
    assert findings(settings_for(f"sqlite:///{path}"))["schema"].verdict == "failure"


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, "ok"), (0o644, "failure")])
def test_the_secrets_file_is_looked_at(tmp_path: Path, mode: int, verdict: str) -> None:
    path = tmp_path / "x.db"
    assert run(["migrate", "--db", f"sqlite:///{path}"]) == 0
    secrets = tmp_path / "x.db.secrets"
    secrets.chmod(mode)
    given = load_settings({"db": f"sqlite:///{path}"}, {}, None)
    assert findings(given)["secrets"].verdict == verdict
    secrets.unlink()
    assert findings(given)["secrets"].verdict == "failure"


def test_a_file_of_settings_that_everybody_may_read_is_seen(path: Path) -> None:
    config = path.with_name("x.toml")
    config.touch(0o644)
    settings = settings_for(f"sqlite:///{path}")
    found = findings(settings, site=Site(config=config, resolv=Path("/nowhere")))
    assert found["secrets"].verdict == "warning"


# -- the machine


def test_a_file_system_of_memory_is_told_from_a_disk(tmp_path: Path) -> None:
    if not Path("/dev/shm").is_mount():
        missing("/dev/shm is no file system of its own here")
    assert machine.file_system(Path("/dev/shm/x")) == "tmpfs"
    assert machine.file_system(tmp_path) not in {"", "tmpfs", "proc"}
    assert machine.file_system(Path("/proc/self")) == "proc"


def test_the_time_of_an_fsync_is_the_median(tmp_path: Path) -> None:
    ticks = iter(range(0, 10_000_000, 250))
    assert machine.sync_time(tmp_path, lambda: next(ticks)) == 250
    with pytest.raises(OSError, match="no-such"):
        machine.sync_time(tmp_path / "no-such")


def test_a_lock_is_seen_and_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert machine.is_locked(path) is False
    with path.open("ab") as held:
        assert machine.is_locked(path) is False
        fcntl.flock(held, fcntl.LOCK_EX)
        assert machine.is_locked(path) is True


@contextmanager
def name_server(*, answers: bool) -> Iterator[int]:
    """The port of a name server that answers every question, first with what is no answer; or none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))

        def serve() -> None:
            question, client = bound.recvfrom(512)
            bound.sendto(b"??" + question[2:], client)
            bound.sendto(question[:2] + b"\x81\x83" + question[4:], client)

        if answers:
            threading.Thread(target=serve, daemon=True).start()
        yield bound.getsockname()[1]


def test_name_servers_are_asked(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("# ours\nsearch example\nnameserver 127.0.0.1\nnameserver\noptions x\n")
    assert machine.name_servers(resolv) == ["127.0.0.1"]
    assert machine.name_servers(tmp_path / "none") == []
    with name_server(answers=True) as port:
        assert machine.answers("127.0.0.1", port) is True
    with name_server(answers=False) as port:
        assert machine.answers("127.0.0.1", port, 0.05) is False
    assert machine.answers("127.0.0.1", next(iter(free_ports())), 5.0) is False  # refused at once
    assert machine.answers("no address", 53, 0.05) is False


# -- PostgreSQL


@pytest.fixture
def database(migrated_url: str) -> str:
    """A database with work under way, of START."""
    asyncio.run(
        filled.fill_and_close(lambda: postgres_store(migrated_url, filled.KEY, FakeClock(START)))
    )
    return migrated_url


def on_server(url: str, statement: str, *values: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set search_path = marketbell")
        connection.execute(statement, values)


def register(url: str, number: int, **other: Any) -> None:
    row = {
        "name": f"node-{number}",
        "role": "all",
        "schema": 99,
        "skew": 0,
        "left": 60_000,
        **other,
    }
    on_server(
        url,
        "insert into node (id, number, name, role, version, schema, skew, started_at, lease_until)"
        " overriding system value values (%s, %s, %s, %s, '0.1.0', %s, %s, 0,"
        " extract(epoch from clock_timestamp()) * 1000 + %s)",
        *(number, number, row["name"], row["role"], row["schema"], row["skew"], row["left"]),
    )
    if row["left"] > 0 and row["role"] != "api":
        on_server(url, "update slot set node_id = %s where node_id is null", number)


def test_a_newer_schema_is_no_failure_as_long_as_this_program_can_serve_on(database: str) -> None:
    register(database, 1)
    settings = settings_for(database)
    last = known("postgresql")[-1].number
    step = "insert into migration (number, name, after) values (%s, 'later', %s)"
    on_server(database, step, last + 1, 0)
    found = findings(settings)
    assert found["schema"].verdict == "warning", found["schema"]
    assert "serve on" in found["schema"].fact
    assert found["due"].verdict != "unknown"
    on_server(database, step, last + 2, 1)
    found = findings(settings)
    assert found["schema"].verdict == "failure"
    assert "use a newer one" in found["schema"].fact


def test_a_right_that_is_missing_is_named_with_what_gives_it(
    database: str, postgres: PostgresServer
) -> None:
    name = urlsplit(database).path.lstrip("/")
    settings = settings_for(_as(database, "poor"))
    said: list[str] = []
    with postgres.connect(name) as superuser:
        superuser.execute("create role poor login")
        try:
            found = findings(settings)["schema"]
            while found.verdict == "failure":
                assert found.fact.startswith("the role poor may not ")
                # One at a time: what is left is found again.
                grant = found.mend.split("`")[1].split(";")[0]
                assert grant not in said
                said.append(grant)
                superuser.execute(grant.encode())
                found = findings(settings)["schema"]
        finally:
            superuser.execute("revoke marketbell from poor")
            superuser.execute("drop owned by poor")
            superuser.execute("drop role poor")
    assert found.verdict == "ok"
    assert [grant.split(" on ")[0] for grant in said] == [
        "grant usage",
        "grant select, insert, update, delete",
        "grant usage",
        'grant "marketbell" to "poor"',
    ]


def test_what_others_keep_in_the_schema_is_no_right_that_is_missing(
    database: str, postgres: PostgresServer
) -> None:
    settings = settings_for(database)
    with postgres.connect(urlsplit(database).path.lstrip("/")) as superuser:
        superuser.execute('create table marketbell."a note" (number bigserial)')
        assert findings(settings)["schema"].verdict == "ok"
        superuser.execute("alter table marketbell.lane owner to postgres")
        assert "read and write lane" in findings(settings)["schema"].fact
        superuser.execute("alter table marketbell.lane owner to marketbell")
        superuser.execute("alter sequence marketbell.delivery_place owner to postgres")
        assert "use delivery_place" in findings(settings)["schema"].fact


def _as(url: str, role: str) -> str:
    """The same database for another role."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


def test_what_postgresql_says_of_itself_and_of_its_work_is_judged(database: str) -> None:
    found = findings(settings_for(database))
    assert verdicts(found) == {
        **dict.fromkeys(["database", "schema", "clock", "connections", "transactions"], "ok"),
        **dict.fromkeys(["parked", "outbox", "keys", "secrets", "files"], "ok"),
        "durability": "failure",  # the tests' server syncs nothing
        "disk": "unknown",
        "nodes": "warning",
        "slots": "unknown",
        "partitions": "warning",
        "due": "failure",
        "leases": "failure",
        "payloads": "warning",
        "resolvers": "warning",
    }
    assert "fsync off" in found["durability"].fact
    assert found["payloads"].fact.startswith("5 messages")
    assert found["leases"].fact.startswith("1 claims")


def test_a_cluster_that_is_well(postgres: PostgresServer, migrated_url: str) -> None:
    register(migrated_url, 1)
    register(migrated_url, 2, role="api")
    today = time.time_ns() // 1_000_000 // DAY
    for ahead in (0, 1, 2):
        on_server(migrated_url, "select add_partitions(%s)", today + ahead)
    found = findings(settings_for(migrated_url))
    assert {name: one for name, one in found.items() if one.verdict != "ok"}.keys() == {
        "durability",
        "disk",
        "resolvers",
    }
    assert found["slots"].fact.startswith("all 1024 among 1 worker,")


def test_an_operators_faults_in_the_cluster_are_seen(database: str) -> None:
    register(database, 1, skew=-90_000)
    register(database, 2, left=-1)
    on_server(database, "update slot set node_id = null where slot < 10")
    on_server(database, "update delivery set lost_count = 20, due_at = %s", 1 << 62)
    for age in (400_000, 0):
        on_server(
            database,
            "insert into outbox (application, body, created_at)"
            " values ('kaunas', '{}', extract(epoch from clock_timestamp()) * 1000 - %s)",
            age,
        )
    on_server(database, "select add_partitions(18628)")  # 2021-01-01
    today = time.time_ns() // 1_000_000 // DAY
    for ahead in (0, 1, 2):
        on_server(database, "select add_partitions(%s)", today + ahead)
    name = database.rpartition("/")[2]
    on_server(database, f"alter database {name} set synchronous_commit = off")
    found = findings(settings_for(database, secrets_key="B" * 42 + "A="))
    assert found["clock"].fact.startswith("node-1 is 90000 ms behind")
    assert found["nodes"].fact.endswith("lost in the last hour: node-2")
    assert found["slots"].fact.startswith("10 of 1024")
    assert found["parked"].fact.startswith("5 deliveries")
    assert found["outbox"].fact.startswith("2 wait, the oldest for 6 min")
    assert "the first attempt_20210101" in found["partitions"].fact
    assert "synchronous_commit off" in found["durability"].fact
    assert found["keys"].verdict == "failure"


def test_a_server_that_is_not_there_or_does_not_answer(tmp_path: Path) -> None:
    with PostgresServer() as server:
        settings = settings_for(server.url(), db_connect_timeout="300ms")
        server.freeze()
        frozen = findings(settings)
        server.thaw()
        server.stop()
        gone = findings(settings)
    for found in (frozen, gone):
        assert found["database"].verdict == "failure"
        assert "cannot be reached" in found["database"].fact
        assert found["due"] == Finding("due", found["due"].verdict, "the database is away")
        assert (found["files"].verdict, found["secrets"].verdict) == ("ok", "ok")


def test_it_comes_through_a_pooler_and_sees_that_the_direct_address_is_dead(
    postgres: PostgresServer, database: str
) -> None:
    with PgBouncer(postgres) as bouncer:
        db = bouncer.url(database.rpartition("/")[2])
        well = findings(settings_for(db, db_direct=database))
        dead = findings(settings_for(db, db_direct="postgresql://m@127.0.0.1:1/m"))
    assert verdicts(well) == verdicts(findings(settings_for(database)))
    assert dead["schema"].verdict == "failure"
    assert "db_direct" in dead["schema"].mend
    assert verdicts(dead) | {"schema": "ok"} == verdicts(well)


def test_a_server_whose_files_are_here_has_its_disk_looked_at(postgres: PostgresServer) -> None:
    if os.geteuid() != 0:
        missing("the server's files are another user's: root alone can look at them")
    url = postgres.url("postgres", "postgres")
    found = findings(settings_for(url))
    assert found["disk"].verdict == "ok"
    assert found["schema"].verdict == "failure"
    assert found["due"].verdict == "unknown"


def test_an_old_transaction_is_seen(migrated_url: str) -> None:
    inspection = inspecting.PostgresInspection(PostgresOptions(url=migrated_url))
    with psycopg.connect(migrated_url) as holder, closing(inspection):
        holder.execute("select 1")
        deadline = time.monotonic() + 60
        while inspection.look(inspecting.transactions).oldest < 20:
            assert time.monotonic() < deadline


# -- the command


def test_the_command_tells_all_of_it(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARKETBELL_SECRETS_KEY", KEY)
    monkeypatch.setenv("MARKETBELL_JWT_SECRET", "x" * 32)
    assert run(["doctor", "--db", database, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit"] == 2
    assert {"check", "verdict", "fact", "mend"} == set(told["findings"][0])
    assert run(["doctor", "--db", database]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["VERDICT", "CHECK", "FOUND", "MEND"]
    assert lines[1].split()[:2] == ["ok", "database"]


def test_it_has_the_keys_that_stand_beside_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_node(tmp_path) as live:
        api = live.client()
        assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201
        endpoint = {"url": "https://example.com/"}
        assert api.post("/app/s/endpoint", json=endpoint).status_code == 201
        run(["doctor", "--db", f"sqlite:///{tmp_path}/node.db", "--json"])
        told = {one["check"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
        assert run(["migrate", "--db", f"sqlite:///{tmp_path}/node.db"]) == 3
        assert "there is nothing to migrate" in capsys.readouterr().err
    assert {told[name]["verdict"] for name in ("keys", "secrets", "nodes", "database")} == {"ok"}
    assert "newest 1 secrets" in told["keys"]["fact"]
