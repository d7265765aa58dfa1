"""A backup as the documentation has it, made while messages come in, put back and started."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from pathlib import Path
from typing import Final

import apsw
import httpx

from marketbell.clock import SystemClock
from marketbell.testing import TestReceiver
from support.ledger import ROUTES, Ledger, accepted_on_record, make_endpoints
from support.needs import needs
from support.plane import Plane
from support.server import Server, running

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"

pytestmark = needs("sqlite3")


def documented(block: str, server: Server, backup: Path) -> str:
    """A block of the page, for a server of a test: its folder, and no systemd."""
    found = re.search(rf"<!-- backup: {block} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    script = found[1].replace("/var/lib/marketbell", str(server.path.parent))
    script = script.replace("/backup", str(backup)).replace("systemctl", ": systemctl")
    return f"set -euo pipefail\ncd '{server.path.parent}'\n{script}"


def run(script: str) -> None:
    """Run it; AssertionError with what it said if it fails."""
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Publishing:
    """Publishes one message after another, for as long as the context is open."""

    def __init__(self, ledger: Ledger, server: Server, application: str) -> None:
        self._ledger = ledger
        self._server = server
        self._application = application
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._workers = [asyncio.create_task(self._run()) for _ in range(4)]

    async def __aexit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.cancel()
        for end in await asyncio.gather(*self._workers, return_exceptions=True):
            assert isinstance(end, asyncio.CancelledError), end

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
            while True:
                key = self._ledger.draft()
                # A busy machine may be told to come again.
                while not await self._ledger.post(  # noqa: ASYNC110 - no one tells when
                    http, self._server, self._application, key
                ):
                    await asyncio.sleep(0.1)


def accepted(ledger: Ledger) -> set[str]:
    """The ids of all messages that publishers were told are kept."""
    return {one for sent in ledger.published.values() for one in sent.ids}


async def come_to(ledger: Ledger, count: int) -> None:
    """Return once so many more messages have been accepted."""
    wanted = len(accepted(ledger)) + count
    async with asyncio.timeout(60):
        while len(accepted(ledger)) < wanted:  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(0.01)


async def test_what_was_accepted_before_the_backup_is_there_and_goes_on(tmp_path: Path) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    home.mkdir()
    backup.mkdir()
    # What opens the endpoints' secrets stands in the secrets file alone.
    server = Server(home, MARKETBELL_BREAKER_FAILURES="10000")
    ledger = Ledger(1)
    ledger.hangs = 0.0
    async with TestReceiver(ledger) as receiver:
        async with running(server) as http:
            application, endpoints = await make_endpoints(
                server, http, receiver.url, retry_schedule="300ms " + "1s " * 60, timeout="2s"
            )
            async with Publishing(ledger, server, application):
                await come_to(ledger, 150)
                before = accepted(ledger)
                await asyncio.to_thread(run, documented("copy", server, backup))
                await come_to(ledger, 50)
                everything = accepted(ledger)
            await server.kill()
        assert len(everything) > len(before)
        kept = fitness(backup / "marketbell.db")
        assert before <= kept < everything | accepted(ledger)

        run(documented("restore", server, backup))
        ledger.well = True
        async with running(server) as http:
            found = {one["id"] async for one in server.listed(http, f"/app/{application}/msg")}
            assert found == kept
            # What was under way or failing when the copy was made is delivered.
            ledger.published = {key: one for key, one in ledger.published.items() if one.ids & kept}
            await ledger.complete(limit_s=60)
            # And what comes now is accepted, sent and recorded.
            later = ledger.draft()
            assert await ledger.post(http, server, application, later)
            await ledger.complete(limit_s=60)
            assert await server.stop() == 0
            await server.start()
            wanted = ledger.wanted()
            await accepted_on_record(server, http, application, endpoints, wanted)
            assert set(endpoints) == set(ROUTES)
            assert await server.stop() == 0
    said = server.log.read_text()
    assert "Traceback" not in said
    assert '"level":"error"' not in said


def fitness(path: Path) -> set[str]:
    """The messages of a copy that is sound in itself and holds no half of anything."""
    with contextlib.closing(
        apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    ) as connection:
        assert list(connection.execute("pragma integrity_check")) == [("ok",)]
        assert list(connection.execute("pragma foreign_key_check")) == []
        return {row[0] for row in connection.execute("select public_id from message")}


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table with its rowid, and what the file says of itself."""
    with contextlib.closing(
        apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    ) as connection:
        found: dict[str, list[tuple[object, ...]]] = {}
        tables = "select name, sql from sqlite_schema where type = 'table' and rootpage > 0"
        for name, sql in list(connection.execute(tables)):
            columns = "*" if "without rowid" in str(sql).lower() else "rowid, *"
            found[str(name)] = list(connection.execute(f'select {columns} from "{name}"'))
        for name in ("application_id", "user_version", "auto_vacuum", "page_size", "encoding"):
            found[name] = list(connection.execute(f"pragma {name}"))
        return found


async def test_no_row_of_the_copy_has_another_number(tmp_path: Path) -> None:
    """SQLite may number rows anew where a table has no key of its own: rows point at each other."""
    copy = tmp_path / "copy.db"
    async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
        for place in range(4):
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.settled()
            if place % 2 == 0:  # gaps
                await plane.delete(endpoint)
                await plane.store.delete_application(
                    application.organization, application.public_id, now=plane.clock.now()
                )
        run(f"sqlite3 '{plane.path}' \"VACUUM INTO '{copy}'\"")
        before = contents(plane.path)
        assert before == contents(copy)
    assert sum(map(len, before.values())) > 20
