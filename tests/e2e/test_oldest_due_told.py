"""`marketbell_oldest_due_seconds` counts what waits in memory for its endpoint's rate limit."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from e2e.conftest import LiveNode, live_node
from marketbell.testing import FakeClock

NAME = "marketbell_oldest_due_seconds"


def told(live: LiveNode) -> float:
    """What the node's metrics say."""
    text = httpx.get(f"{live.url}/metrics").text
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == NAME]
    return family.samples[0].value


def test_what_waits_for_a_rate_limit_grows_older(tmp_path: Path) -> None:
    with live_node(tmp_path, FakeClock()) as live:
        api, shop = live.client(), live.receiver()
        application = api.post("/app", json={"name": "x"}).json()["id"]
        wanted = {"url": shop.url, "rateLimit": 1}
        assert api.post(f"/app/{application}/endpoint", json=wanted).status_code == 201
        message = {"eventType": "a.b", "payload": {}}
        for _ in range(6):
            assert api.post(f"/app/{application}/msg", json=message).status_code == 202
        live.settle()
        assert told(live) == 0.0
        for seconds in range(1, 4):
            live.advance(1_000)
            live.settle()
            assert told(live) == seconds
        for _ in range(4):
            live.advance(1_000)
            live.settle()
        assert told(live) == 0.0
