"""Once only: eventIds and idempotency keys, over HTTP on a real node."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

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


def test_a_repeated_event_id_is_a_conflict(api: httpx.Client, app: str) -> None:
    given = {"eventType": "a", "payload": {}, "eventId": "n1"}
    first = made(api.post(app, json=given))
    again = api.post(app, json=given)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert "n1" in again.json()["detail"]
    assert made(api.get("/app/s/msg/n1"), 200)["id"] == first["id"]


def test_a_repeated_key_gives_the_first_answer_and_another_body_a_conflict(
    api: httpx.Client, app: str
) -> None:
    for key in ("auto_1", "mine"):
        header = {"idempotency-key": key}
        given = {"eventType": "a", "payload": {"x": key}}
        before = count(api)
        first = made(api.post(app, json=given, headers=header))
        assert made(api.post(f"{app}/", json=given, headers=header)) == first
        other = api.post(app, json={**given, "eventType": "b"}, headers=header)
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        assert count(api) == before + 1
    bad = api.post(app, json={"eventType": "a", "payload": {}}, headers={"idempotency-key": "a b"})
    assert fault(bad)[0] == ["header", "idempotency-key"]


def test_requests_with_one_key_at_the_same_time_make_one_message(
    api: httpx.Client, app: str
) -> None:
    given = {"eventType": "a", "payload": {"x": 1}}

    def publish(_turn: int) -> str:
        header = {"idempotency-key": "auto_same"}
        found: str = made(api.post(app, json=given, headers=header))["id"]
        return found

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(publish, range(24)))) == 1
    assert count(api) == 1


def test_what_was_asked_once_stays_once_across_a_restart(
    serving: Callable[[Path], AbstractContextManager[httpx.Client]], tmp_path: Path
) -> None:
    message = {"eventType": "a", "payload": {"x": 1}}
    requests = [
        ("/app", {"name": "A", "uid": "s"}),
        ("/app/s/endpoint", {"url": URL, "disabled": True}),
        ("/event-type", {"name": "a", "description": "d"}),
        ("/app/s/msg", message),
        ("/app/s/msg/batch", {"messages": [message, {**message, "eventId": "n"}]}),
    ]

    def answers(api: httpx.Client) -> list[tuple[int, object]]:
        found = []
        for place, (path, body) in enumerate(requests):
            header = {"idempotency-key": f"auto_{place}"}
            response = api.post(path, json=body, headers=header)
            found.append((response.status_code, response.json()))
        return found

    with serving(tmp_path) as api:
        first = answers(api)
    assert [status for status, _ in first] == [201, 201, 201, 202, 202]
    with serving(tmp_path) as api:
        assert answers(api) == first
        assert count(api) == 3
