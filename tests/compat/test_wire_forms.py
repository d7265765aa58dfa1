"""What older clients and other languages send: paths by uid and id, slashes, filters in every form."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import pytest

from e2e.conftest import LiveNode
from marketbell.testing import TestReceiver

READS = (
    "/app",
    "/app/{app}",
    "/app/{app}/endpoint",
    "/app/{app}/endpoint/{endpoint}",
    "/app/{app}/endpoint/{endpoint}/headers",
    "/app/{app}/endpoint/{endpoint}/secret",
    "/app/{app}/endpoint/{endpoint}/stats",
    "/app/{app}/endpoint/{endpoint}/msg",
    "/app/{app}/msg",
    "/app/{app}/msg/{message}",
    "/app/{app}/msg/{message}/endpoint",
    "/app/{app}/msg/{message}/attempt",
    "/app/{app}/msg/{message}/endpoint/{endpoint}/attempt",
    "/app/{app}/msg/{message}/attempt/{attempt}",
    "/app/{app}/attempt/msg/{message}",
    "/app/{app}/attempt/endpoint/{endpoint}",
    "/event-type",
    "/event-type/{event_type}",
    "/health",
    "/health/ping",
)
"""Every path that the open-source server reads at, documented or not."""


@pytest.fixture
def api(live: LiveNode, organization: str) -> httpx.Client:
    return live.client(organization)


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.fixture
def names(live: LiveNode, api: httpx.Client) -> list[dict[str, str]]:
    """Two ways to name one of each: by its own uid, and by its id."""
    receiver: TestReceiver = live.receiver()
    app = made(api.post("/app/", json={"name": "A", "uid": "my.app-1_x"}))
    event_type = made(api.post("/event-type/", json={"name": "part.sold", "description": ""}))
    endpoint = made(api.post("/app/my.app-1_x/endpoint/", json={"url": receiver.url, "uid": "e"}))
    body = {"eventType": "part.sold", "payload": {}, "eventId": "n-1"}
    message = made(api.post(f"/app/{app['id']}/msg/", json=body), 202)
    live.run(receiver.wait_for(1))
    live.settle()
    (attempt,) = made(api.get("/app/my.app-1_x/attempt/msg/n-1/"), 200)["data"]
    same = {"attempt": attempt["id"], "event_type": event_type["name"]}
    return [
        {"app": "my.app-1_x", "endpoint": "e", "message": "n-1", **same},
        {"app": app["id"], "endpoint": endpoint["id"], "message": message["id"], **same},
    ]


def test_every_path_takes_uids_and_ids_with_and_without_a_slash(
    api: httpx.Client, names: list[dict[str, str]]
) -> None:
    for path in READS:
        first = api.get(path.format(**names[0]))
        assert first.is_success, f"{path}: {first.status_code} {first.text}"
        for named, slash in itertools.product(names, ("", "/")):
            answer = api.get(path.format(**named) + slash)
            assert (answer.status_code, answer.content) == (first.status_code, first.content), path
            head = api.head(path.format(**named) + slash)
            assert (head.status_code, head.content) == (first.status_code, b""), path


def test_writing_takes_a_slash_too(api: httpx.Client, names: list[dict[str, str]]) -> None:
    by_uid, by_id = names
    endpoint = {"url": "https://example.com/", "uid": "e"}
    for named in (by_id, by_uid):
        app = f"/app/{named['app']}"
        own = f"{app}/endpoint/{named['endpoint']}"
        message = f"{app}/msg/{named['message']}"
        assert api.post(f"{message}/endpoint/{named['endpoint']}/resend/").status_code == 202
        assert api.patch(f"{app}/", json={"name": "B"}).status_code == 200
        assert api.put(f"{own}/", json=endpoint).status_code == 200
        assert api.put(f"{own}/headers/", json={"headers": {}}).status_code == 204
        assert api.post(f"{own}/secret/rotate/", json={}).is_success
        assert api.delete(f"{message}/attempt/{named['attempt']}/content/").status_code == 204
    assert api.delete(f"/app/{by_uid['app']}/msg/n-1/content/").status_code == 204
    assert api.delete(f"/app/{by_uid['app']}/endpoint/e/").status_code == 204
    assert api.delete(f"/app/{by_uid['app']}/").status_code == 204
    assert api.get(f"/app/{by_id['app']}/").status_code == 404


FORMS = (
    "event_types=a,b.c",
    "event_types=a%2Cb.c",
    "event_types=a&event_types=b.c",
    "event_types[]=a&event_types[]=b.c",
    "event_types%5B%5D=a&event_types%5B%5D=b.c",
    "event_types[0]=a&event_types[1]=b.c",
    "event_types%5B1%5D=b.c&event_types%5B0%5D=a",
    "event_types=a,a&event_types=b.c",
)


def test_event_types_are_taken_in_every_form(live: LiveNode, api: httpx.Client) -> None:
    receiver = live.receiver()
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    made(api.post("/app/s/endpoint", json={"url": receiver.url, "uid": "e"}))
    ids = [
        made(api.post("/app/s/msg", json={"eventType": kind, "payload": {}}), 202)["id"]
        for kind in ("a", "b.c", "d", "a.b")
    ]
    live.run(receiver.wait_for(4))
    live.settle()
    lists = {
        "/app/s/msg": "id",
        "/app/s/endpoint/e/msg": "id",
        "/app/s/attempt/endpoint/e": "msgId",
    }
    for (path, field), form in itertools.product(lists.items(), FORMS):
        data = made(api.get(f"{path}?{form}"), 200)["data"]
        assert sorted(one[field] for one in data) == sorted(ids[:2]), (path, form)
    for message, form in itertools.product(ids, FORMS):
        data = made(api.get(f"/app/s/attempt/msg/{message}?{form}"), 200)["data"]
        assert len(data) == (message in ids[:2]), form
