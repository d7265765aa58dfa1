"""What hurried and hostile callers send to resources, over HTTP on a real node."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from marketbell.testing import Received, TestReceiver
from support.eventually import PATIENCE_S

pytestmark = pytest.mark.alone

URL = "https://example.com/hook"
ONCE = {"idempotency-key": "once"}
LONG_AGO = "1970-01-01T00:00:00Z"

Wait = Callable[[TestReceiver, int], list[Received]]


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def ended(api: httpx.Client, task: dict[str, Any]) -> dict[str, Any]:
    """A task once it has ended."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = made(api.get(f"/background-task/{task['id']}"), 200)
        if found["status"] != "running":
            return found
        assert time.monotonic() < end, found
        time.sleep(0.02)  # nothing tells a client that a task has ended


# -- once only ----------------------------------------------------------------------------


def test_a_key_that_was_used_for_another_event_type_is_a_conflict(api: httpx.Client) -> None:
    made(api.post("/event-type", json={"name": "a", "description": ""}, headers=ONCE))
    other = api.post("/event-type", json={"name": "b", "description": ""}, headers=ONCE)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_get_if_exists_repeats_its_first_answer(api: httpx.Client) -> None:
    path, given = "/app?get_if_exists=true", {"name": "A", "uid": "s"}
    first = api.post(path, json=given, headers=ONCE)
    made(api.patch("/app/s", json={"name": "B"}), 200)
    again = api.post(path, json=given, headers=ONCE)
    assert (again.status_code, again.content) == (201, first.content)
    other = api.post(path, json={"name": "C", "uid": "s"}, headers=ONCE)
    assert other.status_code == 409
    found = api.post(path, json=given, headers={"idempotency-key": "another"})
    assert made(found, 200)["name"] == "B"
    made(api.patch("/app/s", json={"name": "C"}), 200)
    assert (
        api.post(path, json=given, headers={"idempotency-key": "another"}).content == found.content
    )


def test_a_replay_that_was_begun_is_told_again_once_its_endpoint_is_disabled(
    api: httpx.Client,
) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": URL, "uid": "e"}))
    path, given = "/app/s/endpoint/e/recover", {"since": LONG_AGO}
    first = api.post(path, json=given, headers=ONCE)
    made(first, 202)
    made(api.patch("/app/s/endpoint/e", json={"disabled": True}), 200)
    again = api.post(path, json=given, headers=ONCE)
    assert (again.status_code, again.content) == (202, first.content)
    assert api.post(path, json=given).status_code == 409


@pytest.mark.parametrize("path", ["/app/s", "/app/there/endpoint/e"])
def test_of_many_upserts_at_once_none_is_a_conflict(api: httpx.Client, path: str) -> None:
    made(api.post("/app", json={"name": "A", "uid": "there"}))
    body = {"name": "A"} if path == "/app/s" else {"url": URL}

    def put(_number: int) -> httpx.Response:
        return api.put(path, json=body)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(put, range(16)))
    assert {answer.status_code for answer in answers} == {200, 201}, answers
    assert len({answer.json()["id"] for answer in answers}) == 1


# -- operational endpoints ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_refused_operational_endpoint_leaves_nothing(
    api: httpx.Client, method: str, organization: str, live: Any
) -> None:
    path = "/operational-webhook/endpoint" + ("/e" if method == "PUT" else "")
    body = {"url": "nonsense", "eventTypes": ["endpoint.disabled"]}
    assert api.request(method, path, json=body).status_code == 422
    assert made(api.get("/audit-log"), 200)["data"] == []
    assert hidden_rows(live, organization) == [0, 0]


def hidden_rows(live: Any, organization: str) -> list[int]:
    """How many applications and event types there are beside the caller's own."""
    import apsw

    connection = apsw.Connection(
        str(live.settings.db).removeprefix("sqlite:///"), flags=apsw.SQLITE_OPEN_READONLY
    )
    return [
        connection.execute(
            f"select count(*) from {table} where organization = ?",
            (f"operational:{organization}",),
        ).get
        for table in ("application", "event_type")
    ]


# -- tasks --------------------------------------------------------------------------------


def test_an_example_for_one_endpoint_was_missed_by_no_other(
    api: httpx.Client, receiver_of: Callable[..., TestReceiver], received: Wait
) -> None:
    one, other = receiver_of(), receiver_of()
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": one.url, "uid": "one"}))
    made(api.post("/app/s/endpoint/one/send-example", json={"eventType": "svix.ping"}), 200)
    received(one, 1)
    made(api.post("/app/s/msg", json={"eventType": "a", "payload": {}}), 202)
    made(api.post("/app/s/endpoint", json={"url": other.url, "uid": "other"}))
    task = api.post("/app/s/endpoint/other/replay-missing", json={"since": LONG_AGO})
    assert ended(api, made(task, 202))["data"]["made"] == 1
    (sent,) = received(other, 1)
    assert sent.body == b"{}"


