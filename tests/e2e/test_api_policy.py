"""Policy as metadata, over HTTP on a real node."""

from __future__ import annotations

from collections.abc import Callable
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


def test_metadata_keys_set_a_policy_that_put_keeps_and_empty_text_clears(api: httpx.Client) -> None:
    keys = {"marketbell.retry-schedule": "7s 35s 175s", "marketbell.timeout": "5s", "own": "x"}
    created = made(api.post("/app", json={"name": "A", "uid": "s", "metadata": keys}))
    assert created["metadata"] == keys
    kept = made(api.put("/app/s", json={"name": "A"}), 200)
    assert kept["metadata"] == {name: keys[name] for name in keys if name != "own"}
    cleared = made(api.patch("/app/s", json={"metadata": {"marketbell.timeout": ""}}), 200)
    assert cleared["metadata"] == {"marketbell.retry-schedule": "7s 35s 175s"}


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        ("marketbell.dialect", "ovokoo", "ovoko"),
        ("marketbell.retry-schedule", "7 35", "ms, s, m, h"),
        ("marketbell.timeout", "9h", "outside"),
        ("marketbell.max-in-flight", "0", "1 to"),
        ("marketbell.order-by", "order_id", "/order_id"),
        ("marketbell.order-on-failure", "stop", "move-on, hold"),
        ("marketbell.colour", "red", "marketbell.dialect"),
    ],
)
def test_a_wrong_value_is_refused_naming_the_key_and_the_mend(
    api: httpx.Client, key: str, value: object, mend: str
) -> None:
    response = api.post("/app", json={"name": "A", "metadata": {key: value}})
    loc, message = fault(response)
    assert loc == ["body", "metadata", key]
    assert mend in message
    assert api.get("/app").json()["data"] == []


def test_a_dialect_that_takes_https_alone_is_held_against_the_urls(api: httpx.Client) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": "http://example.com/x"}))
    dialect = {"metadata": {"marketbell.dialect": "ovoko"}}
    loc, message = fault(api.patch("/app/s", json=dialect))
    assert loc == ["body", "metadata", "marketbell.dialect"]
    assert "https" in message
    made(api.post("/app", json={"name": "B", "uid": "t", **dialect}))
    loc, _ = fault(api.post("/app/t/endpoint", json={"url": "http://example.com/x"}))
    assert loc == ["body", "url"]


def test_an_applications_own_token_sets_only_what_the_operator_allows(
    api: httpx.Client, client_of: Callable[..., httpx.Client], organization: str
) -> None:
    application = made(api.post("/app", json={"name": "A"}))["id"]
    own = client_of(organization, application)
    path = f"/app/{application}/endpoint"
    metadata = {"marketbell.timeout": "5s"}
    refused = own.post(path, json={"url": URL, "metadata": metadata})
    assert refused.status_code == 403
    assert "marketbell.timeout" in refused.json()["detail"]
    made(api.post(path, json={"url": URL, "uid": "e", "metadata": metadata}))
    unchanged = {"url": URL, "metadata": {**metadata, "own": "x"}}
    assert made(own.put(f"{path}/e", json=unchanged), 200)["metadata"]["own"] == "x"
