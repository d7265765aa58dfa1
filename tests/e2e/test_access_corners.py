"""Corners of access: what is no way round a scope, outlives nothing, and leaves nothing behind."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketbell.control.portal import FLAGS_CHARACTERS_MAX, FLAGS_MAX
from marketbell.control.tokens import create_token

Callers = Callable[..., httpx.Client]
KEY_ONCE = {"idempotency-key": "one"}


@pytest.fixture
def with_scopes(live: Any, organization: str, http: httpx.Client) -> Callable[..., dict[str, str]]:
    """The header of a signed token that may do only so much."""
    del http

    def make(*scopes: str) -> dict[str, str]:
        now = live.clock.now()
        secret = live.settings.jwt_secret
        token = create_token(secret, organization, now, 60_000, scopes=frozenset(scopes))
        return {"authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def http(live_url: str) -> Any:
    with httpx.Client(base_url=live_url) as client:
        yield client


def test_a_token_with_scopes_cannot_repeat_the_making_of_a_key_that_may_more(
    api: httpx.Client, http: httpx.Client, with_scopes: Callable[..., dict[str, str]]
) -> None:
    body = {"name": "everything"}
    made = api.post("/auth/api-token", json=body, headers=KEY_ONCE)
    assert made.json()["scopes"] is None
    again = http.post(
        "/auth/api-token", json=body, headers={**KEY_ONCE, **with_scopes("access:write")}
    )
    assert again.status_code == 409, again.text
    assert made.json()["token"] not in again.text
    assert api.post("/auth/api-token", json=body, headers=KEY_ONCE).json() == made.json()


def test_a_word_that_is_no_scope_gives_nothing_and_stops_nothing(
    http: httpx.Client, with_scopes: Callable[..., dict[str, str]]
) -> None:
    headers = with_scopes("access:write", "of:tomorrow")
    made = http.post("/auth/api-token", json={"name": "k"}, headers=headers)
    assert made.status_code == 201, made.text
    assert made.json()["scopes"] == ["access:write"]


def test_a_deleted_applications_token_and_key_are_good_for_nothing(
    api: httpx.Client, http: httpx.Client, client_of: Callers, organization: str
) -> None:
    app = api.post("/app", json={"name": "A", "uid": "a"}).json()["id"]
    key = api.post("/auth/api-token", json={"name": "k", "appId": "a"}).json()["token"]
    seller = client_of(organization, app)
    own = {"authorization": f"Bearer {key}"}
    assert seller.get("/event-type").status_code == 200
    assert http.get("/event-type", headers=own).status_code == 200
    assert api.delete("/app/a").status_code == 204
    for answer in (seller.get("/event-type"), http.get("/event-type", headers=own)):
        assert answer.status_code == 401
        assert "deleted" in answer.json()["detail"]
    assert seller.get(f"/app/{app}/endpoint").status_code == 404


@pytest.mark.parametrize(
    ("count", "length"), [(FLAGS_MAX, 1), (FLAGS_MAX // 4, FLAGS_CHARACTERS_MAX // FLAGS_MAX * 4)]
)
def test_a_token_with_as_many_flags_as_there_may_be_is_good(
    api: httpx.Client, http: httpx.Client, count: int, length: int
) -> None:
    api.post("/app", json={"name": "A", "uid": "a"})
    flags = [f"{place:02}".rjust(length, "f")[-max(2, length) :] for place in range(count)]
    made = api.post("/auth/app-portal-access/a", json={"featureFlags": flags})
    assert made.status_code == 200, made.text
    own = {"authorization": f"Bearer {made.json()['token']}"}
    assert http.get("/event-type", headers=own).status_code == 200


@pytest.mark.parametrize(
    "flags",
    [["f" + str(place) for place in range(FLAGS_MAX + 1)], ["f" * 250 + str(n) for n in range(17)]],
)
def test_flags_that_no_token_can_carry_are_refused(api: httpx.Client, flags: list[str]) -> None:
    api.post("/app", json={"name": "A", "uid": "a"})
    refused = api.post("/auth/app-portal-access/a", json={"featureFlags": flags})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "featureFlags"]


def test_a_server_that_cannot_sign_makes_no_application_by_the_way(
    tmp_path: Path, node_at: Callable[..., Any]
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with node_at(tmp_path, jwt_algorithm="EdDSA", jwt_public_key=public) as live:
        token = create_token(pem, "org_a", live.clock.now(), 60_000, algorithm="EdDSA")
        with httpx.Client(
            base_url=f"{live.url}/api/v1", headers={"authorization": f"Bearer {token}"}
        ) as own:
            refused = own.post(
                "/auth/app-portal-access/new", json={"application": {"name": "N", "uid": "new"}}
            )
            assert refused.status_code == 403
            assert "cannot sign" in refused.json()["detail"]
            assert own.get("/app").json()["data"] == []


def test_a_refused_operational_endpoint_leaves_no_entry(api: httpx.Client) -> None:
    path = "/operational-webhook/endpoint"
    body = {"url": "http://127.0.0.1:1/", "filterTypes": ["endpoint.disabled"]}
    assert api.post(path, json=body).status_code == 422
    assert api.get("/audit-log").json()["data"] == []
    made = api.post(path, json={**body, "url": "http://127.0.0.1:8099/"})
    (entry,) = api.get("/audit-log").json()["data"]
    assert (entry["appId"], entry["endpointId"]) == (None, made.json()["id"])


def test_the_query_of_a_url_is_not_in_the_log(api: httpx.Client) -> None:
    api.post("/app", json={"name": "A", "uid": "a"})
    url = "http://127.0.0.1:8099/hooks"
    assert api.post("/app/a/endpoint", json={"url": f"{url}?key=hidden", "uid": "e"}).is_success
    assert api.patch("/app/a/endpoint/e", json={"url": f"{url}?key=hidden2"}).is_success
    entries = api.get("/audit-log").json()["data"]
    assert "hidden" not in str(entries)
    assert entries[0]["fields"] == [{"field": "url", "old": f"{url}?…", "new": f"{url}?…"}]


def test_each_proxy_may_add_a_line_of_its_own(tmp_path: Path, node_at: Callable[..., Any]) -> None:
    trusted = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "10.0.0.0/8")))
    with node_at(tmp_path, trusted_proxies=trusted) as live:
        lines = [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("x-forwarded-for", "10.0.0.1")]
        api = live.client()
        assert api.post("/app", json={"name": "A"}, headers=lines).status_code == 201
        assert api.get("/audit-log").json()["data"][0]["sourceAddress"] == "203.0.113.9"


@pytest.mark.parametrize("path", ["/portal", "/portal/static/portal.css", "/metrics"])
def test_a_method_that_a_page_does_not_have_is_answered_like_any_other(
    live: Any, path: str
) -> None:
    answer = httpx.delete(live.url + path)
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"]
