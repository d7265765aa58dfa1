"""Broken and hostile requests: a clear 4xx, nothing kept, and the next good one answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

pytestmark = pytest.mark.alone

MESSAGE = b'{"eventType":"a","payload":%s}'
PATH = "/api/v1/app/s/msg"

BODIES = {
    "nothing": b"",
    "white space": b"  ",
    "not JSON": b"eventType=a",
    "half of it": b'{"eventType":"a","payload":{"x":',
    "more after it": b'{"eventType":"a","payload":{}} {}',
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "UTF-16": '{"eventType":"a","payload":{}}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"eventType":"a","payload":{}}',
    "invalid UTF-8": MESSAGE % b'{"x":"\xff"}',
    "an encoded surrogate": MESSAGE % b'{"x":"\xed\xa0\x80"}',
    "overlong UTF-8": MESSAGE % b'{"x":"\xc0\x80"}',
    "a high surrogate alone": MESSAGE % b'{"x":"\\ud800 and more text"}',
    "a low surrogate alone": MESSAGE % b'{"x":"\\udc00 and more text"}',
    "a surrogate in the event type": b'{"eventType":"\\ud800\\ud800","payload":{}}',
    "a raw NUL": MESSAGE % b'{"x":"\x00"}',
    "an escaped NUL": MESSAGE % b'{"x":"\\u0000"}',
    "an escaped NUL in a key": MESSAGE % b'{"\\u0000":1}',
    "an escaped NUL in the event id": b'{"eventType":"a","payload":{},"eventId":"\\u0000"}',
    "a raw line break": MESSAGE % b'{"x":"\n"}',
    "a bad escape": MESSAGE % b'{"x":"\\x41"}',
    "NaN": MESSAGE % b'{"x":NaN}',
    "a number too large": MESSAGE % b'{"x":1e999}',
    "five thousand digits": MESSAGE % (b'{"x":%s}' % (b"9" * 5000)),
    "a leading zero": MESSAGE % b'{"x":01}',
    "a trailing comma": MESSAGE % b'{"x":1,}',
    "a comment": MESSAGE % b'{"x":1/**/}',
    "single quotes": MESSAGE % b"{'x':1}",
    "65 levels": MESSAGE % (b'{"x":' * 65 + b"1" + b"}" * 65),
    "100,000 levels": MESSAGE % (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "100,000 levels of its own": b"[" * 100_000 + b"]" * 100_000,
    "a key twice": MESSAGE % b'{"x":1,"x":2}',
    "a key twice, once escaped": MESSAGE % b'{"x":1,"\\u0078":2}',
    "a key twice within": MESSAGE % b'{"a":[{"x":"y","x":"z"}]}',
    "the event type twice": b'{"eventType":"a","payload":{},"eventType":"b"}',
    "the payload twice": b'{"eventType":"a","payload":{"x":1},"payload":{"x":1}}',
    "the payload twice, once escaped": b'{"eventType":"a","payload":{},"p\\u0061yload":{"y":1}}',
    "a list as payload": MESSAGE % b"[]",
    "a text as payload": MESSAGE % b'"{}"',
    "no payload": b'{"eventType":"a"}',
    "no event type": b'{"payload":{}}',
    "null as event type": b'{"eventType":null,"payload":{}}',
    "a number as event type": b'{"eventType":1,"payload":{}}',
    "an unknown field": b'{"eventType":"a","payload":{},"x":1}',
    "channels of objects": b'{"eventType":"a","payload":{},"channels":[{}]}',
    "a huge number of days": (
        b'{"eventType":"a","payload":{},"payloadRetentionPeriod":99999999999999999999}'
    ),
    "a fraction of a day": b'{"eventType":"a","payload":{},"payloadRetentionPeriod":1.5}',
    "an endless time": b'{"eventType":"a","payload":{},"timestamp":1e308}',
    "a surrogate as raw payload": (
        b'{"eventType":"a","transformationsParams":{"rawPayload":"\\ud800 and more"}}'
    ),
    "a raw payload twice": (
        b'{"eventType":"a","transformationsParams":{"rawPayload":"x","rawPayload":"y"}}'
    ),
}

GOOD = {
    "64 levels": b'{"x":' * 64 + b"1" + b"}" * 64,
    "brackets in a text": b'{"x":"%s"}' % (b"[{" * 200),
    "one key in many objects": b'{"a":[{"x":1},{"x":1}],"x":{"x":1}}',
    "a key that is a value too": b'{"x":"x","y":"x"}',
    "escapes": b'{"x":"\\"\\\\\\u00e9\\n","\\"":1}',
    "a pair of surrogates": b'{"x":"\\ud83d\\ude00"}',
    "a backslash before u0000": b'{"x":"\\\\u0000"}',
    "the payload's own fields": b'{"payload":{"payload":{}},"eventType":"x"}',
    "an empty object": b"{}",
}


@pytest.fixture(autouse=True)
def app(api: httpx.Client) -> None:
    assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201


def publish(api: httpx.Client, body: bytes) -> httpx.Response:
    return api.post("/app/s/msg", content=body, headers={"content-type": "application/json"})


def count(api: httpx.Client) -> int:
    rows: list[Any] = api.get("/app/s/msg?limit=250").json()["data"]
    return len(rows)


def test_each_broken_body_is_refused_clearly_and_leaves_nothing(api: httpx.Client) -> None:
    wrong: list[tuple[object, ...]] = []
    for name, body in BODIES.items():
        response = publish(api, body)
        details = response.json().get("detail")
        clear = response.status_code == 422 and details[0]["loc"][0] == "body"
        if not clear or not details[0]["msg"] or len(details[0]["msg"]) > 700:
            wrong.append((name, response.status_code, response.text[:200]))
        started = time.process_time()
        if publish(api, MESSAGE % b"{}").status_code != 202:
            wrong.append((name, "the next good one"))
        assert time.process_time() - started < 2
    assert wrong == []
    assert count(api) == len(BODIES)


def test_each_odd_but_good_payload_is_taken(api: httpx.Client) -> None:
    for name, payload in GOOD.items():
        response = publish(api, MESSAGE % payload)
        assert response.status_code == 202, (name, response.text)
    assert count(api) == len(GOOD)


def test_every_route_with_a_body_refuses_what_is_not_its_json(api: httpx.Client) -> None:
    url = {"url": "https://example.com/"}
    assert api.post("/app/s/endpoint", json={**url, "uid": "e"}).status_code == 201
    routes = [
        ("POST", "/app"),
        ("PUT", "/app/s"),
        ("PATCH", "/app/s"),
        ("POST", "/app/s/endpoint"),
        ("PUT", "/app/s/endpoint/e"),
        ("PATCH", "/app/s/endpoint/e"),
        ("PUT", "/app/s/endpoint/e/headers"),
        ("PATCH", "/app/s/endpoint/e/headers"),
        ("POST", "/app/s/endpoint/e/secret/rotate"),
        ("POST", "/event-type"),
        ("POST", "/app/s/msg/batch"),
        ("POST", "/app/s/msg/m/endpoint/e/resend"),
        ("POST", "/app/s/msg/expunge-all-contents"),
        ("POST", "/app/s/endpoint/e/pause"),
        ("POST", "/admin/redrive-dlq"),
        ("POST", "/background-task/none/cancel"),
        ("POST", "/outbox/rejected/none/requeue"),
    ]
    bodies = [
        b"x",
        b"[]",
        b"5",
        b'{"unknown":1}',
        b'{"name":"\xff"}',
        b"[" * 9999,
        b'{"a":1,"a":2}',
    ]
    for method, path in routes:
        for body in bodies:
            response = api.request(method, path, content=body)
            assert response.status_code == 422, (method, path, body[:20], response.text)
            assert response.json()["detail"][0]["loc"][0] == "body"


def test_a_body_over_the_limit_is_413_whether_declared_or_not(api: httpx.Client) -> None:
    large = MESSAGE % (b'{"x":"%s"}' % (b"y" * 1_000_000))
    declared = publish(api, large)
    assert (declared.status_code, declared.json()["code"]) == (413, "payload_too_large")
    pieces = (large[start : start + 65_536] for start in range(0, len(large), 65_536))
    chunked = api.post("/app/s/msg", content=pieces)
    assert (chunked.status_code, chunked.json()["code"]) == (413, "payload_too_large")
    for path in ("/app", "/event-type", "/app/s/endpoint"):
        assert api.post(path, content=large).status_code == 413
    assert publish(api, MESSAGE % (b'{"x":"%s"}' % (b"y" * 999_900))).status_code == 202
    assert count(api) == 1


def test_requests_that_break_off_leave_nothing(
    api: httpx.Client, organization: str, token_of: Callable[..., str]
) -> None:
    address = urlsplit(str(api.base_url))
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_of(organization)}\r\n"
        "Content-Length: 1000\r\n\r\n"
    ).encode()
    for sent in (head, head + MESSAGE % b"{}", head[:40]):
        with socket.create_connection((address.hostname, address.port), timeout=60) as broken:
            broken.sendall(sent)
    assert publish(api, MESSAGE % b"{}").status_code == 202
    assert count(api) == 1


def test_paths_that_lead_nowhere_are_404_and_wrong_methods_405(api: httpx.Client) -> None:
    for path in ("/", "/nothing", "/app/s/msgs", "/app//msg", "/app/s/msg/x/y", "/app/%2F/msg"):
        response = api.post(path, json={})
        assert response.status_code == 404, path
        assert response.json()["code"] == "not_found"
    for method, path, allowed in (
        ("DELETE", "/app", "POST, GET"),
        ("POST", "/app/s", "GET, PUT, PATCH, DELETE"),
        ("PUT", "/app/s/msg", "POST, GET"),
        ("GET", "/app/s/msg/x/endpoint/y/resend", "POST"),
    ):
        response = api.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, allowed)
        assert response.json()["code"] == "method_not_allowed"


def test_strange_names_in_paths_are_not_found(api: httpx.Client) -> None:
    for name in ("%00", "%ff", "a" * 3000, "%E2%82%AC", "' or 1=1 --", "app_"):
        for path in (f"/app/{name}", f"/app/s/endpoint/{name}", f"/app/s/msg/{name}"):
            response = api.get(path)
            assert response.status_code == 404, (path[:60], response.text)


def test_a_parameter_with_a_nul_is_refused(api: httpx.Client) -> None:
    response = api.get("/event-type?iterator=a%00")
    assert response.status_code == 422
    assert "NUL" in response.text
