"""Tokens that are not good, and what every answer carries, over HTTP on a real node."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import jwt

NOW = 1_800_000_000


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
