"""PostgreSQL goes away and comes back: what the log, the metrics and publishers are told of it."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.conftest import live_node
from support.eventually import eventually
from support.postgres import PostgresServer
from support.postgres_stores import migrated

_AGAIN = 25
"""Connections that are tried meanwhile: each loop has failed several times by then."""


@contextmanager
def deaf(port: int) -> Iterator[list[int]]:
    """Something at that port that hangs up on everyone; counts them in a list."""
    tried: list[int] = []
    with socket.create_server(("127.0.0.1", port)) as door:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = door.accept()
                except OSError:
                    return
                tried.append(1)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            yield tried
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_each_state_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with PostgresServer() as server:
        url = server.url(server.create_database())
        migrated(url)
        with live_node(tmp_path, db=url) as live:
            api = live.client("org_away")
            assert api.post("/app", json={"name": "Seller", "uid": "s"}).status_code == 201
            body = {"eventType": "a", "payload": {}}
            assert api.post("/app/s/msg", json=body).status_code == 202
            caplog.set_level(logging.INFO)
            caplog.clear()
            server.stop("immediate")
            with deaf(server.port) as tried:
                refused = api.post("/app/s/msg", json=body)
                await eventually(lambda: len(tried) >= _AGAIN, limit_s=40)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            # The database's own words name addresses, roles and tables: they are for the log.
            assert refused.json()["detail"] in {
                "The database cannot be reached.",
                "The commit's answer was lost.",
            }
            server.start()
            await eventually(lambda: api.get("/health").status_code == 200, limit_s=40)
            await eventually(lambda: "signs of life are given again" in caplog.messages, limit_s=40)
            assert api.post("/app/s/msg", json=body).status_code == 202
            page = api.get(f"{live.url}/metrics").text
    # Refused once; it is counted unless not even its application could be read.
    counted = re.findall(r'marketbell_messages_total\{result="unavailable"\} (\S+)', page)
    assert counted in ([], ["0.0"], ["1.0"])
    told = Counter(
        (one.name, one.message)
        for one in caplog.records
        if one.name.startswith("marketbell") and one.levelno >= logging.WARNING
    )
    assert told.most_common(1)[0][1] == 1, told
    assert {"no sign of life can be given", "the outbox waits"} <= {event for _, event in told}
