"""Endpoints with their headers and secrets, over HTTP on a real node."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

URL = "https://example.com/hook"


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def fault(response: httpx.Response) -> tuple[list[str], str]:
    assert response.status_code == 422, response.text
    (only,) = response.json()["detail"]
    return only["loc"], only["msg"]


@pytest.fixture
def app(api: httpx.Client) -> str:
    return f"/app/{made(api.post('/app', json={'name': 'A'}))['id']}"


def test_one_has_every_field_of_every_sdk(api: httpx.Client, app: str) -> None:
    given = {
        "url": URL,
        "uid": "e1",
        "description": "Main",
        "filterTypes": ["b.c", "a.b"],
        "channels": ["x"],
        "rateLimit": 10,
        "version": 3,
        "disabled": True,
        "headers": {"X-Shop": "1"},
        "metadata": {"k": "v"},
    }
    for name in ("a.b", "b.c"):
        made(api.post("/event-type", json={"name": name, "description": "d"}))
    created = made(api.post(f"{app}/endpoint", json=given))
    assert created["filterTypes"] == created["eventTypes"] == ["a.b", "b.c"]
    assert created["rateLimit"] == created["throttleRate"] == 10
    assert (created["version"], created["disabled"], created["channels"]) == (3, True, ["x"])
    assert "headers" not in created
    assert "secret" not in created
    assert made(api.get(f"{app}/endpoint/e1"), 200) == created
    assert made(api.get(f"{app}/endpoint"), 200)["data"] == [created]


def test_patch_tells_absent_from_null_and_put_replaces_but_keeps_secret_and_headers(
    api: httpx.Client, app: str
) -> None:
    path = f"{app}/endpoint/e"
    made(
        api.post(
            f"{app}/endpoint",
            json={"url": URL, "uid": "e", "channels": ["x"], "headers": {"X-A": "1"}},
        )
    )
    secret = api.get(f"{path}/secret").json()
    assert made(api.patch(path, json={"description": "d"}), 200)["channels"] == ["x"]
    assert made(api.patch(path, json={"channels": None}), 200)["channels"] is None
    loc, _ = fault(api.patch(path, json={"url": None}))
    assert loc == ["body", "url"]
    replaced = made(api.put(path, json={"url": f"{URL}/2"}), 200)
    assert (replaced["url"], replaced["description"]) == (f"{URL}/2", "")
    assert api.get(f"{path}/secret").json() == secret
    assert api.get(f"{path}/headers").json()["headers"] == {"X-A": "1"}
    assert made(api.put(f"{app}/endpoint/new", json={"url": URL}))["uid"] == "new"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_event_types_must_exist_here_or_in_the_dialects_catalogue(
    api: httpx.Client, app: str
) -> None:
    loc, message = fault(
        api.post(f"{app}/endpoint", json={"url": URL, "eventTypes": ["a.b", "no.such"]})
    )
    assert loc == ["body", "eventTypes"]
    assert message == "The following event types don't exist: a.b, no.such"
    loc, _ = fault(api.post(f"{app}/endpoint", json={"url": URL, "filterTypes": ["a.b"]}))
    assert loc == ["body", "filterTypes"]
    metadata = {"marketbell.dialect": "ovoko"}
    ovoko = {"url": URL, "metadata": metadata, "eventTypes": ["order.created"]}
    made(api.post(f"{app}/endpoint", json=ovoko))
    both = {"url": URL, "eventTypes": ["a"], "filterTypes": ["b"]}
    assert fault(api.post(f"{app}/endpoint", json=both))[0] == ["body", "filterTypes"]


def test_headers_are_set_merged_and_secret_ones_kept_back(api: httpx.Client, app: str) -> None:
    made(api.post(f"{app}/endpoint", json={"url": URL, "uid": "e"}))
    path = f"{app}/endpoint/e/headers"
    first = {"X-Shop": "1", "Authorization": "Basic x", "X-Old": "o"}
    assert api.put(path, json={"headers": first}).status_code == 204
    assert api.get(path).json() == {
        "headers": {"X-Shop": "1", "X-Old": "o"},
        "sensitive": ["Authorization"],
    }
    change = {"headers": {"x-shop": "2", "X-New": "n"}, "deleteHeaders": ["x-OLD"]}
    assert api.patch(path, json=change).status_code == 204
    assert api.get(path).json()["headers"] == {"x-shop": "2", "X-New": "n"}
    assert api.patch(path, json={"headers": {"X-New": None}}).status_code == 204
    assert api.get(path).json()["headers"] == {"x-shop": "2"}


@pytest.mark.parametrize(
    "headers",
    [
        {"user-agent": "x"},
        {"Svix-Id": "x"},
        {"webhook-id": "x"},
        {"Host": "x"},
        {"X A": "x"},
        {"X-A": "a\r\nX-B: c"},
        {"X-A": "\u0000"},
        {"X-A": "€"},
        {"X-A": " x"},
        {"X-A": "1", "x-a": "2"},
        {"X-A": "x" * 5000},
    ],
)
def test_headers_that_cannot_be_sent_are_refused(
    api: httpx.Client, app: str, headers: dict[str, str]
) -> None:
    response = api.post(f"{app}/endpoint", json={"url": URL, "headers": headers})
    loc, _ = fault(response)
    assert loc[:2] == ["body", "headers"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://example.com"),
        ("url", "http://10.0.0.1/"),
        ("url", "http://user:pw@example.com/"),
        ("url", "http://example.com:25/"),
        ("uid", "ep_x"),
        ("uid", ""),
        ("uid", "ä"),
        ("channels", []),
        ("channels", ["x"] * 2),
        ("channels", ["a b"]),
        ("eventTypes", []),
        ("rateLimit", 0),
        ("version", 0),
        ("description", "\u0000"),
        ("secret", "whsec_short"),
        ("metadata", {"k": 1}),
        ("metadata", {"k": "x" * 5000}),
        ("colour", "red"),
    ],
)
def test_a_field_that_is_wrong_is_named(
    api: httpx.Client, app: str, field: str, value: object
) -> None:
    loc, _ = fault(api.post(f"{app}/endpoint", json={"url": URL, field: value}))
    assert loc[0] == "body"
    assert loc[1] in {field, "throttleRate"}
    assert api.get(f"{app}/endpoint").json()["data"] == []


def test_a_secret_is_given_made_and_rotated(api: httpx.Client, app: str) -> None:
    key = "whsec_" + "A" * 32
    made(api.post(f"{app}/endpoint", json={"url": URL, "uid": "e", "secret": key}))
    path = f"{app}/endpoint/e/secret"
    assert api.get(path).json() == {"key": key}
    rotated = made(api.post(f"{path}/rotate", json={}), 200)
    assert rotated["key"] != key
    assert api.get(path).json() == rotated
    chosen = {"key": "whsec_" + "B" * 32}
    assert made(api.post(f"{path}/rotate", json=chosen), 200) == chosen
    assert made(api.post(f"{path}/rotate", json=chosen), 200) == chosen
    assert api.get(path).json() == chosen
    loc, _ = fault(api.post(f"{path}/rotate", json={"gracePeriodSeconds": 604_801}))
    assert loc == ["body", "gracePeriodSeconds"]
    statuses = {api.post(f"{path}/rotate").status_code for _ in range(20)}
    assert statuses == {200, 400}
    assert api.post(f"{path}/rotate").json()["code"] == "limit_reached"


def test_the_count_of_endpoints_is_limited(api: httpx.Client, app: str) -> None:
    for _ in range(50):
        made(api.post(f"{app}/endpoint", json={"url": URL}))
    over = api.post(f"{app}/endpoint", json={"url": URL})
    assert (over.status_code, over.json()["code"]) == (400, "limit_reached")
