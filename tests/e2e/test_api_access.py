"""Keys, ends of tokens and limits over HTTP, on the router's way and on the hot one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from svix import Svix, SvixOptions
from svix.api import ApplicationIn, ApplicationTokenExpireIn, MessageIn
from svix.exceptions import HttpError

from marketbell.control.tokens import create_token

LiveNodes = Callable[..., Any]
Sdks = Callable[[str], Svix]
MESSAGE = {"eventType": "a.b", "payload": {"x": 1}}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def new_key(api: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = api.post("/auth/api-token", json={"name": "robot", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
def app(api: httpx.Client) -> str:
    """An application's id."""
    made = api.post("/app", json={"name": "A", "uid": "seller"})
    return str(made.json()["id"])


def both_ways(http: httpx.Client, app: str, token: str) -> set[int]:
    """The statuses of publishing ahead of ASGI, through it, and of a read."""
    path, headers = f"/app/{app}/msg", bearer(token)
    return {
        http.post(path, json=MESSAGE, headers=headers).status_code,
        http.post(path + "/", json=MESSAGE, headers=headers).status_code,
        http.get(f"/app/{app}", headers=headers).status_code,
    }


@pytest.fixture
def http(live_url: str) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=live_url) as client:
        yield client


@pytest.fixture
def sdk_of(live_url: str) -> Iterator[Sdks]:
    """The official client with a token."""
    made: list[Svix] = []

    def make(token: str) -> Svix:
        server = live_url.removesuffix("/api/v1")
        made.append(Svix(token, SvixOptions(server_url=server, retry_schedule=[])))
        return made[-1]

    yield make
    for client in made:
        client._httpx_client.close()


# -- keys


def test_a_key_works_with_the_sdk(api: httpx.Client, sdk_of: Sdks) -> None:
    key = new_key(api)
    client = sdk_of(key["token"])
    made = client.application.create(ApplicationIn(name="A", uid="by-key"))
    sent = client.message.create(made.id, MessageIn(event_type="a.b", payload={"x": 1}))
    assert client.message.get("by-key", sent.id).id == sent.id
    client.authentication.logout()
    with pytest.raises(HttpError) as refused:
        client.application.list()
    assert refused.value.status_code == 401


def test_the_sdk_ends_all_tokens_of_an_application(
    api: httpx.Client, sdk_of: Sdks, app: str, token_of: Any, organization: str, http: httpx.Client
) -> None:
    client = sdk_of(token_of(organization))
    seller = token_of(organization, app)
    key = new_key(api, appId="seller")
    assert key["appId"] == app
    for token in (seller, key["token"]):
        assert http.get(f"/app/{app}", headers=bearer(token)).status_code == 200
    client.authentication.expire_all(app, ApplicationTokenExpireIn(expiry=3600))
    for token in (seller, key["token"]):
        assert http.get(f"/app/{app}", headers=bearer(token)).status_code == 200
    client.authentication.expire_all("seller", ApplicationTokenExpireIn())
    for token in (seller, key["token"]):
        assert http.get(f"/app/{app}", headers=bearer(token)).status_code == 401
    anew = token_of(organization, app)
    assert http.get(f"/app/{app}", headers=bearer(anew)).status_code == 200
    assert api.get("/app").status_code == 200


def test_a_key_is_shown_whole_once(api: httpx.Client) -> None:
    key = new_key(api, scopes=["message:read"], expiry=60)
    assert key["token"].startswith(key["id"] + "_")
    answer = api.get(f"/auth/api-token/{key['id']}")
    assert answer.json() == {name: key[name] for name in key if name != "token"}
    listed = api.get("/auth/api-token").json()["data"]
    assert listed == [answer.json()]


