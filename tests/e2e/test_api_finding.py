"""One thing by its id alone: who asks does not know whose it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from marketbell.testing import TestReceiver


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.fixture
def delivered(
    api: httpx.Client, receiver_of: Callable[..., TestReceiver], settle: Callable[[], None]
) -> dict[str, Any]:
    """An application `s`, its endpoint, a message and the attempt at it."""
    app = made(api.post("/app", json={"name": "A", "uid": "s"}))
    endpoint = made(api.post("/app/s/endpoint", json={"url": receiver_of().url, "uid": "e"}))
    given = {"eventType": "a.b", "payload": {"x": 1}, "eventId": "n1"}
    message = made(api.post("/app/s/msg", json=given), 202)
    settle()
    (attempt,) = made(api.get("/app/s/attempt/msg/n1?with_content=true"), 200)["data"]
    return {"app": app, "endpoint": endpoint, "msg": message, "attempt": attempt}


def test_what_is_found_is_what_its_own_path_shows_and_whose_it_is(
    api: httpx.Client, delivered: dict[str, Any]
) -> None:
    own = {
        "endpoint": "/app/s/endpoint/e",
        "msg": "/app/s/msg/n1",
        "attempt": f"/app/s/msg/n1/attempt/{delivered['attempt']['id']}",
    }
    for kind, path in own.items():
        found = made(api.get(f"/{kind}/{delivered[kind]['id']}"), 200)
        assert found.pop("appId") == delivered["app"]["id"]
        if kind == "attempt":
            assert found.pop("msg")["id"] == delivered["msg"]["id"]
        assert found == made(api.get(path), 200)
    bare = made(api.get(f"/msg/{delivered['msg']['id']}?with_content=false"), 200)
    assert bare["payload"] == {}


def test_what_is_not_there_or_anothers_is_404(
    api: httpx.Client, delivered: dict[str, Any], live: Any
) -> None:
    stranger = {"authorization": f"Bearer {live.token('org_stranger')}"}
    answers = set()
    for kind in ("endpoint", "msg", "attempt"):
        public_id = delivered[kind]["id"]
        prefix = public_id.partition("_")[0]
        others = api.get(f"/{kind}/{public_id}", headers=stranger)
        unknown = f"{prefix}_{'0' * 27}"
        nobodys = api.get(f"/{kind}/{unknown}")
        assert others.status_code == nobodys.status_code == 404
        assert others.text.replace(public_id, unknown) == nobodys.text
        assert unknown in nobodys.json()["detail"]
        for no_id in ("n1", "s", "e", "%00", prefix + "_" + "z" * 27):
            assert api.get(f"/{kind}/{no_id}").status_code == 404
        answers.add(nobodys.json()["detail"])
    assert len(answers) == 3


def test_what_was_deleted_is_named_with_its_application(
    api: httpx.Client, delivered: dict[str, Any]
) -> None:
    endpoint, message, app = (delivered[kind]["id"] for kind in ("endpoint", "msg", "app"))
    assert api.delete("/app/s/endpoint/e").status_code == 204
    gone = api.get(f"/endpoint/{endpoint}")
    assert (gone.status_code, app in gone.json()["detail"]) == (404, True)
    assert made(api.get(f"/msg/{message}"), 200)["appId"] == app
    assert api.delete("/app/s").status_code == 204
    for path in (f"/msg/{message}", f"/attempt/{delivered['attempt']['id']}"):
        gone = api.get(path)
        assert (gone.status_code, app in gone.json()["detail"]) == (404, True)


def test_an_operational_endpoint_is_told_as_one(api: httpx.Client) -> None:
    form = {"url": "http://127.0.0.1:49151/"}
    endpoint = made(api.post("/operational-webhook/endpoint", json=form))["id"]
    answer = api.get(f"/endpoint/{endpoint}")
    assert answer.status_code == 404
    assert "/api/v1/operational-webhook/endpoint" in answer.json()["detail"]


def test_what_was_sent_to_operators_is_not_said_to_have_a_path(
    api: httpx.Client, live: Any, receiver_of: Callable[..., TestReceiver]
) -> None:
    operators = receiver_of()
    made(api.post("/operational-webhook/endpoint", json={"url": operators.url}))
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": "http://127.0.0.1:49151/"}))
    (sent,) = live.run(operators.wait_for(1))
    answer = api.get(f"/msg/{sent.header('webhook-id')}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "It is an operational message, which no path shows."
