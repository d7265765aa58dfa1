"""Background tasks over the API, as the official client drives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from svix.api import (
    ApplicationIn,
    BackgroundTaskListOptions,
    BulkReplayIn,
    EndpointIn,
    EndpointPatch,
    MessageIn,
    RecoverIn,
    ReplayIn,
    Svix,
    SvixOptions,
)
from svix.api.errors.http_error import HttpError
from svix.api.errors.http_validation_error import HTTPValidationError
from svix.models import BackgroundTaskStatus, BackgroundTaskType, MessageStatus, StatusCodeClass

from marketbell.testing import Answer, Received, TestReceiver

Wait = Callable[[TestReceiver, int], list[Received]]

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def svix(live_url: str, token_of: Callable[..., str], organization: str) -> Iterator[Svix]:
    server = live_url.removesuffix("/api/v1")
    client = Svix(token_of(organization), SvixOptions(server_url=server, retry_schedule=[]))
    yield client
    client._httpx_client.close()


@pytest.fixture
def app(svix: Svix) -> str:
    return svix.application.create(ApplicationIn(name="Seller", uid="seller")).id


def ended(svix: Svix, task_id: str) -> Any:
    """The task once it runs no more."""
    until = time.monotonic() + 60
    while (task := svix.background_task.get(task_id)).status is BackgroundTaskStatus.RUNNING:
        assert time.monotonic() < until, task
        time.sleep(0.01)
    return task


def publish(svix: Svix, app: str, count: int, event_type: str = "part.updated") -> list[str]:
    return [
        svix.message.create(app, MessageIn(event_type=event_type, payload={"n": n})).id
        for n in range(count)
    ]


def ids_of(requests: list[Received]) -> list[str]:
    """The messages that came, each as often as it came."""
    return sorted(str(request.header("webhook-id")) for request in requests)


def failing_once(svix: Svix, app: str, receiver: TestReceiver) -> str:
    """An endpoint whose deliveries fail for good at the first failure."""
    metadata = {"marketbell.retry-schedule": "1ms"}
    endpoint = EndpointIn(url=receiver.url, metadata=metadata)
    return svix.endpoint.create(app, endpoint).id


def test_missing_messages_are_sent(
    svix: Svix, app: str, receiver_of: Callable[..., TestReceiver], received: Wait
) -> None:
    messages = publish(svix, app, 5)
    receiver = receiver_of()
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver.url)).id
    begun = svix.endpoint.replay_missing(app, endpoint, ReplayIn(since=HOUR_AGO))
    assert begun.task is BackgroundTaskType.ENDPOINT_REPLAY
    assert begun.id.startswith("qtask_")
    assert ids_of(received(receiver, 5)) == sorted(messages)
    task = ended(svix, begun.id)
    assert task.status is BackgroundTaskStatus.FINISHED
    assert (task.data["made"], task.data["skipped"], task.data["progress"]) == (5, 0, 1.0)
    again = svix.endpoint.replay_missing(app, endpoint, ReplayIn(since=HOUR_AGO))
    assert ended(svix, again.id).data["made"] == 0


def test_what_failed_and_what_was_missed_is_recovered(
    svix: Svix,
    app: str,
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of(Answer(status=500), Answer(status=500), Answer())
    endpoint = failing_once(svix, app, receiver)
    (failed,) = publish(svix, app, 1)
    received(receiver, 2)
    settle()
    (delivered,) = publish(svix, app, 1)
    received(receiver, 3)
    svix.endpoint.patch(app, endpoint, EndpointPatch(disabled=True))
    missed = publish(svix, app, 2)
    with pytest.raises(HttpError) as refused:
        svix.endpoint.recover(app, endpoint, RecoverIn(since=HOUR_AGO))
    assert "disabled" in str(refused.value.detail)
    svix.endpoint.patch(app, endpoint, EndpointPatch(disabled=False))
    begun = svix.endpoint.recover(app, endpoint, RecoverIn(since=HOUR_AGO))
    assert begun.task is BackgroundTaskType.ENDPOINT_RECOVER
    assert ids_of(received(receiver, 6)[3:]) == sorted([failed, *missed])
    task = ended(svix, begun.id)
    assert (task.data["looked"], task.data["made"]) == (4, 3)
    settle()
    assert len(receiver.requests) == 6
    assert delivered not in ids_of(receiver.requests[3:])


def test_a_bulk_replay_sends_what_its_filters_name(
    svix: Svix, app: str, receiver_of: Callable[..., TestReceiver], received: Wait
) -> None:
    receiver = receiver_of()
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver.url)).id
    one = publish(svix, app, 2, "part.sold")
    tagged = svix.message.create(
        app, MessageIn(event_type="a", payload={}, tags=["red"], channels=["north"])
    ).id
    received(receiver, 3)
    wanted: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [*one, tagged]),
        ({"event_types": ["part.sold"]}, one),
        ({"tag": "red"}, [tagged]),
        ({"channel": "north"}, [tagged]),
        ({"channel": "south"}, []),
        ({"status": MessageStatus.SUCCESS}, [*one, tagged]),
        ({"status": MessageStatus.FAIL}, []),
        ({"status_code_class": StatusCodeClass.CODE2XX}, [*one, tagged]),
        ({"status_code_class": StatusCodeClass.CODE5XX}, []),
        ({"until": HOUR_AGO + timedelta(minutes=1)}, []),
    ]
    came = 3
    for filters, messages in wanted:
        begun = svix.endpoint.bulk_replay(app, endpoint, BulkReplayIn(since=HOUR_AGO, **filters))
        assert begun.task is BackgroundTaskType.ENDPOINT_BULK_REPLAY
        assert ended(svix, begun.id).data["made"] == len(messages), filters
        requests = received(receiver, came + len(messages))[came:]
        assert ids_of(requests) == sorted(messages), filters
        came += len(messages)
        # The next one finds them ended.
        received_all(svix, app, endpoint, came)


def received_all(svix: Svix, app: str, endpoint: str, count: int) -> None:
    """Wait until so many attempts at an endpoint are recorded."""
    until = time.monotonic() + 60
    while len(svix.message_attempt.list_by_endpoint(app, endpoint).data) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_tasks_are_listed_newest_first_and_filtered(
    svix: Svix, app: str, receiver_of: Callable[..., TestReceiver]
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    one = svix.endpoint.recover(app, endpoint, RecoverIn(since=HOUR_AGO)).id
    other = svix.endpoint.replay_missing(app, endpoint, ReplayIn(since=HOUR_AGO)).id
    ended(svix, one)
    ended(svix, other)

    def listed(**options: Any) -> list[str]:
        tasks = svix.background_task.list(BackgroundTaskListOptions(**options))
        return [task.id for task in tasks.data]

    assert listed() == [other, one]
    assert listed(limit=1) == [other]
    assert listed(limit=1, iterator=other) == [one]
    assert listed(task=BackgroundTaskType.ENDPOINT_RECOVER) == [one]
    assert listed(task=BackgroundTaskType.SDK_GENERATE) == []
    assert listed(status=BackgroundTaskStatus.RUNNING) == []
    assert listed(status=BackgroundTaskStatus.FINISHED) == [other, one]


def test_a_task_that_has_ended_cannot_be_cancelled(
    svix: Svix, app: str, api: httpx.Client, receiver_of: Callable[..., TestReceiver]
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    task = svix.endpoint.recover(app, endpoint, RecoverIn(since=HOUR_AGO)).id
    ended(svix, task)
    refused = api.post(f"/background-task/{task}/cancel")
    assert refused.status_code == 409
    assert "finished" in refused.json()["detail"]
    assert api.post("/background-task/qtask_no/cancel").status_code == 404


def test_a_repeated_request_begins_no_second_task(
    app: str, svix: Svix, api: httpx.Client, receiver_of: Callable[..., TestReceiver]
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    path = f"/app/{app}/endpoint/{endpoint}/recover"
    headers = {"idempotency-key": "recover-1"}
    body = {"since": HOUR_AGO.isoformat()}
    first = api.post(path, json=body, headers=headers)
    assert first.status_code == 202
    assert api.post(path, json=body, headers=headers).content == first.content
    assert len(svix.background_task.list().data) == 1


def test_what_is_wrong_with_a_request_is_said(
    svix: Svix, app: str, receiver_of: Callable[..., TestReceiver]
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(HTTPValidationError, match="since"):
        svix.endpoint.recover(app, endpoint, RecoverIn(since=later))
    with pytest.raises(HTTPValidationError, match="since"):
        svix.endpoint.recover(app, endpoint, RecoverIn(since=later, until=HOUR_AGO))
    with pytest.raises(HTTPValidationError, match="eventTypes"):
        svix.endpoint.bulk_replay(
            app, endpoint, BulkReplayIn(since=HOUR_AGO, event_types=["no such name"])
        )
    with pytest.raises(HttpError):
        svix.background_task.get("qtask_" + "0" * 27)


def test_the_filters_of_a_replay_are_checked(
    app: str, svix: Svix, api: httpx.Client, receiver_of: Callable[..., TestReceiver]
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    path = f"/app/{app}/endpoint/{endpoint}/bulk-replay"
    since = {"since": HOUR_AGO.isoformat()}
    for field, value in (("status", 9), ("statusCodeClass", 7), ("channel", ""), ("no", 1)):
        answer = api.post(path, json={**since, field: value})
        assert answer.status_code == 422, field
        assert field in answer.json()["detail"][0]["loc"], field
    assert api.get("/background-task", params={"status": "lost"}).status_code == 422
    assert api.get("/background-task", params={"task": "lost"}).status_code == 422


def test_the_payloads_of_an_application_are_removed(
    svix: Svix,
    app: str,
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    received: Wait,
    settle: Callable[[], None],
) -> None:
    receiver = receiver_of()
    svix.endpoint.create(app, EndpointIn(url=receiver.url))
    messages = publish(svix, app, 3)
    received(receiver, 3)
    settle()
    begun = svix.message.expunge_all_contents(app)
    assert ended(svix, begun.id).data["made"] == 3
    shown = api.get(f"/app/{app}/msg/{messages[0]}").json()["payload"]
    assert shown == {"expired": True}


def test_parked_deliveries_are_an_operators_to_redrive(
    api: httpx.Client, client_of: Callable[..., httpx.Client], app: str, organization: str
) -> None:
    assert api.post("/admin/redrive-dlq").status_code == 204
    theirs = client_of(organization, app)
    assert theirs.post("/admin/redrive-dlq").status_code == 403
    assert theirs.get("/background-task").status_code == 403


def test_another_organizations_task_is_not_found(
    svix: Svix,
    app: str,
    client_of: Callable[..., httpx.Client],
    receiver_of: Callable[..., TestReceiver],
) -> None:
    endpoint = svix.endpoint.create(app, EndpointIn(url=receiver_of().url)).id
    task = svix.endpoint.recover(app, endpoint, RecoverIn(since=HOUR_AGO)).id
    stranger = client_of("org_stranger")
    assert stranger.get(f"/background-task/{task}").status_code == 404
    assert stranger.post(f"/background-task/{task}/cancel").status_code == 404
    assert stranger.get("/background-task").json()["data"] == []
