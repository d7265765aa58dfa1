"""A node on PostgreSQL, as its clients see it: a thin slice through everything that it does."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from e2e.conftest import HOUR_MS, LiveNode, live_node
from marketbell.control import endpoints
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.sellers import create_seller
from marketbell.control.tokens import Principal
from marketbell.testing import OK, Answer, FakeClock, Received, TestReceiver
from support.postgres import PostgresServer, fresh_database

KEYS: Final = {
    "MARKETBELL_JWT_SECRET": "a secret of the tests, of 32 bytes or more",
    "MARKETBELL_SECRETS_KEY": base64.b64encode(bytes(range(32))).decode(),
}

PART: Final = {
    "category_id": "55",
    "car_id": "7",
    "quality": "1",
    "status": "0",
    "price": "49.90",
    "original_currency": "EUR",
    "external_id": "shelf-7/front-door",
    "manufacturer_code": "8K0 831 051",
}

Wait = Callable[[TestReceiver, int], list[Received]]


@pytest.fixture(scope="module")
def live(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveNode]:
    folder = tmp_path_factory.mktemp("node")
    with (
        fresh_database(postgres, migrated_template) as name,
        live_node(folder, db=postgres.url(name), marketplaces=True, public_url="") as node,
    ):
        yield node


@pytest.fixture
def app(api: httpx.Client) -> str:
    made = api.post("/app", json={"name": "Seller", "uid": "s"})
    assert made.status_code == 201, made.text
    return f"/app/{made.json()['id']}"


@pytest.mark.parametrize("name", ["before", "after"])
@pytest.mark.parametrize(
    "at", ["1970-01-01T00:00:00Z", "2090-01-01T00:00:00Z", "9999-12-30T23:59:59.999Z"]
)
def test_a_time_that_no_key_could_have_is_taken(
    api: httpx.Client, app: str, name: str, at: str
) -> None:
    made = api.post(f"{app}/endpoint", json={"url": "http://127.0.0.1:8099/"}).json()
    for path in (f"{app}/msg", f"{app}/attempt/endpoint/{made['id']}", "/message", "/attempt"):
        answer = api.get(path, params={name: at})
        assert answer.status_code in {200, 404}, answer.text


def ended(api: httpx.Client, task_id: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while (task := api.get(f"/background-task/{task_id}").json())["status"] == "running":
        assert time.monotonic() < until, task
        time.sleep(0.01)
    return dict(task)


def test_a_message_is_kept_delivered_and_listed(
    api: httpx.Client,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of()
    endpoint = api.post(f"{app}/endpoint", json={"url": receiver.url}).json()
    key = {"idempotency-key": "one"}
    body = {"eventType": "part.updated", "payload": {"n": 1}, "eventId": "e-1", "tags": ["red"]}
    made = api.post(f"{app}/msg", json=body, headers=key)
    assert made.status_code == 202
    assert api.post(f"{app}/msg", json=body, headers=key).json() == made.json()
    assert api.post(f"{app}/msg", json=body).status_code == 409
    (request,) = received(receiver, 1)
    assert json.loads(request.body) == {"n": 1}
    settle()
    message = made.json()["id"]
    assert [one["id"] for one in api.get(f"{app}/msg").json()["data"]] == [message]
    assert [one["id"] for one in api.get(f"{app}/msg?tag=red").json()["data"]] == [message]
    (attempt,) = api.get(f"{app}/attempt/msg/{message}").json()["data"]
    assert (attempt["outcome"], attempt["endpointId"]) == ("accepted", endpoint["id"])
    (one,) = api.get(f"{app}/attempt/endpoint/{endpoint['id']}").json()["data"]
    assert one["msgId"] == message


def test_a_failure_is_tried_again_and_a_change_holds_at_once(
    api: httpx.Client,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of(Answer(status=500, body=b"no"), OK)
    schedule = {"marketbell.retry-schedule": "20ms 20ms"}
    made = api.post(f"{app}/endpoint", json={"url": f"{receiver.url}a", "metadata": schedule})
    endpoint = made.json()["id"]
    message = api.post(f"{app}/msg", json={"eventType": "a", "payload": {}}).json()["id"]
    received(receiver, 2)
    settle()
    outcomes = [one["outcome"] for one in api.get(f"{app}/attempt/msg/{message}").json()["data"]]
    assert outcomes == ["accepted", "rejected"]
    changed = api.patch(f"{app}/endpoint/{endpoint}", json={"url": f"{receiver.url}b"})
    assert changed.status_code == 200
    assert api.post(f"{app}/msg", json={"eventType": "a", "payload": {}}).status_code == 202
    assert received(receiver, 3)[2].target == "/b"
    assert api.delete(f"{app}/endpoint/{endpoint}").status_code == 204
    assert api.post(f"{app}/msg", json={"eventType": "a", "payload": {}}).status_code == 202
    settle()
    assert len(receiver.requests) == 3


def test_missing_messages_are_sent_by_a_task(
    api: httpx.Client, app: str, receiver_of: Callable[..., TestReceiver], received: Wait
) -> None:
    sent = {
        api.post(f"{app}/msg", json={"eventType": "a", "payload": {}}).json()["id"]
        for _ in range(3)
    }
    receiver = receiver_of()
    endpoint = api.post(f"{app}/endpoint", json={"url": receiver.url}).json()["id"]
    begun = api.post(
        f"{app}/endpoint/{endpoint}/replay-missing", json={"since": "2020-01-01T00:00:00Z"}
    )
    assert begun.status_code == 202, begun.text
    assert ended(api, begun.json()["id"])["status"] == "finished"
    assert {request.header("webhook-id") for request in received(receiver, 3)} == sent


def test_a_seller_signs_in_to_the_portal(api: httpx.Client, app: str) -> None:
    url = api.post(f"/auth/app-portal-access/{app.rpartition('/')[2]}", json={}).json()["url"]
    with httpx.Client(base_url=url.partition("/portal")[0], follow_redirects=True) as browser:
        code = re.search(r'name="code" value="([^"]+)"', browser.get(url).text)
        assert code is not None
        home = browser.post("/portal/login", data={"code": code[1]})
        assert home.status_code == 200
        assert "There are no endpoints yet." in home.text


def test_a_marketplaces_own_api_sends_its_webhook(live: LiveNode, received: Wait) -> None:
    receiver = live.receiver()
    services, operator = live.node.marketplaces.services, Principal("org_market")
    made = live.run(create_seller(services, operator, "ovoko", "Parts Ltd"))
    change = EndpointChange(url=receiver.url)
    live.run(endpoints.create(services, operator, made.application.public_id, change))
    with httpx.Client(base_url=str(live.node.marketplace_url)) as http:
        called = http.post("/crm/importPart", data={**made.login, **PART})
        assert called.status_code == 200
        part = called.json()["part_id"]
        sold = {**made.login, "part_id": part, "status": 2}
        assert http.post("/crm/changePartStatus", data=sold).json()["status_code"] == "R200"
    (request,) = received(receiver, 1)
    assert json.loads(request.body)["event_data"]["external_id"] == PART["external_id"]


def test_health_and_metrics(live: LiveNode, api: httpx.Client) -> None:
    assert api.get("/health").json()["database"]["status"] == "ok"
    text = httpx.get(f"{live.url}/metrics").text
    assert "marketbell_nodes 1.0" in text
    assert "marketbell_slots_owned 1024.0" in text


def test_a_retry_comes_at_its_time_on_a_clock_that_is_turned(
    migrated_url: str, tmp_path: Path
) -> None:
    with live_node(tmp_path, FakeClock(), db=migrated_url) as live:
        api = live.client()
        receiver = live.receiver(Answer(status=500), OK)
        app = f"/app/{api.post('/app', json={'name': 'A'}).json()['id']}"
        metadata = {"marketbell.retry-schedule": "2h"}
        api.post(f"{app}/endpoint", json={"url": receiver.url, "metadata": metadata})
        api.post(f"{app}/msg", json={"eventType": "a", "payload": {}})
        live.run(receiver.wait_for(1))
        live.settle()
        live.advance(2 * HOUR_MS - 1)
        live.settle()
        assert len(receiver.requests) == 1
        live.advance(1)
        live.run(receiver.wait_for(2))


class TestServe:
    """`marketbell serve` as a process."""

    def begin(self, folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "marketbell", "serve", "--port", "0", "--json", *arguments],
            env={"PATH": "/usr/bin", "HOME": str(folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def refused(self, folder: Path, *arguments: str, **environment: str) -> str:
        process = self.begin(folder, *arguments, **environment)
        said, error = process.communicate(timeout=60)
        assert process.returncode != 0
        assert said == ""
        assert "Traceback" not in error
        return error

    def test_without_keys_it_says_so_in_one_report(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, "--db", "postgresql://me:hunter2@127.0.0.1:1/x")
        assert "jwt_secret: nodes on PostgreSQL share it" in said
        assert "secrets_key: nodes on PostgreSQL share it" in said
        assert "hunter2" not in said

    def test_without_a_schema_it_names_the_command(self, tmp_path: Path, postgres_url: str) -> None:
        said = self.refused(tmp_path, "--db", postgres_url, **KEYS)
        assert "run `marketbell migrate`" in said

    def test_without_a_server_it_says_so(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, "--db", "postgresql://me:hunter2@127.0.0.1:1/x", **KEYS)
        assert "The database cannot be reached" in said
        assert "hunter2" not in said

    def test_it_migrates_if_it_is_told_to_and_honours_pg_variables(
        self, tmp_path: Path, postgres_url: str
    ) -> None:
        parts = urlsplit(postgres_url)
        variables = {
            "PGHOST": str(parts.hostname),
            "PGPORT": str(parts.port),
            "PGUSER": str(parts.username),
            "PGDATABASE": parts.path[1:],
            "MARKETBELL_DB": "postgresql://",
            "MARKETBELL_DB_SCHEMA": "bells",
        }
        process = self.begin(tmp_path, "--migrate", **variables, **KEYS)
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            assert facts["db"] == "postgresql://"
            assert httpx.get(f"{facts['url']}/api/v1/health", timeout=30).status_code == 200
        finally:
            process.terminate()
            _said, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        with psycopg.connect(postgres_url) as connection:
            found = connection.execute("select count(*) from bells.node").fetchone()
        assert found == (0,)
