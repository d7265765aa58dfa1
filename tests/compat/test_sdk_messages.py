"""Every official client through every method of what happens: messages, attempts, tasks, access."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from e2e.conftest import LiveNode
from marketbell.testing import Answer, Received, TestReceiver
from support.sdk_client import Sdk
from support.sdk_driving import HOUR_AGO, ended, whole

Receiver = Callable[..., TestReceiver]
Wait = Callable[[TestReceiver, int], list[Received]]


def test_messages(sdk: Sdk, receiver_of: Receiver, received: Wait) -> None:
    receiver = receiver_of()
    sdk.call("application.create", {"name": "A", "uid": "s"})
    with whole(sdk, "message"):
        check = {"eventType": "a", "channels": ["c"]}
        assert sdk.call("message.precheck", "s", check) == {"active": False}
        sdk.call("endpoint.create", "s", {"url": receiver.url, "channels": ["c"]})
        assert sdk.call("message.precheck", "s", check) == {"active": True}
        assert sdk.call("message.precheck", "s", {"eventType": "a"}) == {"active": False}
        given = {
            "eventType": "a",
            "payload": {"id": "é", "n": [1, 2.5, True, "x"]},
            "eventId": "n1",
            "channels": ["c"],
            "tags": ["t"],
        }
        made = sdk.call("message.create", "s", given, {"withContent": True})
        assert made["id"].startswith("msg_")
        assert {name: made[name] for name in given} == given
        (sent,) = received(receiver, 1)
        assert json.loads(sent.body) == given["payload"]
        twice = sdk.refused("message.create", "s", given)
        assert (twice.status, twice.code) == (409, "conflict")
        missing = sdk.refused("message.create", "nobody", {"eventType": "a", "payload": {}})
        assert (missing.status, missing.code) == (404, "not_found")

        bare = {**made, "payload": {}}
        assert sdk.call("message.get", "s", made["id"], {"withContent": False}) == bare
        assert sdk.call("message.get", "s", "n1", {"withContent": True}) == made
        assert sdk.call("message.get", "s", "n1") == (made if sdk.program.old else bare)
        inline = {"eventType": "b", "payload": {}, "application": {"name": "New", "uid": "new"}}
        sdk.call("message.create", "new", inline)
        assert sdk.call("application.get", "new")["name"] == "New"
        raw = {"eventType": "b", "rawPayload": "<xml/>", "contentType": "application/xml"}
        xml = sdk.call("message.create", "new", raw)
        listing_messages(sdk, made)

        assert sdk.call("message.expunge_content", "s", "n1") is None
        expired = sdk.call("message.get", "s", "n1", {"withContent": True})
        assert expired["payload"] == {"expired": True}
        if sdk.has("message.bulk_expunge_content"):
            results = sdk.call("message.bulk_expunge_content", "new", {"ids": [xml["id"], "none"]})
            assert results == {"results": {xml["id"]: "expunged", "none": "not-found"}}
        task = sdk.call("message.expunge_all_contents", "new")
        assert ended(sdk, task["id"])["status"] == "finished"


def listing_messages(sdk: Sdk, first: Any) -> None:
    """Pages in both directions, and every filter."""
    ids = [first["id"]] + [
        sdk.call("message.create", "s", {"eventType": "b", "payload": {"n": n}})["id"]
        for n in range(4)
    ]

    def found(options: Any) -> list[str]:
        return [one["id"] for one in sdk.call("message.list", "s", options)["data"]]

    newest = ids[::-1]
    page = sdk.call("message.list", "s", {"limit": 2})
    assert ([one["id"] for one in page["data"]], page["done"]) == (newest[:2], False)
    second = sdk.call("message.list", "s", {"limit": 2, "iterator": page["iterator"]})
    assert [one["id"] for one in second["data"]] == newest[2:4]
    assert found({"limit": 2, "iterator": second["iterator"]}) == newest[4:]
    assert found({"limit": 2, "iterator": second["prevIterator"]}) == newest[:2]
    assert found({"channel": "c"}) == found({"tag": "t"}) == found({"eventTypes": ["a"]}) == ids[:1]
    assert found({"eventTypes": ["a", "b"]}) == newest
    assert found({"after": HOUR_AGO}) == newest
    assert found({"before": HOUR_AGO}) == []
    (whole_one,) = sdk.call("message.list", "s", {"tag": "t", "withContent": True})["data"]
    assert whole_one == first


def test_attempts(sdk: Sdk, live: LiveNode, receiver_of: Receiver, received: Wait) -> None:
    receiver = receiver_of(Answer(body=b"thanks"), Answer(status=500, body=b"no"), Answer())
    sdk.call("application.create", {"name": "A", "uid": "s"})
    metadata = {"marketbell.retry-schedule": "1h"}
    endpoint = {"url": receiver.url, "uid": "e", "metadata": metadata}
    endpoint_id = sdk.call("endpoint.create", "s", endpoint)["id"]
    with whole(sdk, "message_attempt"):
        good = {
            "eventType": "a",
            "payload": {"n": 1},
            "eventId": "n1",
            "channels": ["c"],
            "tags": ["t"],
        }
        first = sdk.call("message.create", "s", good)["id"]
        received(receiver, 1)
        live.settle()
        second = sdk.call("message.create", "s", {"eventType": "b", "payload": {}})["id"]
        received(receiver, 2)
        live.settle()

        listing_attempts(sdk, first, second)
        by = {"withContent": True, "endpointId": "e", "status": 0}
        (attempt,) = sdk.call("message_attempt.list_by_msg", "s", "n1", by)["data"]
        assert (attempt["response"], attempt["endpointId"]) == ("thanks", endpoint_id)
        assert (attempt["url"], attempt["triggerType"], attempt["statusText"]) == (
            receiver.url,
            0,
            "success",
        )
        assert sdk.call("message_attempt.get", "s", first, attempt["id"]) == attempt
        (to,) = sdk.call("message_attempt.list_attempted_destinations", "s", "n1")["data"]
        assert (to["id"], to["status"]) == (endpoint_id, 0)
        messages = sdk.call(
            "message_attempt.list_attempted_messages", "s", "e", {"withContent": True}
        )
        assert [(one["id"], one["status"]) for one in messages["data"]] == [(second, 1), (first, 0)]
        assert messages["data"][1]["payload"] == {"n": 1}
        assert "nextAttempt" in messages["data"][0]

        sdk.call("message_attempt.resend", "s", "n1", "e")
        received(receiver, 3)
        live.settle()
        again = sdk.call("message_attempt.list_by_msg", "s", "n1", {})
        assert [one["triggerType"] for one in again["data"]] == [1, 0]
        assert receiver.requests[2].body == receiver.requests[0].body

        assert sdk.call("message_attempt.expunge_content", "s", "n1", attempt["id"]) is None
        assert sdk.call("message_attempt.get", "s", "n1", attempt["id"])["response"] == "EXPUNGED"
        sdk.call("message.expunge_content", "s", "n1")
        gone = sdk.refused("message_attempt.resend", "s", "n1", "e")
        assert (gone.status, gone.code) == (400, "missing_payload")


def listing_attempts(sdk: Sdk, first: str, second: str) -> None:
    """Pages in both directions, and every filter; the second message's attempt has failed."""
    page = sdk.call("message_attempt.list_by_endpoint", "s", "e", {"limit": 1, "withMsg": True})
    (failed,) = page["data"]
    assert (failed["msgId"], failed["msg"]["id"], page["done"]) == (second, second, False)
    assert (failed["status"], failed["responseStatusCode"]) == (2, 500)
    onwards = {"limit": 1, "iterator": page["iterator"]}
    rest = sdk.call("message_attempt.list_by_endpoint", "s", "e", onwards)
    assert [one["msgId"] for one in rest["data"]] == [first]
    back = {"limit": 1, "iterator": rest["prevIterator"]}
    back = sdk.call("message_attempt.list_by_endpoint", "s", "e", back)
    assert [one["id"] for one in back["data"]] == [failed["id"]]

    def attempts(options: Any) -> list[str]:
        found = sdk.call("message_attempt.list_by_endpoint", "s", "e", options)
        return [one["msgId"] for one in found["data"]]

    for options in (
        {"status": 0},
        {"statusCodeClass": 200},
        {"channel": "c"},
        {"tag": "t"},
        {"eventTypes": ["a"]},
    ):
        assert attempts(options) == [first], options
    assert attempts({"statusCodeClass": 500, "after": HOUR_AGO}) == [second]
    assert attempts({"before": HOUR_AGO}) == attempts({"status": 3}) == []


