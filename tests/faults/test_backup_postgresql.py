"""A dump as the documentation has it, made while messages come in, restored into another database."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import psycopg

from faults.test_backup import Publishing, accepted, come_to
from marketbell.testing import TestReceiver
from support.ledger import Ledger, accepted_on_record, make_endpoints
from support.postgres import PostgresServer
from support.postgres_programs import programs
from support.server import Server, running

PAGE: Final = Path(__file__).parents[2] / "docs" / "postgresql.md"
KEY: Final = base64.b64encode(bytes(range(32))).decode()


def documented(block: str, postgres: PostgresServer, folder: Path, database: str) -> None:
    """Run a block of the page for a test's server and database, up to where nodes are started."""
    found = re.search(rf"<!-- pg: {block} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    script = found[1].partition("export MARKETBELL_DB")[0]
    script = script.replace("/backup/", f"{folder}/")
    script = script.replace("marketbell_restored", f"{database}_restored")
    script = re.sub(r"(?<=dump) marketbell$", f" {database}", script, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        capture_output=True,
        text=True,
        env={
            "PATH": f"{programs().folder}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
        },
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def kept_in(url: str) -> set[str]:
    """The ids of a database's messages; AssertionError if something points nowhere."""
    with psycopg.connect(url) as connection:
        connection.execute("set search_path = marketbell")
        adrift = connection.execute(
            "select count(*) from delivery d where not exists"
            " (select 1 from message m where m.id = d.message_id)"
        ).fetchone()
        assert adrift == (0,)
        return {row[0] for row in connection.execute("select public_id from message")}


async def test_what_was_accepted_before_the_dump_is_there_and_goes_on(
    postgres: PostgresServer, migrated_url: str, tmp_path: Path
) -> None:
    database = migrated_url.rpartition("/")[2]
    settings = {
        "MARKETBELL_SECRETS_KEY": KEY,
        "MARKETBELL_BREAKER_FAILURES": "10000",
        "MARKETBELL_NODE_LEASE": "3s",
        "MARKETBELL_NODE_HEARTBEAT": "500ms",
    }
    server = Server(tmp_path, MARKETBELL_DB=migrated_url, **settings)
    ledger = Ledger(1)
    ledger.hangs = 0.0
    async with TestReceiver(ledger) as receiver:
        async with running(server) as http:
            application, endpoints = await make_endpoints(
                server, http, receiver.url, retry_schedule="300ms " + "1s " * 60, timeout="2s"
            )
            async with Publishing(ledger, server, application):
                await come_to(ledger, 80)
                before = accepted(ledger)
                await asyncio.to_thread(documented, "backup", postgres, tmp_path, database)
                await come_to(ledger, 30)
                everything = accepted(ledger)
            await server.kill()
        assert len(everything) > len(before)

        await asyncio.to_thread(documented, "restore", postgres, tmp_path, database)
        restored = postgres.url(f"{database}_restored")
        kept = kept_in(restored)
        assert before <= kept < everything | accepted(ledger)
        ledger.well = True
        server = Server(tmp_path, MARKETBELL_DB=restored, **settings)
        async with running(server) as http:
            found = {one["id"] async for one in server.listed(http, f"/app/{application}/msg")}
            assert found == kept
            # What was under way or failing when the dump was made is delivered.
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
            assert await server.stop() == 0
    postgres.drop_database(f"{database}_restored")
    said = server.log.read_text()
    assert "Traceback" not in said
    assert '"level":"error"' not in said
