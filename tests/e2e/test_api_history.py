"""Messages and attempts as they are read over HTTP, after real deliveries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from marketbell.testing import Answer, Received, TestReceiver


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def fault(response: httpx.Response) -> tuple[list[str], str]:
    assert response.status_code == 422, response.text
    (only,) = response.json()["detail"]
    return only["loc"], only["msg"]


def test_attempts_tell_what_happened_and_a_resend_makes_another(
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of(Answer(body=b"thanks"))
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    endpoint = made(api.post("/app/s/endpoint", json={"url": receiver.url, "uid": "e"}))
    given = {"eventType": "a.b", "payload": {"x": 1}, "eventId": "n1", "tags": ["t"]}
    message = made(api.post("/app/s/msg", json=given), 202)
    settle()
    (attempt,) = made(api.get("/app/s/attempt/msg/n1"), 200)["data"]
    assert attempt["msgId"] == message["id"]
    assert attempt["endpointId"] == endpoint["id"]
    assert (attempt["status"], attempt["statusText"]) == (0, "success")
    assert (attempt["responseStatusCode"], attempt["response"]) == (200, "thanks")
    assert (attempt["triggerType"], attempt["url"]) == (0, receiver.url)
    assert made(api.get(f"/app/s/msg/n1/attempt/{attempt['id']}"), 200) == attempt
    unknown = attempt["id"][:-1] + ("0" if attempt["id"][-1] != "0" else "1")
    assert api.get(f"/app/s/msg/n1/attempt/{unknown}").status_code == 404
    (destination,) = made(api.get("/app/s/msg/n1/endpoint"), 200)["data"]
    assert (destination["id"], destination["statusText"]) == (endpoint["id"], "success")
    resent = api.post("/app/s/msg/n1/endpoint/e/resend")
    assert (resent.status_code, resent.json()) == (202, {})
    received(receiver, 2)
    settle()
    both = made(api.get("/app/s/attempt/endpoint/e"), 200)["data"]
    assert [one["triggerType"] for one in both] == [1, 0]
    assert receiver.requests[0].body == receiver.requests[1].body == b'{"x":1}'
    bare = made(api.get("/app/s/attempt/endpoint/e?with_content=false&with_msg=true"), 200)
    assert bare["data"][0]["response"] == ""
    assert bare["data"][0]["msg"]["payload"] == {}


def test_attempts_tell_which_try_they_are_and_when_the_next_is(
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
) -> None:
    bad = receiver_of(Answer(status=500))
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    policies = {
        "hours": {"marketbell.retry-schedule": "1h 2h"},
        "once": {"marketbell.retry-schedule": "1ms"},
        "standard": {},
        "days": {"marketbell.dialect": "sellercenter"},
    }
    for uid, metadata in policies.items():
        form = {"url": bad.url, "uid": uid, "metadata": metadata}
        made(api.post("/app/s/endpoint", json=form))
    message = made(api.post("/app/s/msg", json={"eventType": "a.b", "payload": {}}), 202)
    settle()

    def tries(path: str) -> list[tuple[int, int | None, bool]]:
        return [
            (one["attemptNumber"], one["attemptsMax"], one["nextAttempt"] is not None)
            for one in made(api.get(path), 200)["data"]
        ]

    of = f"/app/s/attempt/msg/{message['id']}?endpoint_id="
    assert tries(f"{of}hours") == [(1, 3, True)]
    assert tries(f"{of}once") == [(2, 2, False), (1, 2, False)]
    assert tries(f"{of}standard") == [(1, 8, True)]
    assert tries(f"{of}days") == [(1, None, True)]
    (first,) = made(api.get("/app/s/attempt/endpoint/hours"), 200)["data"]
    (pending,) = made(api.get("/app/s/endpoint/hours/msg"), 200)["data"]
    assert first["nextAttempt"] == pending["nextAttempt"] > first["timestamp"]
    anywhere = made(api.get("/attempt"), 200)["data"]
    assert {one["attemptNumber"] for one in anywhere} == {1, 2}


def test_lists_are_filtered(
    api: httpx.Client, receiver_of: Callable[..., TestReceiver], settle: Callable[[], None]
) -> None:
    good, bad = receiver_of(), receiver_of(Answer(status=503))
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": good.url, "uid": "good"}))
    made(api.post("/app/s/endpoint", json={"url": bad.url, "uid": "bad", "channels": ["c"]}))
    one = {"eventType": "a.b", "payload": {}, "channels": ["c"], "tags": ["t1"]}
    first = made(api.post("/app/s/msg", json=one), 202)
    second = made(api.post("/app/s/msg", json={"eventType": "c.d", "payload": {}}), 202)
    settle()

    def listed(path: str, **params: object) -> list[str]:
        query = httpx.QueryParams({name: str(value) for name, value in params.items()})
        rows = made(api.get(path, params=query), 200)["data"]
        return [row["id"] for row in rows]

    newest_first = [second["id"], first["id"]]
    assert listed("/app/s/msg") == newest_first
    assert listed("/app/s/msg", channel="c") == [first["id"]]
    assert listed("/app/s/msg", tag="t1") == [first["id"]]
    assert listed("/app/s/msg", event_types="c.d,x.y") == [second["id"]]
    assert listed("/app/s/msg?event_types[]=c.d&event_types[1]=a.b") == newest_first
    assert listed("/app/s/msg", after="2020-01-01T00:00:00Z") == newest_first
    assert listed("/app/s/msg", after="2999-01-01T00:00:00") == []
    assert listed("/app/s/msg", before="2020-01-01T00:00:00Z") == []
    by_good = "/app/s/attempt/endpoint/good"
    assert len(listed(by_good)) == 2
    assert len(listed(by_good, status=0)) == 2
    assert listed(by_good, status=2) == []
    assert listed(by_good, status=1) == []
    assert len(listed("/app/s/attempt/endpoint/bad", status=2, status_code_class=500)) == 1
    assert listed("/app/s/attempt/endpoint/bad", status_code_class=400) == []
    by_message = f"/app/s/attempt/msg/{first['id']}"
    assert len(listed(by_message)) == 2
    assert len(listed(by_message, endpoint_id="bad")) == 1
    messages = made(api.get("/app/s/msg?with_content=false"), 200)["data"]
    assert [message["payload"] for message in messages] == [{}, {}]


def test_parameters_that_mean_nothing_here_are_refused(api: httpx.Client) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    for query, name in [
        ("limit=251", "limit"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("iterator=nonsense", "iterator"),
        ("with_content=maybe", "with_content"),
        ("before=yesterday", "before"),
        ("event_type=a.b", "event_type"),
        ("channel=a%20b", "channel"),
        ("limit=1&limit=2", "limit"),
    ]:
        loc, _ = fault(api.get(f"/app/s/msg?{query}"))
        assert loc == ["query", name], query
