"""Who may do what: every route and every kind of token, over HTTP on a real node."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import msgspec
import pytest

from marketbell.api import bodies
from marketbell.api.call import Access
from marketbell.api.routes import PUBLISH, operations

MARK = "belongs-to-the-first-tenant"
URL = f"https://example.com/{MARK}"
NOW = 1_800_000_000

BODIES: dict[str, object] = {
    "v1.application.create": {"name": "A"},
    "v1.application.update": {"name": "A"},
    "v1.application.patch": {"name": "A"},
    "v1.endpoint.create": {"url": URL},
    "v1.endpoint.update": {"url": URL},
    "v1.endpoint.patch": {"url": URL},
    "v1.endpoint.update-headers": {"headers": {}},
    "v1.endpoint.patch-headers": {"headers": {}},
    "v1.endpoint.rotate-secret": {},
    "v1.event-type.create": {"name": "x", "description": "d"},
    "v1.message.create-batch": {"messages": [{"eventType": "a", "payload": {}}]},
    "v1.message.create": {"eventType": "a", "payload": {}},
}


class Route(msgspec.Struct, frozen=True):
    name: str
    method: str
    path: str
    access: Access


ROUTES = [
    *(Route(one.name, one.method, one.path, one.access) for one in operations()),
    Route("v1.message.create", PUBLISH[0], PUBLISH[1], PUBLISH[2]),
]
GUARDED = [route for route in ROUTES if route.access is not Access.NOBODY]


@pytest.fixture
def place(api: httpx.Client) -> dict[str, str]:
    """Ids of one tenant's things, each full of its mark."""
    app = api.post("/app", json={"name": MARK, "metadata": {"k": MARK}}).json()["id"]
    endpoint = {"url": URL, "description": MARK, "disabled": True}
    event_type = {"name": "known.name", "description": MARK}
    assert api.post("/event-type", json=event_type).status_code == 201
    message = {"eventType": MARK, "payload": {"x": MARK}}
    return {
        "app_id": app,
        "endpoint_id": api.post(f"/app/{app}/endpoint", json=endpoint).json()["id"],
        "msg_id": api.post(f"/app/{app}/msg", json=message).json()["id"],
        "attempt_id": "atmpt_000000000000000000000000000",
        "event_type_name": "known.name",
    }


def call(client: httpx.Client, route: Route, place: dict[str, str]) -> httpx.Response:
    path = route.path.removeprefix("/api/v1").format(**place)
    return client.request(route.method, path, json=BODIES.get(route.name))


def test_the_routes_are_those_of_the_table() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {route.name for route in ROUTES} >= BODIES.keys()


def test_without_a_token_every_route_is_401(live_url: str, place: dict[str, str]) -> None:
    with httpx.Client(base_url=live_url) as nobody:
        for route in GUARDED:
            response = call(nobody, route, place)
            assert response.status_code == 401, route
            assert response.json()["code"] == "authentication_failed"
            assert response.headers["www-authenticate"] == "Bearer"
            assert MARK not in response.text


def test_another_organization_sees_nothing(
    client_of: Callable[..., httpx.Client], place: dict[str, str], organization: str
) -> None:
    other = client_of(f"{organization}_other")
    for route in GUARDED:
        response = call(other, route, place)
        if "{" in route.path:
            assert response.status_code == 404, (route, response.text)
        else:
            assert response.status_code in {200, 201}, (route, response.text)
        assert MARK not in response.text, route


def test_an_applications_token_reaches_its_own_and_no_other(
    client_of: Callable[..., httpx.Client],
    api: httpx.Client,
    place: dict[str, str],
    organization: str,
) -> None:
    application = api.post("/app", json={"name": "B"}).json()["id"]
    stranger = client_of(organization, application)
    own = client_of(organization, place["app_id"])
    for route in GUARDED:
        if route.method == "DELETE":
            continue
        theirs = call(stranger, route, place)
        mine = call(own, route, place)
        if route.access is Access.OPERATOR:
            assert theirs.status_code == mine.status_code == 403, route
            assert mine.json()["code"] == "insufficient_access"
        elif "{app_id}" in route.path:
            assert theirs.status_code == 404, (route, theirs.text)
            assert MARK not in theirs.text
            assert mine.status_code in {200, 201, 202, 204, 404, 409}, (route, mine.text)
        else:
            assert mine.status_code == theirs.status_code == 200, route
    path = f"/app/{place['app_id']}/endpoint/{place['endpoint_id']}"
    assert stranger.delete(path).status_code == 404
    assert own.delete(path).status_code == 204


def unsigned(claims: dict[str, Any]) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


def test_tokens_that_are_not_good_are_refused(
    live_url: str, jwt_secret: bytes, organization: str
) -> None:
    good = {"sub": organization, "exp": NOW * 2}

    def signed(claims: dict[str, Any], secret: bytes = jwt_secret, algorithm: str = "HS256") -> str:
        return jwt.encode(claims, secret, algorithm=algorithm)

    tokens = {
        "hardly one": ".",
        "no JWT": "nonsense",
        "of another secret": signed(good, b"y" * 32),
        "unsigned": unsigned(good),
        "of another algorithm": signed(good, b"z" * 64, "HS512"),
        "cut short": signed(good)[:-2],
        "expired": signed({**good, "exp": 1_000_000_000}),
        "without an end": signed({"sub": organization}),
        "whose end is no number": signed({**good, "exp": "9999999999"}),
        "not good yet": signed({**good, "nbf": NOW * 2}),
        "without a subject": signed({"exp": NOW * 2}),
        "of no organization": signed({**good, "sub": "user_1"}),
        "of an odd organization": signed({**good, "sub": "org_a b"}),
        "of an application without its organization": signed({**good, "sub": "app_" + "0" * 27}),
        "of an odd application": signed({**good, "org": organization, "sub": "app_1"}),
        "the secret itself": jwt_secret.decode("latin-1"),
        "endless": "a" * 9000,
        "nested deep": base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.e30",
    }
    with httpx.Client(base_url=live_url) as client:
        assert client.get("/app", headers=bearer(signed(good))).status_code == 200
        for name, token in tokens.items():
            response = client.get("/app", headers=bearer(token))
            assert response.status_code == 401, name
            assert response.json()["code"] == "authentication_failed"
        said = client.get("/app", headers=bearer(tokens["the secret itself"])).json()["detail"]
        assert "marketbell token create" in said
        basic = {"authorization": f"Basic {signed(good)}"}
        assert client.get("/app", headers=basic).status_code == 401
        assert client.get("/health").status_code == 200


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + token.encode("latin-1")}


def test_answers_carry_a_request_id_and_security_headers(api: httpx.Client) -> None:
    for response in (api.get("/app"), api.get("/nothing"), api.post("/app/none/msg")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-request-id"]
    assert len({api.get("/app").headers["x-request-id"] for _ in range(5)}) == 5
    given = api.get("/app", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    odd = api.get("/app", headers={"x-request-id": "a b"})
    assert odd.headers["x-request-id"] != "a b"


def test_a_body_that_does_not_come_in_time_is_408(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.05)

    def slowly() -> Iterator[bytes]:
        yield b'{"eventType":'
        read.wait(5)
        yield b'"a","payload":{}}'

    read = threading.Event()
    timer = threading.Timer(0.4, read.set)
    timer.start()
    response = api.post("/app/s/msg", content=slowly())
    assert (response.status_code, response.json()["code"]) == (408, "request_timeout")
    timer.join()
