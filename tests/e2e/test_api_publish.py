"""Publishing over HTTP on a real node: what is taken, and what is sent for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from marketbell.testing import Received, TestReceiver

URL = "https://example.com/hook"


def made(response: httpx.Response, status: int = 202) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def fault(response: httpx.Response) -> tuple[list[str], str]:
    assert response.status_code == 422, response.text
    (only,) = response.json()["detail"]
    return only["loc"], only["msg"]


@pytest.fixture
def app(api: httpx.Client) -> str:
    made(api.post("/app", json={"name": "A", "uid": "s"}), 201)
    return "/app/s/msg"


def count(api: httpx.Client) -> int:
    return len(made(api.get("/app/s/msg"), 200)["data"])


def test_the_payloads_bytes_go_out_as_they_came_in(
    api: httpx.Client,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of()
    made(api.post("/app/s/endpoint", json={"url": receiver.url}), 201)
    payload = b'{ "b":1.50,\n"a" : "\xc3\xa9\\u00e9", "c":[ ] }'
    body = b'{"eventType":"a.b","payload":' + payload + b"}"
    answered = made(api.post(app, content=body))
    assert answered["payload"] == json.loads(payload)
    (request,) = received(receiver, 1)
    assert request.body == payload
    assert request.header("svix-id") == request.header("webhook-id") == answered["id"]


def test_data_is_another_name_of_payload(api: httpx.Client, app: str) -> None:
    assert made(api.post(app, json={"eventType": "a", "data": {"x": 1}}))["payload"] == {"x": 1}
    both = {"eventType": "a", "data": {}, "payload": {}}
    assert fault(api.post(app, json=both))[0] == ["body", "data"]


def test_the_answer_leaves_the_payload_out_on_demand(api: httpx.Client, app: str) -> None:
    given = {"eventType": "a", "payload": {"x": 1}}
    assert made(api.post(f"{app}?with_content=false", json=given))["payload"] == {}
    assert made(api.post(f"{app}?with_content=true", json=given))["payload"] == {"x": 1}
    assert fault(api.post(f"{app}?with_content=2", json=given))[0] == ["query", "with_content"]
    assert fault(api.post(f"{app}?other=2", json=given))[0] == ["query", "other"]


def test_an_organizations_own_schema_is_in_force_at_once(api: httpx.Client, app: str) -> None:
    given = {"eventType": "part.sold", "payload": {"price": "12"}}
    made(api.post(app, json=given))
    schema = {"type": "object", "properties": {"price": {"type": "number"}}}
    event_type = {"name": "part.sold", "description": "d", "schemas": {"1": schema}}
    made(api.post("/event-type", json=event_type), 201)
    loc, message = fault(api.post(app, json=given))
    assert loc == ["body", "payload", "price"]
    assert "12" in message
    made(api.post(app, json={"eventType": "part.sold", "payload": {"price": 12}}))


def test_the_dialects_catalogue_is_in_force_without_being_loaded(
    api: httpx.Client, app: str
) -> None:
    given = {"eventType": "order.created", "payload": {"order_id": 5}}
    made(api.post(app, json=given))
    endpoint = {"url": URL, "metadata": {"marketbell.dialect": "ovoko"}}
    made(api.post("/app/s/endpoint", json=endpoint), 201)
    loc, message = fault(api.post(app, json=given))
    assert loc == ["body", "payload", "order_id"]
    assert '"5"' in message
    made(api.post(app, json={"eventType": "order.created", "payload": {"order_id": "5"}}))
    made(api.post(app, json={"eventType": "not.in.it", "payload": {"order_id": 5}}))


def test_an_endpoint_made_in_between_gets_the_next_message(
    api: httpx.Client,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    made(api.post(app, json={"eventType": "a", "payload": {"n": 1}}))
    receiver = receiver_of()
    made(api.post("/app/s/endpoint", json={"url": receiver.url, "uid": "e"}), 201)
    made(api.post(app, json={"eventType": "a", "payload": {"n": 2}}))
    assert [request.body for request in received(receiver, 1)] == [b'{"n":2}']
    made(api.patch("/app/s/endpoint/e", json={"disabled": True}), 200)
    skipped = made(api.post(app, json={"eventType": "a", "payload": {"n": 3}}))
    assert made(api.get(f"/app/s/msg/{skipped['id']}/endpoint"), 200)["data"] == []


def test_deliver_at_puts_the_delivery_off(
    api: httpx.Client,
    app: str,
    settle: Callable[[], None],
    receiver_of: Callable[..., TestReceiver],
) -> None:
    receiver = receiver_of()
    made(api.post("/app/s/endpoint", json={"url": receiver.url}), 201)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="milliseconds")
    given = {"eventType": "a", "payload": {}}
    answered = made(api.post(app, json={**given, "deliverAt": later}))
    assert datetime.fromisoformat(answered["deliverAt"]) == datetime.fromisoformat(later)
    settle()
    (destination,) = made(api.get(f"/app/s/msg/{answered['id']}/endpoint"), 200)["data"]
    assert destination["statusText"] == "pending"
    assert receiver.requests == []
    for wrong in ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon", "2024-01-01"):
        assert fault(api.post(app, json={**given, "deliverAt": wrong}))[0] == ["body", "deliverAt"]


def test_timestamp_says_when_it_happened(api: httpx.Client, app: str) -> None:
    given = {"eventType": "a", "payload": {}}
    for written in ("2024-05-01T10:00:00+02:00", 1714550400, 1714550400.0, 1714550400000):
        answered = made(api.post(app, json={**given, "timestamp": written}))
        assert answered["occurredAt"] == "2024-05-01T08:00:00.000Z"
        assert made(api.get(f"/app/s/msg/{answered['id']}"), 200) == answered
    assert "occurredAt" not in made(api.post(app, json=given))
    wrong: object
    for wrong in (-1, 1e30, "yesterday", True, []):
        response = api.post(app, json={**given, "timestamp": wrong})
        assert fault(response)[0] == ["body", "timestamp"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"payloadRetentionPeriod": 0}, "payloadRetentionPeriod"),
        ({"payloadRetentionPeriod": 91}, "payloadRetentionPeriod"),
        ({"payloadRetentionHours": 0}, "payloadRetentionHours"),
        ({"payloadRetentionHours": 2161}, "payloadRetentionHours"),
        ({"payloadRetentionHours": 5, "payloadRetentionPeriod": 5}, "payloadRetentionHours"),
        ({"channels": []}, "channels"),
        ({"channels": ["a", "b", "c", "d", "e", "f"]}, "channels"),
        ({"channels": ["a b"]}, "channels"),
        ({"channels": "a"}, "channels"),
        ({"tags": ["x"] * 2}, "tags"),
        ({"tags": [f"t{n}" for n in range(11)]}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"eventId": ""}, "eventId"),
        ({"eventId": "msg_x"}, "eventId"),
        ({"eventId": "a b"}, "eventId"),
        ({"eventType": ""}, "eventType"),
        ({"eventType": "a b"}, "eventType"),
        ({"eventType": "x" * 257}, "eventType"),
        ({"payload": []}, "payload"),
        ({"payload": None}, "payload"),
        ({"payload": "{}"}, "payload"),
        ({"eventtype": "a"}, "eventtype"),
        ({"transformationsParams": {"headers": {"Host": "x"}}}, "transformationsParams"),
        ({"transformationsParams": {"other": 1}}, "transformationsParams"),
        ({"transformationsParams": {"rawPayload": ""}}, "transformationsParams"),
        ({"application": {"name": 5}}, "application"),
    ],
)
def test_every_field_is_honoured_or_refused(
    api: httpx.Client, app: str, fields: dict[str, object], wrong: str
) -> None:
    loc, _ = fault(api.post(app, json={"eventType": "a", "payload": {}, **fields}))
    assert loc[:2] == ["body", wrong]
    assert count(api) == 0


def test_null_is_the_same_as_absent_for_what_may_be_left_out(api: httpx.Client, app: str) -> None:
    optional = (
        "eventId",
        "channels",
        "tags",
        "timestamp",
        "deliverAt",
        "payloadRetentionPeriod",
        "payloadRetentionHours",
        "application",
        "transformationsParams",
    )
    given: dict[str, object] = {"eventType": "a", "payload": {}, **dict.fromkeys(optional)}
    answered = made(api.post(app, json=given))
    assert (answered["eventId"], answered["channels"], answered["tags"]) == (None, None, None)


def test_an_inline_application_is_made_once_the_message_is_good(api: httpx.Client) -> None:
    inline = {"name": "New", "uid": "n", "metadata": {"marketbell.dialect": "ovoko"}}
    bad = {"eventType": "order.created", "payload": {"order_id": 5}, "application": inline}
    assert fault(api.post("/app/n/msg", json=bad))[0] == ["body", "payload", "order_id"]
    assert api.get("/app/n").status_code == 404
    other = {"eventType": "a", "payload": {}, "application": {**inline, "uid": "m"}}
    assert fault(api.post("/app/n/msg", json=other))[0] == ["body", "application", "uid"]
    wrong = {"eventType": "a", "payload": {}, "application": {**inline, "name": ""}}
    assert fault(api.post("/app/n/msg", json=wrong))[0] == ["body", "application", "name"]
    good = {**bad, "payload": {"order_id": "5"}}
    made(api.post("/app/n/msg", json=good))
    assert made(api.get("/app/n"), 200)["name"] == "New"
    made(api.post("/app/n/msg", json={**good, "application": {**inline, "name": "Ignored"}}))
    assert made(api.get("/app/n"), 200)["name"] == "New"
    assert fault(api.post("/app/n/msg", json=wrong))[0] == ["body", "application", "name"]
    unknown = api.post("/app/app_000000000000000000000000000/msg", json=good)
    assert unknown.status_code == 404


def test_a_raw_payload_is_sent_verbatim_where_the_dialect_allows(
    api: httpx.Client,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of()
    made(api.post("/app/s/endpoint", json={"url": receiver.url}), 201)
    raw = "<order>é</order>"
    given = {"eventType": "a", "payload": {}, "transformationsParams": {"rawPayload": raw}}
    answered = made(api.post(app, json=given))
    assert answered["payload"] == {"rawPayload": raw}
    assert made(api.get(f"/app/s/msg/{answered['id']}"), 200)["payload"] == {"rawPayload": raw}
    assert received(receiver, 1)[0].body == raw.encode()
    both = {**given, "payload": {"x": 1}}
    assert fault(api.post(app, json=both))[0] == ["body", "payload"]
    ovoko = {"url": URL, "metadata": {"marketbell.dialect": "ovoko"}}
    made(api.post("/app/s/endpoint", json=ovoko), 201)
    loc, _ = fault(api.post(app, json=given))
    assert loc == ["body", "transformationsParams", "rawPayload"]
    event_type = {"name": "b", "description": "d", "schemas": {"1": {"type": "object"}}}
    made(api.post("/event-type", json=event_type), 201)
    assert fault(api.post(app, json={**given, "eventType": "b"}))[0] == loc
    spaced = {"eventType": "a", "transformationsParams": {"rawPayload": '{ "x" : 1 }'}}
    made(api.post(app, json=spaced))
    assert received(receiver, 2)[1].body == b'{ "x" : 1 }'


def test_an_unknown_application_is_not_found(api: httpx.Client) -> None:
    response = api.post("/app/none/msg", json={"eventType": "a", "payload": {}})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_messages_published_while_the_application_changes_are_all_kept(
    api: httpx.Client,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of()
    made(api.post("/app/s/endpoint", json={"url": receiver.url, "uid": "e"}), 201)

    def change(turn: int) -> None:
        made(api.patch("/app/s", json={"name": f"A{turn}"}), 200)
        made(api.patch("/app/s/endpoint/e", json={"description": f"{turn}"}), 200)

    def publish(turn: int) -> None:
        made(api.post(app, json={"eventType": "a", "payload": {"n": turn}}))

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(change if turn % 4 == 0 else publish, turn) for turn in range(160)]
        for one in work:
            one.result()
    settle()
    bodies = sorted(request.body for request in receiver.requests)
    assert bodies == sorted(b'{"n":%d}' % turn for turn in range(160) if turn % 4)


def test_changes_made_at_the_same_time_are_all_kept(api: httpx.Client, app: str) -> None:
    made(api.post("/app/s/endpoint", json={"url": URL, "uid": "e"}), 201)

    def add(turn: int) -> None:
        change = {"headers": {f"X-{turn}": "1"}}
        assert api.patch("/app/s/endpoint/e/headers", json=change).status_code == 204

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(24)))
    assert len(made(api.get("/app/s/endpoint/e/headers"), 200)["headers"]) == 24


# -- a repetition is answered as the first was, whatever has changed since --------------------


def test_a_repetition_is_answered_before_it_is_judged_by_a_new_schema(
    api: httpx.Client, app: str
) -> None:
    given = {"eventType": "a", "payload": {"n": "1"}}
    header = {"idempotency-key": "k"}
    first = made(api.post(app, json=given, headers=header))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    stricter = {"name": "a", "description": "d", "schemas": {"1": schema}}
    made(api.post("/event-type", json=stricter), 201)
    assert made(api.post(app, json=given, headers=header)) == first
    assert fault(api.post(app, json=given))[0] == ["body", "payload", "n"]
    other = {"idempotency-key": "other"}
    assert fault(api.post(app, json=given, headers=other))[0] == ["body", "payload", "n"]
    bad = {"eventType": "a", "payload": {"n": "2"}}
    assert api.post(app, json=bad, headers=header).status_code == 409
    assert count(api) == 1


def test_a_repetition_does_not_make_its_application_anew(api: httpx.Client) -> None:
    given = {
        "eventType": "a",
        "payload": {"n": 1},
        "application": {"name": "New", "uid": "new5"},
    }
    header = {"idempotency-key": "k5"}
    first = made(api.post("/app/new5/msg", json=given, headers=header))
    assert api.delete("/app/new5").status_code == 204
    other = {**given, "payload": {"n": 2}}
    assert api.post("/app/new5/msg", json=other, headers=header).status_code == 409
    assert api.get("/app/new5").status_code == 404
    assert made(api.post("/app/new5/msg", json=given, headers=header)) == first
    assert api.get("/app/new5").status_code == 404
    made(api.post("/app/new5/msg", json=given, headers={"idempotency-key": "k6"}))
    made(api.get("/app/new5"), 200)


def test_an_own_schema_does_not_let_through_what_the_dialect_cannot_send(
    api: httpx.Client,
) -> None:
    ovoko = {"name": "A", "uid": "s", "metadata": {"marketbell.dialect": "ovoko"}}
    made(api.post("/app", json=ovoko), 201)
    properties = {"id": {"type": "integer"}, "order_id": {"type": "string", "minLength": 2}}
    schema = {"type": "object", "properties": properties}
    event_type = {"name": "order.created", "description": "d", "schemas": {"1": schema}}
    made(api.post("/event-type", json=event_type), 201)
    send = {"eventType": "order.created", "payload": {"id": 1}}
    assert fault(api.post("/app/s/msg", json=send))[0] == ["body", "payload", "id"]
    short = {"eventType": "order.created", "payload": {"order_id": "1"}}
    assert fault(api.post("/app/s/msg", json=short))[0] == ["body", "payload", "order_id"]
    made(api.post("/app/s/msg", json={**short, "payload": {"order_id": "12"}}))


def test_an_idempotency_key_is_sent_once(api: httpx.Client, app: str) -> None:
    given = {"eventType": "a", "payload": {}}
    twice = [("idempotency-key", "a"), ("idempotency-key", "b")]
    refused = api.post(app, json=given, headers=twice)
    assert fault(refused)[0] == ["header", "idempotency-key"]
    assert count(api) == 0
    refused = api.post("/app", json={"name": "B"}, headers=twice)
    assert fault(refused)[0] == ["header", "idempotency-key"]


def test_a_header_that_is_no_text_is_named(api: httpx.Client, app: str) -> None:
    params = {"rawPayload": "{}", "headers": {"x-a": "1", "x-b": 2}}
    given = {"eventType": "a", "transformationsParams": params}
    loc, _message = fault(api.post(app, json=given))
    assert loc == ["body", "transformationsParams", "headers", "x-b"]
    endpoint = {"url": URL, "metadata": {"a": "b", "marketbell.dialect": 5, "c": "d"}}
    loc, _message = fault(api.post("/app/s/endpoint", json=endpoint))
    assert loc == ["body", "metadata", "marketbell.dialect"]