def test_a_missed_message_is_not_sent_before_its_time(
    api: httpx.Client, receiver_of: Callable[..., TestReceiver], settle: Callable[[], None]
) -> None:
    receiver = receiver_of()
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3_600))
    message = {"eventType": "a", "payload": {}, "deliverAt": later}
    made(api.post("/app/s/msg", json=message), 202)
    made(api.post("/app/s/endpoint", json={"url": receiver.url, "uid": "e"}))
    task = api.post("/app/s/endpoint/e/replay-missing", json={"since": LONG_AGO})
    assert ended(api, made(task, 202))["data"]["made"] == 1
    settle()
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("0001-01-01T00:00:00Z", None),
        (LONG_AGO, "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:58Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_the_ends_of_time_are_times_too(api: httpx.Client, since: str, until: str | None) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": URL, "uid": "e"}))
    answer = api.post("/app/s/endpoint/e/recover", json={"since": since, "until": until})
    assert answer.status_code in {202, 422}, answer.text
    if answer.status_code == 202:
        assert ended(api, answer.json())["status"] == "finished"


# -- event types --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "multipleOf": 1e-320},
        {"type": "number", "minimum": 10**400, "multipleOf": 0.5},
        {"type": "integer", "minimum": 1e308, "multipleOf": 1e-300},
        {"type": "number", "exclusiveMaximum": -(10**400), "multipleOf": 1.5},
        {"type": "string", "minLength": 10**30, "maxLength": -5},
        {"type": "array", "minItems": 10**30, "items": {"type": "array", "minItems": 10**30}},
        {"const": None},
    ],
    ids=str,
)
def test_a_strange_schema_makes_no_example_that_breaks(
    api: httpx.Client, schema: dict[str, Any]
) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": URL, "uid": "e"}))
    whole = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    body = {"name": "a", "description": "", "schemas": {"1": whole}}
    answer = api.post("/event-type", json=body)
    if answer.status_code == 201:
        sent = api.post("/app/s/endpoint/e/send-example", json={"eventType": "a"})
        assert sent.status_code in {200, 422}, sent.text
    else:
        assert answer.status_code == 422


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("specRaw", "[" * 500_000),
        ("specRaw", "{a: " * 200_000),
        ("specRaw", "openapi: 3.1.0\nwebhooks: {}\nwebhooks: {}"),
        ("specRaw", '{"openapi":"3.1.0","webhooks":{"a":{"post":{}},"a":{"post":{}}}}'),
        ("spec", {"openapi": "3.1.0", "webhooks": {}, "components": []}),
        ("spec", {"openapi": "3.1.0", "webhooks": {}, "components": {"schemas": "A"}}),
        ("spec", {"openapi": ["3."], "webhooks": 1}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_document_that_cannot_be_read_is_refused(
    api: httpx.Client, field: str, document: Any
) -> None:
    if isinstance(document, dict) and document["webhooks"] == {}:
        schema = {"$ref": "#/components/schemas/A"}
        body = {"content": {"application/json": {"schema": schema}}}
        document["webhooks"] = {"a": {"post": {"requestBody": body}}}
    answer = api.post("/event-type/import/openapi", json={field: document})
    assert answer.status_code == 422, answer.text
    assert made(api.get("/event-type"), 200)["data"] == []


def test_a_document_of_many_webhooks_over_many_components_is_refused_quickly(
    api: httpx.Client,
) -> None:
    schemas: dict[str, Any] = {f"s{number}": {} for number in range(2_000)}
    schemas["s"] = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in schemas]}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/s"}}}}
    hooks = {f"w{number}": {"post": {"requestBody": body}} for number in range(1_000)}
    document = {"openapi": "3.1.0", "webhooks": hooks, "components": {"schemas": schemas}}
    begun = time.process_time()
    answer = api.post("/event-type/import/openapi", json={"spec": document})
    assert answer.status_code == 422
    assert time.process_time() - begun < 5


def test_a_repeated_import_that_changed_nothing_is_known_by_its_key(api: httpx.Client) -> None:
    document = {"openapi": "3.1.0", "webhooks": {"a": {"post": {}}}}
    path = "/event-type/import/openapi"
    made(api.post(path, json={"spec": document}), 200)
    first = api.post(path, json={"spec": document}, headers=ONCE)
    assert made(first, 200)["data"]["modified"] == []
    other = {**document, "webhooks": {"b": {"post": {}}}}
    assert api.post(path, json={"spec": other}, headers=ONCE).status_code == 409
    assert api.post(path, json={"spec": document}, headers=ONCE).content == first.content


def test_a_schema_and_a_payload_that_multiply_do_not_stop_the_server(api: httpx.Client) -> None:
    """Each level is held against the schema twice, so thirty of them a billion times."""
    again = {"properties": {"n": {"$ref": "#/$defs/a"}}}
    schema = {"$defs": {"a": {"type": "object", "oneOf": [again, again]}}, "$ref": "#/$defs/a"}
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    body = {"name": "a", "description": "", "schemas": {"1": schema}}
    if api.post("/event-type", json=body).status_code == 422:
        return
    payload = msgspec.Raw(b'{"n":' * 40 + b"{}" + b"}" * 40)
    message = msgspec.json.encode({"eventType": "a", "payload": payload})
    begun = time.process_time()
    answer = api.post("/app/s/msg", content=message)
    assert (answer.status_code, time.process_time() - begun < 2) == (422, True)
