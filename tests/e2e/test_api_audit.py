"""The audit log over the API: every change of configuration, and nothing that is none."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketbell.testing import Answer, TestReceiver
from support.eventually import PATIENCE_S

URL = "http://127.0.0.1:8099/hooks"


def log(api: httpx.Client, **filters: Any) -> list[dict[str, Any]]:
    answer = api.get("/audit-log", params=filters)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def test_each_change_leaves_a_row(api: httpx.Client, organization: str) -> None:
    application = api.post("/app", json={"name": "Seller", "uid": "s"}).json()["id"]
    endpoint = api.post("/app/s/endpoint", json={"url": URL, "uid": "e"}).json()["id"]
    one = "/app/s/endpoint/e"
    api.patch(one, json={"description": "mine"})
    api.put(f"{one}/headers", json={"headers": {"X-Token": "hidden-header"}})
    key = "whsec_" + "aGlkZGVuLWtleSBoaWRkZW4ta2V5IGhpZGRlbi1rZXk="
    assert api.post(f"{one}/secret/rotate", json={"key": key}).status_code < 300
    api.post("/event-type", json={"name": "order.paid", "description": "Paid"})
    answer = api.delete("/app/s", headers={"x-request-id": "the-end"})
    assert answer.status_code == 204
    rows = log(api)
    assert [row["operation"] for row in rows] == [
        "v1.application.delete",
        "v1.event-type.create",
        "v1.endpoint.rotate-secret",
        "v1.endpoint.update-headers",
        "v1.endpoint.patch",
        "v1.endpoint.create",
        "v1.application.create",
    ]
    for row in rows:
        assert row["actor"] == f"token {organization}"
        assert row["sourceAddress"] == "127.0.0.1"
        assert row["id"].startswith("audit_")
        assert row["timestamp"].endswith("Z")
        assert (row["appId"] is None) == ("event-type" in row["path"])
    assert {row["appId"] for row in rows} == {application, None}
    assert [row["endpointId"] for row in rows[2:6]] == [endpoint] * 4
    assert rows[0]["requestId"] == "the-end"
    assert rows[0]["path"] == "/api/v1/app/s"
    assert rows[2]["fields"] == [{"field": "secret"}]
    assert rows[3]["fields"] == [{"field": "headers.X-Token"}]
    assert rows[4]["fields"] == [{"field": "description", "old": "", "new": "mine"}]
    assert {"field": "url", "old": None, "new": URL} in rows[5]["fields"]
    assert "hidden" not in str(rows)
    assert "aGlkZGVu" not in str(rows)


def test_what_changes_nothing_leaves_none(
    api: httpx.Client, client_of: Callable[..., httpx.Client]
) -> None:
    application = api.post("/app", json={"name": "Seller", "uid": "s"}).json()["id"]
    before = log(api)
    api.get("/app")
    assert api.post("/app", json={"name": "Seller", "uid": "s"}).status_code == 409
    assert api.patch("/app/s", json={"name": 7}).status_code == 422
    assert api.delete("/app/none").status_code == 404
    assert client_of("org_other").delete(f"/app/{application}").status_code == 404
    assert api.post("/app/s/msg", json={"eventType": "a", "payload": {}}).status_code == 202
    assert log(api) == before
    assert log(client_of("org_other")) == []


def test_a_repeated_request_leaves_one(api: httpx.Client) -> None:
    body = {"json": {"name": "Seller"}, "headers": {"idempotency-key": "k"}}
    assert api.post("/app", **body).json() == api.post("/app", **body).json()  # type: ignore[arg-type]
    assert len(log(api)) == 1


def test_of_two_that_want_the_same_name_one_leaves_a_row(api: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: api.post("/app", json={"name": "S", "uid": "s"}), range(8))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert len(log(api)) == 1


def test_an_application_that_a_message_brings_along(api: httpx.Client) -> None:
    for path in ("/app/one/msg", "/app/two/msg/"):
        uid = path.split("/")[2]
        message = {"eventType": "a", "payload": {}, "application": {"name": "New", "uid": uid}}
        assert api.post(path, json=message).status_code == 202
        assert api.post(path, json=message).status_code == 202
    rows = log(api)
    assert [row["operation"] for row in rows] == ["v1.message.create"] * 2
    assert rows[0]["appId"] == api.get("/app/two").json()["id"]
    assert rows[0]["sourceAddress"] == "127.0.0.1"


def test_a_sellers_token_is_named_and_may_not_read(
    api: httpx.Client, client_of: Callable[..., httpx.Client], organization: str
) -> None:
    application = api.post("/app", json={"name": "Seller", "uid": "s"}).json()["id"]
    seller = client_of(organization, application)
    assert seller.post("/app/s/endpoint", json={"url": URL}).status_code == 201
    assert log(api)[0]["actor"] == f"app {application}"
    assert seller.get("/audit-log").status_code == 403


def test_an_endpoint_that_is_gone_is_disabled_by_the_server(
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
) -> None:
    application = api.post("/app", json={"name": "Seller", "uid": "s"}).json()["id"]
    receiver = receiver_of(Answer(status=410))
    endpoint = api.post("/app/s/endpoint", json={"url": receiver.url}).json()["id"]
    api.post("/app/s/msg", json={"eventType": "a", "payload": {}})
    settle()
    end = time.monotonic() + PATIENCE_S
    while not (rows := log(api, actor="marketbell")):
        assert time.monotonic() < end
    (row,) = rows
    assert (row["operation"], row["appId"], row["endpointId"]) == (
        "endpoint.disabled",
        application,
        endpoint,
    )
    assert row["fields"] == [{"field": "disabled", "old": False, "new": True}]


def test_filters(api: httpx.Client) -> None:
    for uid in ("a", "b"):
        api.post("/app", json={"name": uid, "uid": uid})
        api.patch(f"/app/{uid}", json={"name": uid * 2})
    rows = log(api)
    assert log(api, operation="v1.application.patch") == [rows[0], rows[2]]
    assert log(api, app_id="a") == rows[2:]
    assert log(api, app_id=rows[2]["appId"]) == rows[2:]
    assert log(api, after=rows[1]["timestamp"], before="2999-01-01T00:00:00Z")[-1]["appId"]
    assert log(api, before="2001-01-01T00:00:00Z") == []
    first = api.get("/audit-log", params={"limit": 3}).json()
    assert first["data"] == rows[:3]
    second = api.get("/audit-log", params={"limit": 3, "iterator": first["iterator"]}).json()
    assert second["data"] == rows[3:]
    assert second["done"] is True
    back = api.get("/audit-log", params={"iterator": second["prevIterator"]}).json()
    assert back["data"] == rows[:3]
    assert api.get("/audit-log", params={"app_id": "none"}).status_code == 404
    assert api.get("/audit-log", params={"who": "me"}).status_code == 422
    assert api.get("/audit-log", params={"iterator": "app_1"}).status_code == 422


@pytest.mark.parametrize(("trusted", "expected"), [(True, "198.51.100.7"), (False, "127.0.0.1")])
def test_a_trusted_proxy_says_where_it_came_from(
    tmp_path: Path, node_at: Callable[..., Any], trusted: bool, expected: str
) -> None:
    proxies = (ipaddress.ip_network("127.0.0.0/8"),) if trusted else ()
    with node_at(tmp_path, None, trusted_proxies=proxies) as live:
        api = live.client()
        headers = {"x-forwarded-for": "6.6.6.6, 198.51.100.7"}
        api.post("/app", json={"name": "S", "uid": "s"}, headers=headers)
        message = {"eventType": "a", "payload": {}, "application": {"name": "N", "uid": "n"}}
        api.post("/app/n/msg", json=message, headers=headers)
        assert [row["sourceAddress"] for row in log(api)] == [expected] * 2
