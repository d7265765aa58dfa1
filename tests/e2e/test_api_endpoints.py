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
        ("channels", [f"c{number}" for number in range(11)]),
        ("eventTypes", [f"e{number}" for number in range(501)]),
        ("rateLimit", 0),
        ("throttleRate", 65_536),
        ("throttleRate", 1.5),
        ("uid", "x" * 257),
        ("keyType", "rsa"),
        ("paused", True),
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

    def rotate(body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        return api.post(f"{path}/rotate", json=body, headers=headers)

    answer = made(rotate({}), 200)
    assert answer["key"] != key
    assert api.get(path).json() == answer
    chosen = {"key": "whsec_" + "B" * 32}
    for _ in range(2):
        assert made(rotate(chosen), 200) == chosen
    assert api.get(path).json() == chosen
    assert rotate({"key": "C" * 32}).status_code == 200
    assert api.get(path).json() == {"key": "whsec_" + "C" * 32}
    for body, field in (
        ({"gracePeriodSeconds": 604_801}, "gracePeriodSeconds"),
        ({"gracePeriodSeconds": -1}, "gracePeriodSeconds"),
        ({"key": "whsec_short"}, "key"),
        ({"keyType": "rsa"}, "keyType"),
        ({"key": "whsec_" + "B" * 32, "keyType": "ed25519"}, "keyType"),
        ({"kind": 1}, "kind"),
    ):
        assert fault(rotate(body))[0] == ["body", field]
    assert {rotate().status_code for _ in range(20)} == {200, 400}
    assert rotate().json()["code"] == "limit_reached"
    assert rotate({"gracePeriodSeconds": 0}).status_code == 200


def test_a_repeated_rotation_happens_once(api: httpx.Client, app: str) -> None:
    made(api.post(f"{app}/endpoint", json={"url": URL, "uid": "e"}))
    path = f"{app}/endpoint/e/secret"
    once = {"idempotency-key": "k"}
    first = made(api.post(f"{path}/rotate", json={}, headers=once), 200)
    assert made(api.post(f"{path}/rotate/", json={}, headers=once), 200) == first
    assert api.get(path).json() == first
    later = made(api.post(f"{path}/rotate", json={}), 200)
    assert made(api.post(f"{path}/rotate", json={}, headers=once), 200) == first != later
    assert api.get(path).json() == later
    other = api.post(f"{path}/rotate", json={"gracePeriodSeconds": 5}, headers=once)
    assert other.status_code == 409


def test_a_pair_is_made_on_request_and_only_its_public_half_is_shown(
    api: httpx.Client, app: str
) -> None:
    made(api.post(f"{app}/endpoint", json={"url": URL, "uid": "e", "keyType": "ed25519"}))
    path = f"{app}/endpoint/e/secret"
    first = api.get(path).json()["key"]
    assert first.startswith("whpk_")
    assert api.post(f"{path}/rotate", json={"keyType": "ed25519"}).status_code == 200
    second = api.get(path).json()["key"]
    assert second.startswith("whpk_")
    assert second != first
    assert api.post(f"{path}/rotate", json={"keyType": "hmac256"}).status_code == 200
    assert api.get(path).json()["key"].startswith("whsec_")


def test_a_patched_secret_takes_the_place_of_the_old_one(api: httpx.Client, app: str) -> None:
    made(api.post(f"{app}/endpoint", json={"url": URL, "uid": "e", "description": "d"}))
    key = "whsec_" + "A" * 32
    patched = made(api.patch(f"{app}/endpoint/e", json={"secret": key}), 200)
    assert patched["description"] == "d"
    assert api.get(f"{app}/endpoint/e/secret").json() == {"key": key}
    for bad in (None, "whsec_short"):
        loc, _ = fault(api.patch(f"{app}/endpoint/e", json={"secret": bad}))
        assert loc == ["body", "secret"]
    loc, _ = fault(api.put(f"{app}/endpoint/e", json={"url": URL, "secret": key}))
    assert loc == ["body", "secret"]


def test_the_uid_of_another_is_refused(api: httpx.Client, app: str) -> None:
    for uid in ("a", "b"):
        made(api.post(f"{app}/endpoint", json={"url": URL, "uid": uid}))
    for response in (
        api.patch(f"{app}/endpoint/a", json={"uid": "b"}),
        api.put(f"{app}/endpoint/a", json={"url": URL, "uid": "b"}),
        api.post(f"{app}/endpoint", json={"url": URL, "uid": "b"}),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert api.delete(f"{app}/endpoint/b").status_code == 204
    assert made(api.patch(f"{app}/endpoint/a", json={"uid": "b"}), 200)["uid"] == "b"


def test_the_count_of_endpoints_is_limited(api: httpx.Client, app: str) -> None:
    for _ in range(50):
        made(api.post(f"{app}/endpoint", json={"url": URL}))
    over = api.post(f"{app}/endpoint", json={"url": URL})
    assert (over.status_code, over.json()["code"]) == (400, "limit_reached")
