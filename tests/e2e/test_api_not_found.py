"""What is not there is named in the answer, and looks alike for what is another tenant's."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

FAR = "x" * 300
APPLICATION = "check its id or uid, and the token's organization."
PLACE = "check its id or uid, and the application."


@pytest.fixture(autouse=True)
def shop(api: httpx.Client) -> None:
    """An application with one message."""
    assert api.post("/app", json={"name": "A", "uid": "shop"}).status_code == 201
    message = {"eventType": "a", "eventId": "m", "payload": {}}
    assert api.post("/app/shop/msg", json=message).status_code == 202


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/app/nope", f"There is no application 'nope'; {APPLICATION}"),
        (f"/app/{FAR}", f"There is no application '{FAR[:64]}'; {APPLICATION}"),
        ("/app/a'b%0A", f"There is no application \"a'b\\n\"; {APPLICATION}"),
        ("/app/nope/msg/m", f"There is no application 'nope'; {APPLICATION}"),
        ("/app/shop/endpoint/e", f"There is no endpoint 'e'; {PLACE}"),
        (
            "/app/shop/msg/m2",
            "There is no message 'm2'; check its id or eventId, and the application.",
        ),
        (
            "/app/shop/msg/m/attempt/a1",
            "There is no attempt 'a1'; check its id, and the message.",
        ),
        (
            "/background-task/t",
            "There is no background task 't'; check its id, and the token's organization.",
        ),
        (
            "/outbox/rejected/r",
            "There is no rejected message 'r'; check its id, and the token's organization.",
        ),
        ("/operational-webhook/endpoint/o", f"There is no operational endpoint 'o'; {APPLICATION}"),
        ("/endpoint/e", "There is no endpoint 'e'; check its id ep_..., and the token's organization."),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(api: httpx.Client, path: str, detail: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()) == (404, {"code": "not_found", "detail": detail})


def test_what_is_anothers_looks_like_what_is_not_there(
    api: httpx.Client, client_of: Callable[..., httpx.Client], organization: str
) -> None:
    own = api.post("/app", json={"name": "B"}).json()["id"]
    seller = client_of(organization, own)
    for client in (seller, client_of("org_nobody")):
        answers = [client.get(f"/app/{ref}") for ref in ("shop", "none")]
        assert [one.status_code for one in answers] == [404, 404]
        assert answers[0].text.replace("shop", "none") == answers[1].text


def test_publishing_to_what_is_not_there_names_it(api: httpx.Client) -> None:
    answer = api.post("/app/nope/msg", json={"eventType": "a", "payload": {}})
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"There is no application 'nope'; {APPLICATION}"