def test_authentication(sdk: Sdk, live: LiveNode, organization: str) -> None:
    with whole(sdk, "authentication"):
        application = {"application": {"name": "Seller", "uid": "s"}}
        access = sdk.call("authentication.app_portal_access", "s", application)
        page = httpx.get(access["url"])
        assert (page.status_code, "text/html" in page.headers["content-type"]) == (200, True)
        seller = sdk.to(token=access["token"])
        assert seller.call("endpoint.list", "s")["data"] == []
        assert seller.refused("application.list").status == 403
        if sdk.has("authentication.dashboard_access"):
            older = sdk.call("authentication.dashboard_access", "s")
            assert sdk.to(token=older["token"]).call("endpoint.list", "s")["data"] == []
        own = sdk.to(token=live.token(organization + "x"))
        own.call("application.list")
        assert own.call("authentication.logout") is None
        ended_token = own.refused("application.list")
        assert (ended_token.status, ended_token.code) == (401, "authentication_failed")
        assert sdk.call("authentication.expire_all", "s", {}) is None
        assert seller.refused("endpoint.list", "s").status == 401
        assert sdk.call("application.get", "s")["name"] == "Seller"


def test_background_tasks(sdk: Sdk) -> None:
    sdk.call("application.create", {"name": "A", "uid": "s"})
    sdk.call(
        "endpoint.create", "s", {"url": "https://example.com/", "uid": "e", "channels": ["no"]}
    )
    begun = [sdk.call("endpoint.recover", "s", "e", {"since": HOUR_AGO}) for _ in range(3)]
    with whole(sdk, "background_task"):
        task = ended(sdk, begun[0]["id"])
        assert (task["id"], task["task"], task["status"]) == (
            begun[0]["id"],
            "endpoint.recover",
            "finished",
        )
        ids = [ended(sdk, one["id"])["id"] for one in begun][::-1]
        page = sdk.call("background_task.list", {"limit": 2, "task": "endpoint.recover"})
        assert ([one["id"] for one in page["data"]], page["done"]) == (ids[:2], False)
        page = sdk.call("background_task.list", {"limit": 2, "iterator": page["iterator"]})
        assert [one["id"] for one in page["data"]] == ids[2:]
        page = sdk.call("background_task.list", {"limit": 2, "iterator": page["prevIterator"]})
        assert [one["id"] for one in page["data"]] == ids[:2]
        oldest = sdk.call("background_task.list", {"order": "ascending", "status": "finished"})
        assert [one["id"] for one in oldest["data"]] == ids[::-1]
        if sdk.has("background_task.list_by_endpoint"):
            assert (
                sdk.call("background_task.list_by_endpoint", {"limit": 1})["data"][0]["id"]
                == ids[0]
            )
        missing = sdk.refused("background_task.get", "qtask_none")
        assert (missing.status, missing.code) == (404, "not_found")
