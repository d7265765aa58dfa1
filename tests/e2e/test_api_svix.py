"""The official `svix` package drives a real node, and verifies what the node sends."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook
from svix.api import (
    ApplicationIn,
    ApplicationListOptions,
    ApplicationPatch,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointListOptions,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventTypeIn,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageCreateOptions,
    MessageIn,
    MessageListOptions,
    Ordering,
    StatusCodeClass,
    Svix,
    SvixOptions,
)
from svix.api.errors.http_error import HttpError
from svix.api.errors.http_validation_error import HTTPValidationError
from svix.api.message import message_in_raw
from svix.models import EndpointUpsertIn, MessageStatus
from svix.webhooks import Webhook, WebhookVerificationError

from marketbell.testing import Answer, Received, TestReceiver

EVENT = "part.sold"


@pytest.fixture
def svix(live_url: str, token_of: Callable[..., str], organization: str) -> Iterator[Svix]:
    server = live_url.removesuffix("/api/v1")
    client = Svix(token_of(organization), SvixOptions(server_url=server, retry_schedule=[]))
    yield client
    client._httpx_client.close()


@pytest.fixture
def app(svix: Svix) -> str:
    return svix.application.create(ApplicationIn(name="Seller", uid="s")).id


def test_the_installed_package_is_of_the_second_line() -> None:
    assert importlib.metadata.version("svix").startswith("2.")


def test_health(svix: Svix) -> None:
    svix.health.get()


def test_applications(svix: Svix) -> None:
    given = ApplicationIn(name="A", uid="u1", throttle_rate=5, metadata={"k": "v"})
    created = svix.application.create(given)
    assert (created.uid, created.throttle_rate, created.metadata) == ("u1", 5, {"k": "v"})
    assert svix.application.get_or_create(given) == created
    assert svix.application.get("u1") == created
    replaced = svix.application.upsert("u1", ApplicationIn(name="B"))
    assert (replaced.id, replaced.name, replaced.throttle_rate) == (created.id, "B", None)
    patched = svix.application.patch("u1", ApplicationPatch(uid=None))
    assert patched.uid is None
    svix.application.create(ApplicationIn(name="C"))
    listed = svix.application.list(ApplicationListOptions(limit=1, order=Ordering.DESCENDING))
    assert ([one.name for one in listed.data], listed.done) == (["C"], False)
    again = svix.application.list(
        ApplicationListOptions(limit=5, order=Ordering.DESCENDING, iterator=listed.iterator)
    )
    assert ([one.name for one in again.data], again.done) == (["B"], True)
    svix.application.delete(created.id)
    with pytest.raises(HttpError) as missing:
        svix.application.get(created.id)
    assert (missing.value.status_code, missing.value.code) == (404, "not_found")


def test_endpoints_with_headers_and_secrets(svix: Svix, app: str) -> None:
    svix.event_type.create(EventTypeIn(name=EVENT, description="d"))
    given = EndpointIn(
        url="https://example.com/",
        uid="e",
        event_types=[EVENT],
        channels=["c"],
        headers={"X-A": "1"},
        secret="whsec_" + "A" * 32,
    )
    created = svix.endpoint.create(app, given)
    assert (created.event_types, created.channels, created.disabled) == ([EVENT], ["c"], False)
    assert svix.endpoint.get(app, "e") == created
    assert svix.endpoint.list(app, EndpointListOptions(limit=5)).data == [created]
    assert svix.endpoint.patch(app, "e", EndpointPatch(channels=None)).channels is None
    replaced = svix.endpoint.upsert(app, "e", EndpointUpsertIn(url="https://example.com/2"))
    assert (replaced.url, replaced.event_types) == ("https://example.com/2", None)
    assert svix.endpoint.get_headers(app, "e").headers == {"X-A": "1"}
    svix.endpoint.set_headers(app, "e", EndpointHeadersIn(headers={"Authorization": "x"}))
    assert svix.endpoint.get_headers(app, "e").sensitive == ["Authorization"]
    svix.endpoint.patch_headers(
        app, "e", EndpointHeadersPatchIn(headers={}, delete_headers=["authorization"])
    )
    assert svix.endpoint.get_headers(app, "e").sensitive == []
    assert svix.endpoint.get_secret(app, "e").key == "whsec_" + "A" * 32
    rotated = svix.endpoint.rotate_secret(app, "e", EndpointSecretRotateIn())
    assert rotated == svix.endpoint.get_secret(app, "e")
    assert rotated.key != "whsec_" + "A" * 32
    svix.endpoint.delete(app, "e")
    assert svix.endpoint.list(app).data == []


def test_event_types(svix: Svix, app: str) -> None:
    schemas = {"1": {"type": "object", "required": ["id"]}}
    created = svix.event_type.create(EventTypeIn(name=EVENT, description="d", schemas=schemas))
    assert (created.schemas, created.deprecated) == (schemas, False)
    assert svix.event_type.get(EVENT) == created
    assert [one.name for one in svix.event_type.list().data] == [EVENT]
    with pytest.raises(HTTPValidationError) as refused:
        svix.message.create(app, MessageIn(event_type=EVENT, payload={}))
    assert refused.value.detail[0].loc == ["body", "payload", "id"]
    with pytest.raises(HTTPValidationError) as unknown:
        svix.endpoint.create(app, EndpointIn(url="https://example.com", event_types=["no"]))
    assert "don't exist: no" in unknown.value.detail[0].msg


def test_messages_are_delivered_verified_listed_and_sent_again(
    svix: Svix,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of(Answer(body=b"thanks"))
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver.url))
    given = MessageIn(
        event_type=EVENT, payload={"id": "é"}, event_id="n1", channels=["c"], tags=["t"]
    )
    created = svix.message.create(app, given, MessageCreateOptions(with_content=True))
    assert (created.payload, created.channels, created.tags) == ({"id": "é"}, ["c"], ["t"])
    (request,) = received(receiver, 1)
    headers = {name.lower(): value for name, value in request.headers}
    secret = svix.endpoint.get_secret(app, endpoint.id).key
    Webhook(secret).verify(request.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body + b" ", headers)
    assert StandardWebhook(secret).verify(request.body, headers) == {"id": "é"}
    settle()
    (attempt,) = svix.message_attempt.list_by_msg(
        app, "n1", MessageAttemptListByMsgOptions(with_content=True, status=MessageStatus.SUCCESS)
    ).data
    assert (attempt.response, attempt.endpoint_id) == ("thanks", endpoint.id)
    assert svix.message_attempt.get(app, "n1", attempt.id) == attempt
    svix.message_attempt.resend(app, "n1", endpoint.id)
    received(receiver, 2)
    settle()
    both = svix.message_attempt.list_by_endpoint(
        app,
        endpoint.id,
        MessageAttemptListByEndpointOptions(
            status_code_class=StatusCodeClass.CODE2XX, event_types=[EVENT], with_msg=True
        ),
    )
    assert [one.trigger_type for one in both.data] == [1, 0]
    assert both.data[0].msg is not None
    (destination,) = svix.message_attempt.list_attempted_destinations(app, "n1").data
    assert (destination.id, str(destination.status_text)) == (endpoint.id, "success")
    assert svix.message.get(app, "n1").payload == {}
    since = datetime.now(UTC) - timedelta(hours=1)
    listed = svix.message.list(
        app, MessageListOptions(event_types=[EVENT], channel="c", tag="t", after=since)
    )
    assert [one.id for one in listed.data] == [created.id]
    with pytest.raises(HttpError) as twice:
        svix.message.create(app, given)
    assert twice.value.status_code == 409


def test_delayed_raw_and_inline(
    svix: Svix,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of()
    svix.endpoint.create(app, EndpointIn(url=receiver.url))
    svix.message.create(app, message_in_raw(EVENT, "<xml/>"))
    assert received(receiver, 1)[0].body == b"<xml/>"
    later = datetime.now(UTC) + timedelta(minutes=5)
    delayed = svix.message.create(
        app,
        MessageIn(event_type=EVENT, payload={}, deliver_at=later, payload_retention_hours=5),
    )
    assert delayed.deliver_at is not None
    assert abs(delayed.deliver_at - later) < timedelta(milliseconds=2)
    inline = ApplicationIn(name="New", uid="new")
    svix.message.create("new", MessageIn(event_type=EVENT, payload={}, application=inline))
    assert svix.application.get("new").name == "New"


def test_the_field_names_of_the_first_line_are_taken_and_given(api: httpx.Client) -> None:
    """What svix 1.99 sends and needs: `filterTypes`, `rateLimit`, `version`, with_content absent."""
    assert api.post("/event-type", json={"name": EVENT, "description": "d"}).status_code == 201
    app = api.post("/app", json={"name": "A", "uid": "s", "rateLimit": 9}).json()
    assert app["rateLimit"] == 9
    given = {"url": "https://example.com", "version": 2, "filterTypes": [EVENT], "rateLimit": 3}
    endpoint = api.post("/app/s/endpoint", json=given).json()
    assert {name: endpoint[name] for name in ("version", "filterTypes", "rateLimit")} == {
        "version": 2,
        "filterTypes": [EVENT],
        "rateLimit": 3,
    }
    patch = {"filterTypes": None, "version": 3}
    patched = api.patch(f"/app/s/endpoint/{endpoint['id']}", json=patch).json()
    assert (patched["filterTypes"], patched["version"]) == (None, 3)
    sent = api.post("/app/s/msg?with_content=false", json={"eventType": EVENT, "payload": {"x": 1}})
    assert sent.json()["payload"] == {}
    (listed,) = api.get("/app/s/msg").json()["data"]
    assert listed["payload"] == {"x": 1}
