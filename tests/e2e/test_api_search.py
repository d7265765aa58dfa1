"""Messages, attempts, searches and figures over HTTP, by the official package and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from svix.api import (
    ApplicationIn,
    EndpointGetStatsOptions,
    EndpointIn,
    MessageAttemptListAttemptedDestinationsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageGetOptions,
    MessageIn,
    MessageListOptions,
    StatusCodeClass,
    Svix,
    SvixOptions,
)
from svix.api.errors.http_error import HttpError
from svix.api.message import message_in_raw
from svix.models import (
    BulkExpungeContentsIn,
    BulkExpungeStatus,
    MessagePrecheckIn,
    MessageStatus,
)

from marketbell.testing import Answer, Received, TestReceiver

EVENT = "part.sold"


def made(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json() if response.content else {}
    return body


def field_of(response: httpx.Response) -> list[str]:
    (fault,) = made(response, 422)["detail"]
    loc: list[str] = fault["loc"]
    return loc


@pytest.fixture
def svix(live_url: str, token_of: Callable[..., str], organization: str) -> Iterator[Svix]:
    server = live_url.removesuffix("/api/v1")
    client = Svix(token_of(organization), SvixOptions(server_url=server, retry_schedule=[]))
    yield client
    client._httpx_client.close()


@pytest.fixture
def app(svix: Svix) -> str:
    return svix.application.create(ApplicationIn(name="Seller", uid="s")).id


def test_every_method_of_messages(svix: Svix, app: str) -> None:
    assert not svix.message.precheck(app, MessagePrecheckIn(event_type=EVENT)).active
    svix.endpoint.create(app, EndpointIn(url="https://example.com/", channels=["c"]))
    assert not svix.message.precheck(app, MessagePrecheckIn(event_type=EVENT)).active
    assert svix.message.precheck(app, MessagePrecheckIn(event_type=EVENT, channels=["c"])).active
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    created = svix.message.create(
        app, MessageIn(event_type=EVENT, payload={"x": 1}, event_id="n1", deliver_at=later)
    )
    assert created.deliver_at == later
    assert svix.message.get(app, "n1") == created
    whole = svix.message.get(app, created.id, MessageGetOptions(with_content=True))
    assert (whole.payload, whole.deliver_at) == ({"x": 1}, later)
    listed = svix.message.list(app, MessageListOptions(with_content=True, event_types=[EVENT]))
    assert listed.data == [whole]
    svix.message.expunge_content(app, "n1")
    assert svix.message.get(app, "n1", MessageGetOptions(with_content=True)).payload == {
        "expired": True
    }
    with pytest.raises(HttpError) as missing:
        svix.message.expunge_content(app, "n2")
    assert missing.value.status_code == 404
    other = svix.message.create(app, MessageIn(event_type=EVENT, payload={}))
    results = svix.message.bulk_expunge_content(
        app, BulkExpungeContentsIn(ids=[other.id, "n2"])
    ).results
    assert results == {other.id: BulkExpungeStatus.EXPUNGED, "n2": BulkExpungeStatus.NOT_FOUND}


def test_every_method_of_attempts(
    svix: Svix,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of(Answer(body=b"secret words"), Answer(status=410))
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver.url)).id
    idle = svix.endpoint.create(app, EndpointIn(url="https://example.com/", channels=["x"])).id
    first = svix.message.create(app, MessageIn(event_type=EVENT, payload={"n": 1}, tags=["t"]))
    settle()
    second = svix.message.create(app, MessageIn(event_type="part.made", payload={"n": 2}))
    settle()
    attempts = svix.message_attempt.list_by_endpoint(
        app, endpoint, MessageAttemptListByEndpointOptions(with_content=True, with_msg=True)
    )
    assert [one.msg_id for one in attempts.data] == [second.id, first.id]
    assert [one.msg.id for one in attempts.data if one.msg] == [second.id, first.id]
    gone = MessageAttemptListByEndpointOptions(
        status=MessageStatus.FAIL, status_code_class=StatusCodeClass.CODE4XX
    )
    assert [one.id for one in svix.message_attempt.list_by_endpoint(app, endpoint, gone).data] == [
        attempts.data[0].id
    ]
    sending = MessageAttemptListByMsgOptions(status=MessageStatus.SENDING)
    assert svix.message_attempt.list_by_msg(app, first.id, sending).data == []
    (attempt,) = svix.message_attempt.list_by_msg(
        app, first.id, MessageAttemptListByMsgOptions(endpoint_id=endpoint, tag="t")
    ).data
    assert (
        svix.message_attempt.list_by_msg(
            app, first.id, MessageAttemptListByMsgOptions(endpoint_id=idle)
        ).data
        == []
    )
    assert svix.message_attempt.get(app, first.id, attempt.id).response == "secret words"
    svix.message_attempt.expunge_content(app, first.id, attempt.id)
    assert svix.message_attempt.get(app, first.id, attempt.id).response == "EXPUNGED"
    with pytest.raises(HttpError):
        svix.message_attempt.expunge_content(app, second.id, attempt.id)
    to = svix.message_attempt.list_attempted_destinations(
        app, first.id, MessageAttemptListAttemptedDestinationsOptions(limit=5)
    )
    assert [(one.id, one.status) for one in to.data] == [(endpoint, MessageStatus.SUCCESS)]
    of = svix.message_attempt.list_attempted_messages(
        app, endpoint, MessageAttemptListAttemptedMessagesOptions(with_content=True)
    )
    assert [(one.id, one.payload, one.status) for one in of.data] == [
        (second.id, {"n": 2}, MessageStatus.FAIL),
        (first.id, {"n": 1}, MessageStatus.SUCCESS),
    ]
    only = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.SUCCESS, tag="t")
    assert [
        one.id for one in svix.message_attempt.list_attempted_messages(app, endpoint, only).data
    ] == [first.id]
    # 410 has disabled it; once enabled a resend is taken, unless the payload is gone.
    svix.endpoint.delete(app, endpoint)
    assert svix.message_attempt.list_attempted_destinations(app, first.id).data == []


def test_a_resend_without_a_payload_is_refused(
    svix: Svix, app: str, receiver_of: Callable[..., TestReceiver], settle: Callable[[], None]
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    message = svix.message.create(app, MessageIn(event_type=EVENT, payload={}))
    settle()
    svix.message_attempt.resend(app, message.id, endpoint)
    settle()
    stats = svix.endpoint.get_stats(app, endpoint)
    assert (stats.success, stats.pending, stats.sending, stats.fail, stats.canceled) == (
        1, 0, 0, 0, 0,
    )  # fmt: skip
    since = datetime.now(UTC) - timedelta(hours=1)
    assert svix.endpoint.get_stats(app, endpoint, EndpointGetStatsOptions(since=since)) == stats
    assert svix.endpoint.get_attempt_stats(app, endpoint).success == 2
    svix.message.expunge_content(app, message.id)
    with pytest.raises(HttpError) as gone:
        svix.message_attempt.resend(app, message.id, endpoint)
    assert (gone.value.status_code, gone.value.code) == (400, "missing_payload")


def test_a_message_brings_headers_of_its_own(
    svix: Svix,
    app: str,
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of()
    svix.endpoint.create(app, EndpointIn(url=receiver.url, headers={"X-A": "endpoint", "X-B": "b"}))
    svix.message.create(app, message_in_raw(EVENT, "a,b\n1,2", "text/csv"))
    headers = {"x-a": "message", "X-C": "c"}
    given = {"eventType": EVENT, "payload": {}, "transformationsParams": {"headers": headers}}
    made(api.post("/app/s/msg", json=given), 202)
    raw, other = received(receiver, 2)
    sent = {name.lower(): value for name, value in raw.headers}
    assert (raw.body, sent["content-type"], sent["x-a"]) == (b"a,b\n1,2", "text/csv", "endpoint")
    names = [name.lower() for name, _value in other.headers]
    sent = {name.lower(): value for name, value in other.headers}
    assert (sent["x-a"], sent["x-b"], sent["x-c"]) == ("message", "b", "c")
    assert sent["content-type"] == "application/json"
    assert len(names) == len(set(names))
    for bad, place in (
        ({"content-length": "1"}, "content-length"),
        ({"svix-id": "x"}, "svix-id"),
        ({"Content-Type": "a\r\nb"}, "Content-Type"),
        ({"content-type": "a", "Content-Type": "b"}, "Content-Type"),
    ):
        refused = {**given, "transformationsParams": {"headers": bad}}
        assert field_of(api.post("/app/s/msg", json=refused)) == [
            "body", "transformationsParams", "headers", place,
        ]  # fmt: skip
    made(api.patch("/app/s", json={"metadata": {"marketbell.dialect": "cloudevents"}}))
    assert field_of(api.post("/app/s/msg", json=given))[-1] == "headers"


def test_lists_beyond_those_of_the_packages(
    api: httpx.Client,
    client_of: Callable[..., httpx.Client],
    organization: str,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of(Answer(), Answer(status=500), Answer())
    own = [made(api.post("/app", json={"name": "A", "uid": uid}), 201)["id"] for uid in "ab"]
    ids: list[str] = []
    for uid in "aba":
        if len(ids) < 2:
            given = {"url": receiver.url, "uid": "e"}
            made(api.post(f"/app/{uid}/endpoint", json=given), 201)
        message = {"eventType": EVENT, "payload": {}}
        ids.append(made(api.post(f"/app/{uid}/msg", json=message), 202)["id"])
        settle()
    listed = made(api.get("/msg", params={"limit": 2}))
    assert [(one["id"], one["appId"]) for one in listed["data"]] == [
        (ids[2], own[0]), (ids[1], own[1]),
    ]  # fmt: skip
    rest = made(api.get("/msg", params={"iterator": listed["iterator"]}))
    assert ([one["id"] for one in rest["data"]], rest["done"]) == (ids[:1], True)
    attempts = made(api.get("/attempt", params={"status": 2, "with_msg": "true"}))["data"]
    assert [(one["msgId"], one["appId"]) for one in attempts] == [(ids[1], own[1])]
    for path in ("/attempt", "/app/a/attempt", f"/app/a/attempt/msg/{ids[0]}"):
        assert made(api.get(path, params={"status": 1}))["data"] == []
    assert api.get("/app/a/attempt/msg/none", params={"status": 1}).status_code == 404
    of_app = made(api.get("/app/a/attempt"))["data"]
    assert [one["msgId"] for one in of_app] == [ids[2], ids[0]]
    for path in (f"/app/a/msg/{ids[0]}/attempt", f"/app/a/msg/{ids[0]}/endpoint/e/attempt"):
        assert [one["msgId"] for one in made(api.get(path))["data"]] == [ids[0]]
    seller = client_of(organization, own[0])
    for path in ("/msg", "/attempt"):
        assert seller.get(path).status_code == 403
    assert client_of("org_nobody").get("/msg").json()["data"] == []


def test_figures_are_asked_for_within_28_days(api: httpx.Client) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}), 201)
    made(api.post("/app/s/endpoint", json={"url": "https://example.com/", "uid": "e"}), 201)
    path = "/app/s/endpoint/e/stats"
    nothing = {"success": 0, "pending": 0, "sending": 0, "fail": 0, "canceled": 0}
    assert made(api.get(path)) == nothing
    old = {"since": "2026-01-01T00:00:00Z"}
    assert made(api.get(path, params=old)) == nothing
    for until in ("2026-01-29T00:00:01Z", "2025-12-31T23:59:59Z"):
        assert field_of(api.get(path, params={**old, "until": until})) == ["query", "since"]
    assert made(api.get("/app/s/endpoint/e/attempt-stats")) == {
        "success": 0, "fail": 0, "canceled": 0,
    }  # fmt: skip


def test_payloads_are_searched_only_where_that_is_set(
    api: httpx.Client, searching: Callable[[Path], Any], tmp_path: Path
) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}), 201)
    assert field_of(api.get("/app/s/msg", params={"text": "x"})) == ["query", "text"]
    with searching(tmp_path) as (own, follow):
        made(own.post("/app", json={"name": "A", "uid": "s"}), 201)
        message = {"eventType": EVENT, "payload": {"who": "Ada Lovelace", "order": "AB-12"}}
        kept = made(own.post("/app/s/msg", json=message), 202)["id"]
        follow()
        for text, expected in (("lovelace ADA", [kept]), ("ab-12", [kept]), ("ada byron", [])):
            listed = made(own.get("/app/s/msg", params={"text": text}))
            assert ([one["id"] for one in listed["data"]], listed["done"]) == (expected, True)
        past = {"text": "ada", "before": "2026-01-01T00:00:00Z"}
        assert made(own.get("/app/s/msg", params=past))["data"] == []
        for text in ("- _", "x" * 257):
            assert field_of(own.get("/app/s/msg", params={"text": text})) == ["query", "text"]