def test_a_repeated_creation_gives_the_same_key_to_the_same_caller_alone(
    api: httpx.Client, http: httpx.Client
) -> None:
    mark = {"idempotency-key": "once-1"}
    answers = [api.post("/auth/api-token", json={"name": "robot"}, headers=mark) for _ in range(2)]
    assert answers[0].status_code == answers[1].status_code == 201
    assert answers[0].json() == answers[1].json()
    assert len(api.get("/auth/api-token").json()["data"]) == 1
    other = new_key(api, scopes=["access:write"])
    stolen = http.post(
        "/auth/api-token", json={"name": "robot"}, headers=mark | bearer(other["token"])
    )
    assert stolen.status_code == 409
    assert answers[0].json()["token"] not in stolen.text


def test_a_revoked_key_is_401_at_once_on_every_way(
    api: httpx.Client, http: httpx.Client, app: str
) -> None:
    key = new_key(api)
    assert both_ways(http, app, key["token"]) == {202, 200}
    assert api.post(f"/auth/api-token/{key['id']}/expire").status_code == 204
    assert both_ways(http, app, key["token"]) == {401}
    assert api.get(f"/auth/api-token/{key['id']}").json()["revokedAt"] is not None


def test_a_token_that_logs_out_takes_no_other_with_it(
    http: httpx.Client, app: str, token_of: Any, organization: str
) -> None:
    out = token_of(organization)
    other = next(made for _ in range(100_000) if (made := token_of(organization)) != out)
    assert both_ways(http, app, out) == {202, 200}
    assert http.post("/auth/logout", headers=bearer(out)).status_code == 204
    assert both_ways(http, app, out) == {401}
    assert both_ways(http, app, other) == {202, 200}
    seller = token_of(organization, app)
    assert http.post("/auth/logout", headers=bearer(seller)).status_code == 204
    assert http.get(f"/app/{app}", headers=bearer(seller)).status_code == 401


def test_an_organizations_tokens_end_and_nobody_elses(
    api: httpx.Client,
    http: httpx.Client,
    app: str,
    client_of: Any,
    token_of: Any,
    organization: str,
) -> None:
    other = client_of(f"{organization}_other")
    seller, key = token_of(organization, app), new_key(api)["token"]
    path = "/auth/organization/expire-all"
    assert api.post(path, json={"organization": "org_another"}).status_code == 422
    assert api.post(path, json={"organization": organization}).status_code == 204
    for token in (seller, key):
        assert http.get(f"/app/{app}", headers=bearer(token)).status_code == 401
    assert api.get("/app").status_code == 401
    assert other.get("/app").status_code == 200
    assert http.get("/app", headers=bearer(token_of(organization))).status_code == 200


