"""Pausing, resuming and examples, over HTTP on a real node with real receivers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from marketbell.testing import Received, TestReceiver

SCHEMA = {
    "type": "object",
    "required": ["id", "at", "lines"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "at": {"type": "string", "format": "date-time"},
        "state": {"enum": ["open", "shut"]},
        "lines": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {
        "line": {
            "type": "object",
            "required": ["count"],
            "properties": {"count": {"type": "integer", "minimum": 3}},
        }
    },
}


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def fault(response: httpx.Response) -> tuple[list[str], str]:
    assert response.status_code == 422, response.text
    (only,) = response.json()["detail"]
    return only["loc"], only["msg"]


@pytest.fixture
def receiver(receiver_of: Callable[..., TestReceiver]) -> TestReceiver:
    return receiver_of()


@pytest.fixture
def path(api: httpx.Client, receiver: TestReceiver) -> str:
    """The path of an endpoint that wants one event type on one channel."""
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/event-type", json={"name": "wanted"}))
    endpoint = {
        "url": receiver.url,
        "uid": "e",
        "eventTypes": ["wanted"],
        "channels": ["one"],
    }
    made(api.post("/app/s/endpoint", json=endpoint))
    return "/app/s/endpoint/e"


Wait = Callable[[TestReceiver, int], list[Received]]


def test_a_paused_endpoint_holds_everything_until_it_is_resumed(
    api: httpx.Client,
    path: str,
    receiver: TestReceiver,
    received: Wait,
    settle: Callable[[], None],
) -> None:
    assert api.post(f"{path}/pause").status_code == 204
    assert api.post(f"{path}/pause/", json={}).status_code == 204
    assert made(api.get(path), 200)["paused"] is True
    message = {"eventType": "wanted", "payload": {"n": 1}, "channels": ["one"]}
    made(api.post("/app/s/msg", json=message), 202)
    settle()
    assert receiver.requests == []
    assert made(api.put(path, json={"url": receiver.url}), 200)["paused"] is True
    assert api.post(f"{path}/resume").status_code == 204
    (sent,) = received(receiver, 1)
    assert json.loads(sent.body) == {"n": 1}
    assert made(api.get(path), 200)["paused"] is False
    assert api.post(f"{path}/pause", json={"for": "1h"}).status_code == 422
    assert api.post("/app/s/endpoint/none/pause").status_code == 404


def test_the_ping_goes_to_one_endpoint_whatever_its_filters(
    api: httpx.Client,
    path: str,
    receiver: TestReceiver,
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    other = receiver_of()
    made(api.post("/app/s/endpoint", json={"url": other.url}))
    message = made(api.post(f"{path}/send-example", json={"eventType": "svix.ping"}), 200)
    assert (message["eventType"], message["payload"]) == ("svix.ping", {"success": True})
    (sent,) = received(receiver, 1)
    assert json.loads(sent.body) == {"success": True}
    assert sent.header("svix-id") == message["id"]
    settle()
    assert other.requests == []
    (destination,) = made(api.get(f"/app/s/msg/{message['id']}/endpoint"), 200)["data"]
    assert (destination["uid"], destination["statusText"]) == ("e", "success")


def test_a_repeated_example_is_sent_once(
    api: httpx.Client, path: str, receiver: TestReceiver, settle: Callable[[], None]
) -> None:
    once = {"idempotency-key": "k"}
    ping = {"eventType": "svix.ping"}
    first = made(api.post(f"{path}/send-example", json=ping, headers=once), 200)
    assert made(api.post(f"{path}/send-example", json=ping, headers=once), 200) == first
    settle()
    assert len(receiver.requests) == 1


def test_examples_of_a_schema_are_chosen_by_their_index(api: httpx.Client, path: str) -> None:
    examples = [{"n": 1}, {"n": 2}]
    schemas = {"1": {}, "2": {"type": "object", "examples": examples}}
    made(api.post("/event-type", json={"name": "a", "schemas": schemas}))

    def example(**form: object) -> httpx.Response:
        return api.post(f"{path}/send-example", json={"eventType": "a", **form})

    assert made(example(), 200)["payload"] == {"n": 1}
    assert made(example(exampleIndex=1), 200)["payload"] == {"n": 2}
    assert made(example(exampleIndex=None, payload={"n": 3}), 200)["payload"] == {"n": 3}
    for index in (2, -1):
        assert fault(example(exampleIndex=index))[0] == ["body", "exampleIndex"]
    assert fault(example(payload=[1]))[0] == ["body", "payload"]


def test_an_example_is_derived_from_a_schema(api: httpx.Client, path: str) -> None:
    made(api.post("/event-type", json={"name": "a", "schemas": {"1": SCHEMA}}))
    payload = made(api.post(f"{path}/send-example", json={"eventType": "a"}), 200)["payload"]
    assert payload["state"] == "open"
    assert payload["lines"] == [{"count": 3}, {"count": 3}]


def test_an_example_of_the_dialects_catalogue(api: httpx.Client, receiver: TestReceiver) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    endpoint = {"url": receiver.url, "uid": "e", "metadata": {"marketbell.dialect": "ovoko"}}
    made(api.post("/app/s/endpoint", json=endpoint))
    path = "/app/s/endpoint/e/send-example"
    payload = made(api.post(path, json={"eventType": "order.created"}), 200)["payload"]
    assert "order_id" in payload
    assert api.post(path, json={"eventType": "onOrderCreated"}).status_code == 404


def test_what_cannot_be_sent_is_refused(api: httpx.Client, path: str) -> None:
    example = f"{path}/send-example"
    assert api.post(example, json={"eventType": "no.such"}).status_code == 404
    assert fault(api.post(example, json={"eventType": "a b"}))[0] == ["body", "eventType"]
    loc, text = fault(api.post(example, json={"eventType": "wanted"}))
    assert (loc, "schema" in text) == (["body", "eventType"], True)
    hard = {"type": "object", "required": ["a"], "properties": {"a": {"pattern": "^[0-9]{7}$"}}}
    for name, schema in (("list", {"type": "array"}), ("hard", hard)):
        made(api.post("/event-type", json={"name": name, "schemas": {"1": schema}}))
        assert fault(api.post(example, json={"eventType": name}))[0][0] == "body"
    made(api.patch(path, json={"disabled": True}), 200)
    refused = api.post(example, json={"eventType": "svix.ping"})
    assert (refused.status_code, "disabled" in refused.json()["detail"]) == (409, True)


def test_an_example_for_a_paused_endpoint_waits_like_any_message(
    api: httpx.Client,
    path: str,
    receiver: TestReceiver,
    received: Wait,
    settle: Callable[[], None],
) -> None:
    assert api.post(f"{path}/pause").status_code == 204
    made(api.post(f"{path}/send-example", json={"eventType": "svix.ping"}), 200)
    settle()
    assert receiver.requests == []
    assert api.post(f"{path}/resume").status_code == 204
    received(receiver, 1)


def test_transformations_are_not_there(api: httpx.Client, path: str) -> None:
    for method in ("GET", "PATCH"):
        assert api.request(method, f"{path}/transformation").status_code == 404
