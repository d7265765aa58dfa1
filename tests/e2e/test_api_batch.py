"""Batches over HTTP on a real node: each message with its own verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from marketbell.testing import Received, TestReceiver

BATCH = "/app/s/msg/batch"


@pytest.fixture
def app(api: httpx.Client) -> None:
    assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201


def verdicts(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 202, response.text
    found: list[dict[str, Any]] = response.json()
    return found


@pytest.mark.usefixtures("app")
def test_each_message_has_its_own_verdict_in_order(
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of()
    ovoko = {"url": receiver.url, "metadata": {"marketbell.dialect": "ovoko"}}
    assert api.post("/app/s/endpoint", json=ovoko).status_code == 201
    order = {"eventType": "order.created", "payload": {"order_id": "1"}}
    messages = [
        {**order, "eventId": "n1"},
        {**order, "eventId": "n1"},
        {**order, "payload": {"order_id": 1}},
        {**order, "colour": "red"},
        {**order, "application": {"name": "A"}},
        order,
        "no message",
    ]
    found = verdicts(api.post(BATCH, json={"messages": messages}))
    assert [one["status"] for one in found] == [202, 409, 422, 422, 422, 202, 422]
    assert found[0]["message"]["eventId"] == "n1"
    assert found[0]["message"]["payload"] == {}
    assert found[1]["error"]["code"] == "conflict"
    assert found[2]["error"]["detail"][0]["loc"] == ["body", "payload", "order_id"]
    assert found[3]["error"]["detail"][0]["loc"] == ["body", "colour"]
    assert found[4]["error"]["detail"][0]["loc"] == ["body", "application"]
    received(receiver, 2)
    assert len(api.get("/app/s/msg").json()["data"]) == 2


@pytest.mark.usefixtures("app")
def test_a_repeated_batch_gets_the_first_answers(api: httpx.Client) -> None:
    messages = [{"eventType": "a", "payload": {"n": n}} for n in range(20)]
    body = {"messages": [*messages, {"eventType": "a b", "payload": {}}]}
    header = {"idempotency-key": "auto_batch"}
    first = verdicts(api.post(BATCH, json=body, headers=header))
    assert verdicts(api.post(BATCH, json=body, headers=header)) == first
    assert len({one["message"]["id"] for one in first[:20]}) == 20
    other = api.post(BATCH, json={"messages": messages}, headers=header)
    assert other.status_code == 409
    assert len(api.get("/app/s/msg").json()["data"]) == 20


@pytest.mark.usefixtures("app")
def test_its_size_and_count_are_limited(api: httpx.Client) -> None:
    message = {"eventType": "a", "payload": {}}
    assert len(verdicts(api.post(BATCH, json={"messages": [message] * 1000}))) == 1000
    for count in (0, 1001):
        over = api.post(BATCH, json={"messages": [message] * count})
        assert over.status_code == 422
        assert over.json()["detail"][0]["loc"] == ["body", "messages"]
    large = api.post(BATCH, content=b"[" + b" " * 4_000_000)
    assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
    within = {"messages": [{"eventType": "a", "payload": {"x": "y" * 900_000}}] * 4}
    assert len(verdicts(api.post(BATCH, json=within))) == 4


def test_an_unknown_application_is_not_found(api: httpx.Client) -> None:
    assert api.post(BATCH, json={"messages": [{}]}).status_code == 404


@pytest.mark.usefixtures("app")
def test_a_message_whose_event_id_is_batch_can_be_read(api: httpx.Client) -> None:
    message = {"eventType": "a", "payload": {"x": 1}, "eventId": "batch"}
    assert api.post("/app/s/msg", json=message).status_code == 202
    assert api.get("/app/s/msg/batch").json()["payload"] == {"x": 1}
    assert api.put("/app/s/msg/batch").status_code == 405


@pytest.mark.usefixtures("app")
def test_a_message_that_is_too_large_alone_is_too_large_in_a_batch(api: httpx.Client) -> None:
    largest = {"eventType": "a", "payload": {"x": "y" * 999_900}}
    over = {"eventType": "a", "payload": {"x": "y" * 1_000_000}}
    alone = api.post("/app/s/msg", json=over)
    assert alone.status_code == 413
    found = verdicts(api.post(BATCH, json={"messages": [over, largest]}))
    assert found[0] == {"status": 413, "error": alone.json()}
    assert found[1]["status"] == 202


@pytest.mark.usefixtures("app")
def test_another_batch_with_the_same_key_is_refused_whole(api: httpx.Client) -> None:
    header = {"idempotency-key": "bk7"}
    first = {"messages": [{"eventType": "a", "payload": {"n": 0}}]}
    other = {"messages": [{"eventType": "a", "payload": {"n": n}} for n in range(1, 4)]}
    kept = verdicts(api.post(BATCH, json=first, headers=header))
    refused = api.post(BATCH, json=other, headers=header)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "another body" in refused.json()["detail"]
    assert len(api.get("/app/s/msg").json()["data"]) == 1
    assert verdicts(api.post(BATCH, json=first, headers=header)) == kept
    new = verdicts(api.post(BATCH, json=other, headers={"idempotency-key": "bk8"}))
    assert {one["status"] for one in new} == {202}


@pytest.mark.usefixtures("app")
def test_a_batch_of_which_nothing_was_kept_does_not_take_its_key(api: httpx.Client) -> None:
    header = {"idempotency-key": "k"}
    bad = {"messages": [{"eventType": "a b", "payload": {}}] * 2}
    good = {"messages": [{"eventType": "a", "payload": {}}] * 2}
    assert {one["status"] for one in verdicts(api.post(BATCH, json=bad, headers=header))} == {422}
    assert {one["status"] for one in verdicts(api.post(BATCH, json=good, headers=header))} == {202}
    again = api.post(BATCH, json=bad, headers=header)
    assert again.status_code == 409


@pytest.mark.usefixtures("app")
def test_a_repeated_batch_is_answered_before_it_is_judged(api: httpx.Client) -> None:
    header = {"idempotency-key": "k"}
    body = {
        "messages": [{"eventType": "a", "payload": {"n": "1"}}, {"eventType": "b", "payload": {}}]
    }
    first = verdicts(api.post(BATCH, json=body, headers=header))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    stricter = {"name": "a", "description": "d", "schemas": {"1": schema}}
    assert api.post("/event-type", json=stricter).status_code == 201
    assert verdicts(api.post(BATCH, json=body, headers=header)) == first
    found = verdicts(api.post(BATCH, json=body))
    assert [one["status"] for one in found] == [422, 202]
    assert len(api.get("/app/s/msg").json()["data"]) == 3
