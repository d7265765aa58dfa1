"""The pages on PostgreSQL and the doctor: commands run as they stand, checks and bounds on both sides."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from marketbell.doctor import of_database
from marketbell.doctor.examination import checks_of
from marketbell.doctor.findings import time_told
from marketbell.settings import SETTINGS, Settings, load_settings
from support import filled
from support.postgres import PostgresServer
from support.postgres_programs import programs
from support.postgres_stores import postgres_store

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "postgresql.md").read_text()
ADDRESS = "marketbell:choose%20one@db.example"


def block(name: str) -> str:
    found = re.search(rf"<!-- pg: {name} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of the page's own: it makes roles and databases of fixed names."""
    with PostgresServer() as started:
        started.execute("drop role marketbell")  # the page makes it
        yield started


class Session:
    """A shell that has the page's variables."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{programs().folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
        }

    def run(self, script: str) -> str:
        """What a block prints, where db.example is the test's server; variables stay for the next."""
        script = script.replace(
            ADDRESS, f"{ADDRESS.partition('@')[0]}@127.0.0.1:{self._server.port}"
        )
        script = script.replace("/backup/", f"{self._folder}/")
        script = script.replace("marketbell serve\n", "")
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{script}\nenv -0 > env"],
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=self._folder,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told = (self._folder / "env").read_text().rstrip("\0").split("\0")
        self._environment = dict(line.split("=", 1) for line in told)
        return done.stdout


def test_the_page_leads_from_nothing_to_a_restored_database(
    server: PostgresServer, tmp_path: Path
) -> None:
    session = Session(server, tmp_path)
    session.run(block("setup"))
    session.run(block("settings"))
    assert "ran 0001_initial.sql" in session.run(block("first"))
    session.run(block("callers"))
    url = server.url("marketbell")
    asyncio.run(filled.fill_and_close(lambda: postgres_store(url, filled.KEY)))
    session.run(block("backup"))
    assert "nothing to do" in session.run(block("upgrade"))
    assert "nothing to do" in session.run(block("restore"))
    sent = asyncio.run(_finished(server.url("marketbell_restored")))
    assert sorted(sent) == filled.SENT
    with psycopg.connect(server.url("marketbell", "shop"), autocommit=True) as shop:
        shop.execute("insert into marketbell.outbox (application, body) values ('a', '{}')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shop.execute("select * from marketbell.outbox")


async def _finished(url: str) -> list[tuple[str, int]]:
    store = postgres_store(url, filled.KEY)
    try:
        return await filled.finish(store)
    finally:
        await store.aclose()


def test_settings_that_are_named_exist() -> None:
    for name in ("postgresql.md", "scale.md"):
        words = set(
            re.findall(
                r"`((?:db|node|payload|message|attempt)_[a-z_]+)`", (DOCS / name).read_text()
            )
        )
        tables = {"finished_delivery"}
        assert words <= set(SETTINGS) | tables, name


def rows() -> dict[str, list[str]]:
    text = (DOCS / "operations.md").read_text().split("\n## The doctor\n", 1)[1]
    lines = [line for line in text.split("\n## ", 1)[0].splitlines() if line.startswith("| `")]
    cells = [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_every_check_is_told_and_no_other() -> None:
    postgresql = load_settings({"db": "postgresql://a@b/c"}, {}, None)
    assert set(rows()) == {*checks_of(Settings()), *checks_of(postgresql)}


def test_the_bounds_are_those_of_the_code() -> None:
    for check, first, second in (
        ("clock", of_database.SKEW_WARNING, of_database.SKEW_FAILURE),
        ("transactions", of_database.TRANSACTION_WARNING, of_database.TRANSACTION_FAILURE),
        ("due", of_database.LATE_WARNING, of_database.LATE_FAILURE),
        ("outbox", of_database.OUTBOX_WARNING, of_database.OUTBOX_FAILURE),
    ):
        told = rows()[check]
        assert time_told(first) in told[1], check
        assert time_told(second) in told[2], check
    assert time_told(of_database.LEASE_GRACE) in rows()["leases"][0]
    assert f"{of_database.CONNECTIONS_WARNING:.0%}".rstrip("%") in rows()["connections"][1]


def test_no_figure_is_left_open() -> None:
    assert "not measured yet" not in (DOCS / "scale.md").read_text()
