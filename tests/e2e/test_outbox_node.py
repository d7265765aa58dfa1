"""The outbox of a whole server on PostgreSQL: taken while it serves, counted in its metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from e2e.conftest import LiveNode, live_node
from marketbell import outbox


@pytest.fixture
def server(tmp_path: Path, migrated_url: str) -> Iterator[LiveNode]:
    with live_node(tmp_path, db=migrated_url) as node:
        yield node


def test_a_server_takes_what_was_committed_and_counts_what_it_refuses(
    server: LiveNode, migrated_url: str
) -> None:
    receiver = server.receiver()
    api = server.client()
    assert api.post("/app", json={"name": "Kaunas", "uid": "kaunas"}).status_code == 201
    assert api.post("/app/kaunas/endpoint", json={"url": receiver.url}).status_code == 201
    with psycopg.connect(migrated_url) as connection:
        for application in ("kaunas", "nobody"):
            outbox.publish(
                connection, application=application, event_type="a", payload={"of": application}
            )
    (request,) = server.run(receiver.wait_for(1))
    assert request.body == b'{"of":"kaunas"}'
    deadline = time.monotonic() + 60
    wanted = {
        "marketbell_outbox_rejected 1.0",
        "marketbell_outbox_waiting 0.0",
        "marketbell_outbox_lag_seconds 0.0",
    }
    while not wanted <= set(httpx.get(f"{server.url}/metrics").text.splitlines()):
        assert time.monotonic() < deadline
    (rejected,) = api.get("/outbox/rejected").json()["data"]
    assert rejected["reason"] == "There is no application 'nobody' in org_test; check both."
