"""On a scaled clock, which soon is days ahead, what lets people in lives on real time all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.conftest import LiveNode, live_node
from marketbell.assembly import make_janitor
from marketbell.clock import ScaledClock

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node whose clock makes a day of ten seconds, and is two hours ahead when a test begins."""
    folder: Path = tmp_path_factory.mktemp("fast")
    clock = ScaledClock(8640.0)
    with live_node(folder, clock) as node:
        while clock.now() - clock.real_now() < 2 * HOUR_MS:
            node.settle()
        yield node


def clean(fast: LiveNode) -> None:
    """Let a janitor remove what is over."""
    node = fast.node
    fast.run(make_janitor(fast.settings, fast.clock, node.store, node.observer).look())


def status(fast: LiveNode, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{fast.url}/api/v1/app", headers=headers).status_code


def test_a_key_is_good_until_it_is_revoked(fast: LiveNode) -> None:
    api = fast.client("org_keys")
    key = api.post("/auth/api-token", json={"name": "k", "expiry": 60}).json()
    assert status(fast, key["token"]) == 200
    assert api.post(f"/auth/api-token/{key['id']}/expire").status_code == 204
    assert status(fast, key["token"]) == 401


def test_all_tokens_end_at_once(fast: LiveNode) -> None:
    api = fast.client("org_all")
    key = api.post("/auth/api-token", json={"name": "k"}).json()
    ended = api.post("/auth/organization/expire-all", json={"organization": "org_all"})
    assert ended.status_code == 204
    assert status(fast, key["token"]) == 401
    assert api.get("/app").status_code == 401
    assert status(fast, fast.token("org_all")) == 200


def test_a_token_that_logs_out_is_out(fast: LiveNode) -> None:
    token = fast.token("org_out")
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.post(f"{fast.url}/api/v1/auth/logout", headers=headers).status_code == 204
    assert status(fast, token) == 401


def test_a_seller_comes_in_and_stays(fast: LiveNode) -> None:
    api = fast.client("org_portal")
    app = api.post("/app", json={"name": "Seller"}).json()["id"]
    link = api.post(f"/auth/app-portal-access/{app}", json={"expiry": 3600}).json()
    own = {"authorization": f"Bearer {link['token']}"}
    assert httpx.get(f"{fast.url}/api/v1/app/{app}", headers=own).status_code == 200
    with httpx.Client(base_url=fast.url) as browser:
        code = re.search(r"code=(\S+)", link["url"])
        assert code is not None
        clean(fast)
        assert browser.post("/portal/login", data={"code": code[1]}).status_code == 303
        clean(fast)
        assert browser.get("/portal").status_code == 200
        assert api.post(f"/auth/app/{app}/expire-all").status_code == 204
        assert browser.get("/portal").status_code == 401
