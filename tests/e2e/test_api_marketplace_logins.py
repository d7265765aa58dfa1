"""A seller's login at a marketplace: made over the API, shown once, good for the marketplace's calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import LiveNode, live_node

ACTION = {"Version": "1.0", "Format": "JSON", "Action": "GetWebhooks"}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node that serves the marketplaces' own APIs too."""
    folder: Path = tmp_path_factory.mktemp("market")
    with live_node(folder, marketplaces=True, marketplace_port=0) as node:
        yield node


def seller(api: httpx.Client, marketplace: str) -> str:
    body = {"name": "S", "metadata": {"marketbell.dialect": marketplace}}
    return f"/app/{api.post('/app', json=body).json()['id']}/marketplace-login"


def parts(market: LiveNode, login: dict[str, str]) -> str:
    """The status code of a call of Ovoko's API."""
    answer = httpx.post(f"{market.node.marketplace_url}/get/part_status", data=login)
    return str(answer.json()["status_code"])


def webhooks(market: LiveNode, login: dict[str, str]) -> dict[str, Any]:
    """The answer to a call of Seller Center's API."""
    from marketbell.marketplace.sellercenter.signature import sign

    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    parameters = {**ACTION, "UserID": login["UserID"], "Timestamp": stamp}
    parameters["Signature"] = sign(parameters, login["ApiKey"])
    found: dict[str, Any] = httpx.get(str(market.node.marketplace_url), params=parameters).json()
    return found


def test_what_is_shown_once_lets_a_seller_of_ovoko_in_until_it_is_deleted(
    market: LiveNode,
) -> None:
    api = market.client("org_ovoko")
    path = seller(api, "ovoko")
    made = api.post(path, json={"marketplace": "ovoko", "user": "kaunas/ünïts"})
    assert made.status_code == 201
    login = made.json()
    assert login["user"] == login["login"]["username"] == "kaunas/ünïts"
    assert set(login["login"]) == {"username", "password", "user_token"}
    assert parts(market, login["login"]) == "R200"
    shown = {name: value for name, value in login.items() if name != "login"}
    assert api.get(path).json() == {"data": [shown]}
    assert api.get(f"{path}/{login['id']}").json() == shown
    assert api.delete(f"{path}/{login['id']}").status_code == 204
    assert parts(market, login["login"]) == "R403"
    assert api.get(path).json() == {"data": []}
    assert api.delete(f"{path}/{login['id']}").status_code == 404


def test_what_is_shown_once_signs_calls_of_seller_center(market: LiveNode) -> None:
    api = market.client("org_sellercenter")
    path = seller(api, "sellercenter")
    login = api.post(path, json={"marketplace": "sellercenter"}).json()["login"]
    assert "SuccessResponse" in webhooks(market, login)
    assert "ErrorResponse" in webhooks(market, {**login, "ApiKey": "0" * 40})


def test_a_repeated_request_makes_one_login(market: LiveNode) -> None:
    api = market.client("org_once")
    path = seller(api, "ovoko")
    key = {"idempotency-key": "a-login"}
    first = api.post(path, json={"marketplace": "ovoko"}, headers=key)
    again = api.post(path, json={"marketplace": "ovoko"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(api.get(path).json()["data"]) == 1
    other = api.post(path, json={"marketplace": "sellercenter"}, headers=key)
    assert other.status_code == 409


def test_the_answer_with_secrets_is_repeated_for_its_own_caller_alone(market: LiveNode) -> None:
    api = market.client("org_callers")
    path = seller(api, "ovoko")
    key = {"idempotency-key": "mine"}
    made = api.post(path, json={"marketplace": "ovoko"}, headers=key).json()
    token = api.post("/auth/api-token", json={"name": "k", "scopes": ["access:write"]}).json()
    another = {**key, "authorization": f"Bearer {token['token']}"}
    answer = httpx.post(f"{api.base_url}{path[1:]}", json={"marketplace": "ovoko"}, headers=another)
    assert answer.status_code == 409
    assert made["login"]["password"] not in answer.text


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "marketplace"),
        ({"marketplace": "ebay"}, "marketplace"),
        ({"marketplace": "ovoko", "user": ""}, "user"),
        ({"marketplace": "ovoko", "user": "x" * 256}, "user"),
        ({"marketplace": "ovoko", "user": "a\nb"}, "user"),
        ({"marketplace": "ovoko", "name": "x"}, "name"),
    ],
)
def test_what_is_wrong_is_named(market: LiveNode, body: dict[str, str], place: str) -> None:
    api = market.client("org_wrong")
    path = seller(api, "ovoko")
    answer = api.post(path, json=body)
    assert answer.status_code == 422
    assert place in str(answer.json()["detail"][0])
    assert api.get(path).json() == {"data": []}


def test_a_taken_name_is_refused(market: LiveNode) -> None:
    api = market.client("org_taken")
    body = {"marketplace": "ovoko", "user": "taken"}
    assert api.post(seller(api, "ovoko"), json=body).status_code == 201
    answer = api.post(seller(api, "ovoko"), json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_the_audit_log_tells_of_it_and_not_of_secrets(market: LiveNode) -> None:
    api = market.client("org_audited")
    path = seller(api, "ovoko")
    login = api.post(path, json={"marketplace": "ovoko", "user": "audited"}).json()
    api.delete(f"{path}/{login['id']}")
    log = api.get("/audit-log")
    gone, made = log.json()["data"][:2]
    assert (made["operation"], gone["operation"]) == (
        "v1.marketplace-login.create",
        "v1.marketplace-login.delete",
    )
    assert made["appId"] == gone["appId"] == path.split("/")[2]
    assert {"field": "user", "old": None, "new": "audited"} in made["fields"] or {
        "field": "user",
        "new": "audited",
    } in made["fields"]
    assert not any(secret in log.text for secret in list(login["login"].values())[1:])


def test_an_applications_own_token_has_no_access(
    market: LiveNode, client_of: Callable[..., httpx.Client]
) -> None:
    del client_of
    api = market.client("org_own")
    path = seller(api, "ovoko")
    own = market.client("org_own", path.split("/")[2])
    assert own.get(path).status_code == 403
    assert own.post(path, json={"marketplace": "ovoko"}).status_code == 403
