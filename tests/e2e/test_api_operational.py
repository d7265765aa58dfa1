"""Operational messages: an operator's own endpoints, as the official client makes them, and what they get."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from svix.api import (
    ApplicationIn,
    EndpointIn,
    EndpointPatch,
    MessageIn,
    OperationalWebhookEndpointHeadersIn,
    OperationalWebhookEndpointIn,
    OperationalWebhookEndpointSecretIn,
    OperationalWebhookEndpointUpsertIn,
    Svix,
    SvixOptions,
)
from svix.api.errors.http_error import HttpError
from svix.api.errors.http_validation_error import HTTPValidationError
from svix.webhooks import Webhook

from marketbell.testing import Answer, Received, TestReceiver

Wait = Callable[[TestReceiver, int], list[Received]]
URL = "https://operator.example/hooks"


@pytest.fixture
def svix(live_url: str, token_of: Callable[..., str], organization: str) -> Iterator[Svix]:
    server = live_url.removesuffix("/api/v1")
    client = Svix(token_of(organization), SvixOptions(server_url=server, retry_schedule=[]))
    yield client
    client._httpx_client.close()


@pytest.fixture
def app(svix: Svix) -> str:
    return svix.application.create(ApplicationIn(name="Seller", uid="seller")).id


@pytest.fixture
def operator(
    svix: Svix, receiver_of: Callable[..., TestReceiver]
) -> Callable[..., tuple[TestReceiver, str]]:
    """Makes an operational endpoint at a receiver of its own; its secret comes along."""

    def make(*event_types: str) -> tuple[TestReceiver, str]:
        receiver = receiver_of()
        made = svix.operational_webhook.endpoint.create(
            OperationalWebhookEndpointIn(url=receiver.url, event_types=list(event_types) or None)
        )
        return receiver, svix.operational_webhook.endpoint.get_secret(made.id).key

    return make


def told(request: Received, secret: str) -> tuple[str, dict[str, Any]]:
    """What a verified request says."""
    headers = {name.lower(): value for name, value in request.headers}
    Webhook(secret).verify(request.body, headers)
    body = json.loads(request.body)
    assert body.keys() == {"type", "data"}
    return body["type"], body["data"]


def test_operational_endpoints_are_made_read_changed_and_deleted(svix: Svix) -> None:
    endpoints = svix.operational_webhook.endpoint
    assert endpoints.list().data == []
    made = endpoints.create(
        OperationalWebhookEndpointIn(
            url=URL,
            uid="ops",
            description="d",
            event_types=["endpoint.disabled"],
            throttle_rate=5,
            headers={"X-A": "1", "Authorization": "x"},
            secret="whsec_" + "A" * 32,
            metadata={"team": "ops"},
        )
    )
    assert (made.uid, made.event_types, made.metadata) == (
        "ops",
        ["endpoint.disabled"],
        {"team": "ops"},
    )
    assert endpoints.get("ops") == made
    assert endpoints.list().data == [made]
    assert endpoints.get_headers("ops").sensitive == ["Authorization"]
    endpoints.set_headers("ops", OperationalWebhookEndpointHeadersIn(headers={"X-B": "2"}))
    assert endpoints.get_headers("ops").headers == {"X-B": "2"}
    assert endpoints.get_secret("ops").key == "whsec_" + "A" * 32
    endpoints.rotate_secret("ops", OperationalWebhookEndpointSecretIn())
    assert endpoints.get_secret("ops").key != "whsec_" + "A" * 32
    changed = endpoints.upsert("ops", OperationalWebhookEndpointUpsertIn(url=URL + "/2"))
    assert (changed.id, changed.url, changed.event_types) == (made.id, URL + "/2", None)
    other = endpoints.upsert("other", OperationalWebhookEndpointUpsertIn(url=URL))
    assert other.uid == "other"
    endpoints.delete("ops")
    with pytest.raises(HttpError, match="no operational endpoint 'ops'; check its id or uid"):
        endpoints.get("ops")


def test_the_hidden_application_is_not_to_be_seen(svix: Svix, api: httpx.Client) -> None:
    made = svix.operational_webhook.endpoint.create(OperationalWebhookEndpointIn(url=URL))
    assert svix.application.list().data == []
    assert svix.event_type.list().data == []
    assert api.get("/app/operational").status_code == 404
    assert api.get(f"/app/operational/endpoint/{made.id}").status_code == 404


def test_an_applications_token_may_not(
    client_of: Callable[..., httpx.Client], organization: str, app: str
) -> None:
    theirs = client_of(organization, app)
    path = "/operational-webhook/endpoint"
    assert theirs.post(path, json={"url": URL}).status_code == 403
    assert theirs.get(path).status_code == 403


def test_another_organization_has_its_own(
    svix: Svix, client_of: Callable[..., httpx.Client]
) -> None:
    made = svix.operational_webhook.endpoint.create(OperationalWebhookEndpointIn(url=URL))
    stranger = client_of("org_stranger")
    assert stranger.get("/operational-webhook/endpoint").json()["data"] == []
    assert stranger.get(f"/operational-webhook/endpoint/{made.id}/secret").status_code == 404


def test_a_wrong_operational_endpoint_is_refused(svix: Svix, api: httpx.Client) -> None:
    endpoints = svix.operational_webhook.endpoint
    with pytest.raises(HTTPValidationError, match="no operational event type"):
        endpoints.create(OperationalWebhookEndpointIn(url=URL, event_types=["part.sold"]))
    with pytest.raises(HTTPValidationError, match="dialect"):
        endpoints.create(
            OperationalWebhookEndpointIn(url=URL, metadata={"marketbell.dialect": "ovoko"})
        )
    path = "/operational-webhook/endpoint"
    assert api.post(path, json={"url": URL, "channels": ["a"]}).status_code == 422
    assert svix.operational_webhook.endpoint.list().data == []


def test_a_repeated_request_makes_one_endpoint(api: httpx.Client) -> None:
    headers = {"idempotency-key": "once"}
    path = "/operational-webhook/endpoint"
    first = api.post(path, json={"url": URL}, headers=headers)
    assert api.post(path, json={"url": URL}, headers=headers).json() == first.json()
    assert len(api.get(path).json()["data"]) == 1


def test_changes_of_endpoints_are_told(
    svix: Svix, app: str, operator: Callable[..., tuple[TestReceiver, str]], received: Wait
) -> None:
    receiver, secret = operator()
    endpoint = svix.endpoint.create(app, EndpointIn(url=URL, uid="e")).id
    svix.endpoint.patch(app, endpoint, EndpointPatch(description="d"))
    svix.endpoint.patch(app, endpoint, EndpointPatch(disabled=True))
    svix.endpoint.patch(app, endpoint, EndpointPatch(disabled=False))
    svix.endpoint.delete(app, endpoint)
    found = [told(request, secret) for request in received(receiver, 7)]
    names = {"appId": app, "appUid": "seller", "endpointId": endpoint, "endpointUid": "e"}
    expected = [
        ("endpoint.created", names),
        ("endpoint.updated", names),
        ("endpoint.updated", names),
        ("endpoint.disabled", {**names, "trigger": "manual"}),
        ("endpoint.updated", names),
        ("endpoint.enabled", names),
        ("endpoint.deleted", names),
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_filters_choose_what_is_told(
    svix: Svix, app: str, operator: Callable[..., tuple[TestReceiver, str]], received: Wait
) -> None:
    receiver, secret = operator("endpoint.deleted")
    endpoint = svix.endpoint.create(app, EndpointIn(url=URL)).id
    svix.endpoint.delete(app, endpoint)
    (request,) = received(receiver, 1)
    assert told(request, secret)[0] == "endpoint.deleted"


def test_a_delivery_that_fails_ends_or_recovers_is_told(
    svix: Svix,
    app: str,
    operator: Callable[..., tuple[TestReceiver, str]],
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
) -> None:
    receiver, secret = operator()
    seller = receiver_of(*[Answer(status=500)] * 5, Answer())
    metadata = {"marketbell.retry-schedule": "1ms 1ms 1ms 1ms 1ms"}
    endpoint = svix.endpoint.create(app, EndpointIn(url=seller.url, metadata=metadata)).id
    message = svix.message.create(app, MessageIn(event_type="a", payload={}, event_id="one"))
    received(seller, 6)
    found = [told(request, secret) for request in received(receiver, 3)]
    kinds = dict(found)
    assert kinds.keys() == {
        "endpoint.created",
        "message.attempt.failing",
        "message.attempt.recovered",
    }
    failing, recovered = kinds["message.attempt.failing"], kinds["message.attempt.recovered"]
    names = {"appId": app, "appUid": "seller", "endpointId": endpoint}
    assert failing | names == failing
    assert (failing["msgId"], failing["msgEventId"]) == (message.id, "one")
    last = failing["lastAttempt"]
    attempts = {one.id: one for one in svix.message_attempt.list_by_endpoint(app, endpoint).data}
    assert sorted(attempts).index(last["id"]) == 3
    assert last["responseStatusCode"] == 500
    assert last["timestamp"].endswith("Z")
    assert recovered["lastAttempt"]["responseStatusCode"] == 200


def test_a_delivery_that_ends_is_told_and_so_is_its_resend(
    svix: Svix,
    app: str,
    operator: Callable[..., tuple[TestReceiver, str]],
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    receiver, secret = operator("message.attempt.exhausted", "message.attempt.recovered")
    seller = receiver_of(Answer(status=500), Answer(status=503), Answer())
    metadata = {"marketbell.retry-schedule": "1ms"}
    endpoint = svix.endpoint.create(app, EndpointIn(url=seller.url, metadata=metadata)).id
    message = svix.message.create(app, MessageIn(event_type="a", payload={})).id
    kind, data = told(received(receiver, 1)[0], secret)
    assert kind == "message.attempt.exhausted"
    assert data["lastAttempt"]["responseStatusCode"] == 503
    settle()
    svix.message_attempt.resend(app, message, endpoint)
    kind, data = told(received(receiver, 2)[1], secret)
    assert (kind, data["msgId"]) == ("message.attempt.recovered", message)


def test_an_endpoint_that_is_gone_is_told_as_disabled_by_the_server(
    svix: Svix,
    app: str,
    operator: Callable[..., tuple[TestReceiver, str]],
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
) -> None:
    receiver, secret = operator("endpoint.disabled")
    seller = receiver_of(Answer(status=410))
    endpoint = svix.endpoint.create(app, EndpointIn(url=seller.url)).id
    svix.message.create(app, MessageIn(event_type="a", payload={}))
    _kind, data = told(received(receiver, 1)[0], secret)
    assert (data["endpointId"], data["trigger"]) == (endpoint, "automatic")
    assert data["failSince"].endswith("Z")


def test_nothing_is_told_of_operational_endpoints_themselves(
    svix: Svix,
    app: str,
    operator: Callable[..., tuple[TestReceiver, str]],
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    receiver, secret = operator()
    # A second one that is gone: told of once, disabled by the server, and nobody hears of it.
    gone = receiver_of(Answer(status=410))
    svix.operational_webhook.endpoint.create(OperationalWebhookEndpointIn(url=gone.url))
    svix.endpoint.create(app, EndpointIn(url=URL))
    received(gone, 1)
    received(receiver, 1)
    settle()
    svix.endpoint.create(app, EndpointIn(url=URL))
    found = [told(request, secret)[0] for request in received(receiver, 2)]
    assert found == ["endpoint.created", "endpoint.created"]
    assert len(gone.requests) == 1


def test_an_organization_that_cannot_be_told_holds_up_no_other(
    tmp_path: Path, node_at: Callable[..., AbstractContextManager[Any]]
) -> None:
    """As after a key was taken out too early: nothing opens the secret of one endpoint."""
    path = "/operational-webhook/endpoint"
    with node_at(tmp_path) as live:
        made = live.client("org_a").post(path, json={"url": URL}).json()["id"]
    connection = apsw.Connection(str(tmp_path / "node.db"))
    connection.execute(
        "update secret set sealed = zeroblob(60) "
        "where endpoint_id = (select id from endpoint where public_id = ?)",
        (made,),
    )
    connection.close()
    with node_at(tmp_path) as live:
        one, other, receiver = live.client("org_a"), live.client("org_b"), live.receiver()
        for api in (one, other):
            api.post("/app", json={"name": "A", "uid": "s"})
        other.post(path, json={"url": receiver.url})
        for number in range(210):  # more than are looked at together
            one.put("/app/s/endpoint/e", json={"url": URL, "description": str(number)})
        other.put("/app/s/endpoint/e", json={"url": URL})
        (told,) = live.run(receiver.wait_for(1))
        assert b"endpoint.created" in told.body
