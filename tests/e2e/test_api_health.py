"""Health, and what is answered when the store cannot take anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx


def test_health_tells_of_its_parts_and_ping_of_nothing(api: httpx.Client) -> None:
    for path in ("/health", "/health/"):
        response = httpx.get(f"{api.base_url}{path.lstrip('/')}")
        assert response.status_code == 200
        assert response.json() == {
            part: {"status": "ok"} for part in ("database", "queue", "cache")
        }
    head = httpx.head(f"{api.base_url}health")
    assert (head.status_code, head.content) == (200, b"")
    ping = httpx.get(f"{api.base_url}health/ping")
    assert (ping.status_code, ping.content) == (204, b"")


def test_a_store_that_is_closed_is_503_with_retry_after_and_bad_health(
    closed_store: Callable[[Path], AbstractContextManager[httpx.Client]], tmp_path: Path
) -> None:
    with closed_store(tmp_path) as api:
        good = {"eventType": "a", "payload": {}}
        for response in (
            api.post("/app/s/msg", json=good),
            api.post("/app/s/msg/batch", json={"messages": [good]}),
            api.post("/app", json={"name": "B"}),
        ):
            assert response.status_code == 503, response.text
            assert response.json()["code"] == "unavailable"
            assert response.headers["retry-after"] == "1"
        health = api.get("/health")
        assert (health.status_code, health.json()["database"]) == (503, {"status": "error"})
        assert health.headers["retry-after"] == "1"
        assert api.get("/health/ping").status_code == 204