def test_a_key_cannot_make_an_application_by_the_way(api: httpx.Client, http: httpx.Client) -> None:
    body = {**MESSAGE, "application": {"name": "new", "uid": "new"}}
    for scopes, status in ((["message:write"], 403), (["message:write", "application:write"], 202)):
        token = new_key(api, scopes=scopes)["token"]
        answer = http.post("/app/new/msg", json=body, headers=bearer(token))
        assert answer.status_code == status, answer.text
        assert api.get("/app/new").status_code == (404 if status == 403 else 200)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "scopes": ["all"]}, "scopes"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "expiry": 0}, "expiry"),
        ({"name": "x", "role": "admin"}, "role"),
    ],
)
def test_a_key_that_cannot_be_is_422_and_none_is_made(
    api: httpx.Client, body: dict[str, Any], field: str
) -> None:
    answer = api.post("/auth/api-token", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert api.get("/auth/api-token").json()["data"] == []


def test_sessions_are_not_passed_over_in_silence(api: httpx.Client, app: str) -> None:
    path = f"/auth/app/{app}/expire-all"
    assert api.post(path, json={"sessionIds": ["s"]}).status_code == 422
    assert api.post(path, json={"expiry": -1}).status_code == 422
    assert api.post(path, json={"sessionIds": None, "expiry": None}).status_code == 204


# -- limits, durability and logs, each on a node of its own


@pytest.fixture
def node_of(tmp_path: Path, own_node: LiveNodes) -> LiveNodes:
    """A node in the test's own folder."""
    return lambda **changes: own_node(tmp_path, **changes)


def test_failed_logins_are_429_and_good_tokens_go_on(node_of: LiveNodes) -> None:
    with node_of(failed_logins_max=3) as live:
        api = live.client()
        assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201
        statuses = []
        for number in range(5):
            bad = api.post("/app/s/msg", json=MESSAGE, headers=bearer(f"bad{number}"))
            statuses.append(bad.status_code)
        assert statuses == [401, 401, 401, 429, 429]
        assert int(bad.headers["retry-after"]) >= 1
        assert bad.json()["code"] == "rate_limited"
        assert api.post("/app/s/msg", json=MESSAGE).status_code == 202
        assert api.get("/app").status_code == 200


def test_requests_of_one_token_are_429_on_every_way(node_of: LiveNodes) -> None:
    with node_of(requests_per_second_max=1) as live:
        api, other = live.client(), live.client("org_other")
        assert api.post("/app/none/msg", json=MESSAGE).status_code == 404
        for method, path in (("POST", "/app/none/msg"), ("GET", "/app"), ("POST", "/app/x/msg/")):
            answer = api.request(method, path, json=MESSAGE)
            assert answer.status_code == 429, (method, path)
            assert answer.headers["retry-after"] == "1"
        assert other.get("/app").status_code == 200
        assert api.get("/health").status_code == 200


def test_what_was_revoked_stays_so_across_a_restart(node_of: LiveNodes) -> None:
    with node_of() as live:
        api = live.client()
        secret = live.settings.jwt_secret
        keys = [new_key(api) for _ in range(2)]
        out = live.client().headers["authorization"]
        with httpx.Client(base_url=f"{live.url}/api/v1") as http:
            assert http.post("/auth/logout", headers={"authorization": out}).status_code == 204
        revoked = live.clock.now()
        again = create_token(secret, "org_test", revoked + 1, 60_000)
        with httpx.Client(base_url=f"{live.url}/api/v1", headers=bearer(again)) as own:
            assert own.post(f"/auth/api-token/{keys[0]['id']}/expire").status_code == 204
    with node_of() as live, httpx.Client(base_url=f"{live.url}/api/v1") as http:
        assert http.get("/app", headers={"authorization": out}).status_code == 401
        assert http.get("/app", headers=bearer(keys[0]["token"])).status_code == 401
        assert http.get("/app", headers=bearer(keys[1]["token"])).status_code == 200


def test_no_token_is_ever_in_a_log(
    node_of: LiveNodes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with node_of(log_level="debug") as live:
        api = live.client()
        tokens = [live.token(), new_key(api)["token"], "Some-Wrong-Token-1", "mbk_" + "1" * 71]
        app = api.post("/app", json={"name": "A"}).json()["id"]
        tokens.append(live.token("org_test", app))
        api.post(f"/app/{app}/endpoint", json={"url": "http://127.0.0.1:49151/"})
        for token in tokens:
            for method, path in (("GET", "/app"), ("POST", f"/app/{app}/msg"), ("POST", "/none")):
                api.request(method, path, json=MESSAGE, headers=bearer(token))
        live.settle()
        live.run(live.node.store.aclose())  # and what fails is logged too
        assert api.post("/app", json={"name": "B"}).status_code == 503
        new = live.token("org_new")
        assert api.get("/app", headers=bearer(new)).status_code >= 500
        tokens.append(new)
    out, err = capfd.readouterr()
    # What the test's own client says of itself is not the server's.
    ours = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("marketbell")
    )
    seen = f"{out}\n{err}\n{ours}"
    assert "request failed" in seen
    for token in (*tokens, live.settings.jwt_secret.decode()):
        assert token not in seen
        assert token[-20:] not in seen


def test_the_audit_log_says_which_key_it_was(api: httpx.Client, http: httpx.Client) -> None:
    key = new_key(api, scopes=["application:write"])
    http.post("/app", json={"name": "A"}, headers=bearer(key["token"]))
    entries = api.get("/audit-log").json()["data"]
    assert f"key {key['id']}" in {entry["actor"] for entry in entries}
    assert key["token"][len(key["id"]) + 1 :] not in json.dumps(entries)
