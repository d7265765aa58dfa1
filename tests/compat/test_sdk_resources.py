"""Every official client through every method of what is configured: values, not only success."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marketbell.testing import Received, TestReceiver
from support.sdk_client import Program, Sdk
from support.sdk_driving import HOUR_AGO, ended, here, resource, uids, whole
from support.sdk_routes import OPEN_SOURCE, shape

Receiver = Callable[..., TestReceiver]
Wait = Callable[[TestReceiver, int], list[Received]]

SECRET = "whsec_" + "A" * 32


def test_every_resource_is_driven(program: Program) -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_sdk_*.py"))
    driven = {
        name
        for given in re.findall(r"with whole\(sdk, (.*?)\):", tests)
        for name in re.findall(r'"([a-z_.]+)"', given)
    }
    methods = [one for one in program.methods.values() if one.asks]
    assert {resource(one.name) for one in methods if here(one)} <= driven
    asked = {(one.asks[0], shape(one.asks[1])) for one in methods if one.asks}
    assert asked >= OPEN_SOURCE
    assert len(asked) > 70


def test_health(sdk: Sdk) -> None:
    with whole(sdk, "health"):
        assert sdk.call("health.get") is None


def test_applications(sdk: Sdk) -> None:
    with whole(sdk, "application"):
        given = {"name": "A", "uid": "a", "throttleRate": 7, "metadata": {"k": "v"}}
        made = sdk.call("application.create", given)
        assert made["id"].startswith("app_")
        assert {name: made[name] for name in given} == given
        assert sdk.call("application.get", "a") == made == sdk.call("application.get", made["id"])
        assert sdk.call("application.get_or_create", {"name": "other", "uid": "a"}) == made
        assert sdk.call("application.get_or_create", {"name": "B", "uid": "b"})["name"] == "B"
        taken = sdk.refused("application.create", given)
        assert (taken.status, taken.code) == (409, "conflict")
        assert "a" in taken.detail

        # What is absent stays, what is null is cleared.
        patched = sdk.call("application.patch", "a", {"name": "C"})
        assert (patched["throttleRate"], patched["uid"]) == (7, "a")
        patched = sdk.call("application.patch", "a", {"throttleRate": None})
        assert ("throttleRate" in patched, patched["name"]) == (False, "C")
        replaced = sdk.call("application.upsert", "a", {"name": "D"})
        assert (replaced["id"], replaced["uid"], replaced["metadata"]) == (made["id"], "a", {})
        assert sdk.call("application.upsert", "c", {"name": "new"})["uid"] == "c"
        sdk.call("application.create", {"name": "E", "uid": "d"})

        # A page on, and back.
        first = sdk.call("application.list", {"limit": 2})
        assert (uids(first), first["done"]) == (["a", "b"], False)
        second = sdk.call("application.list", {"limit": 2, "iterator": first["iterator"]})
        assert (uids(second), second["done"]) == (["c", "d"], True)
        back = sdk.call("application.list", {"limit": 2, "iterator": second["prevIterator"]})
        assert uids(back) == ["a", "b"]
        down = sdk.call("application.list", {"order": "descending", "limit": 3})
        assert uids(down) == ["d", "c", "b"]

        assert sdk.call("application.delete", "a") is None
        gone = sdk.refused("application.get", made["id"])
        assert (gone.status, gone.code) == (404, "not_found")
        assert sdk.call("application.create", given)["id"] != made["id"]
        wrong = sdk.refused("application.create", {"name": "x", "uid": "no spaces"})
        assert wrong.status == 422
        assert wrong.detail[0]["loc"] == ["body", "uid"]
        assert wrong.detail[0]["type"] == "value_error"
        wrong = sdk.refused("application.list", {"limit": 251})
        assert (wrong.status, wrong.detail[0]["loc"]) == (422, ["query", "limit"])
        wrong = sdk.refused("application.list", {"excludeAppsWithNoEndpoints": True})
        assert wrong.detail[0]["loc"] == ["query", "exclude_apps_with_no_endpoints"]
        stranger = sdk.to(token="nonsense").refused("application.list")
        assert (stranger.status, stranger.code) == (401, "authentication_failed")


def test_endpoints(sdk: Sdk, receiver_of: Receiver, received: Wait) -> None:
    receiver = receiver_of()
    sdk.call("application.create", {"name": "A", "uid": "s"})
    for name in ("a", "b"):
        sdk.call("event_type.create", {"name": name, "description": ""})
    with whole(sdk, "endpoint"):
        given = {
            "url": receiver.url,
            "uid": "e",
            "description": "d",
            "eventTypes": ["a"],
            "channels": ["c"],
            "throttleRate": 100,
            "metadata": {"k": "v"},
        }
        made = sdk.call(
            "endpoint.create", "s", {**given, "secret": SECRET, "headers": {"X-A": "1"}}
        )
        assert made["id"].startswith("ep_")
        assert {name: made[name] for name in given} == given
        assert made["disabled"] is False
        assert (
            sdk.call("endpoint.get", "s", made["id"]) == made == sdk.call("endpoint.get", "s", "e")
        )
        unknown = sdk.refused("endpoint.create", "s", {"url": receiver.url, "eventTypes": ["no"]})
        assert (unknown.status, unknown.detail[0]["msg"]) == (
            422,
            "The following event types don't exist: no",
        )
        changed_and_listed(sdk, made)
        headers_and_secrets(sdk, receiver, received)
        behind_an_endpoint(sdk, receiver, received)


def changed_and_listed(sdk: Sdk, made: Any) -> None:
    """PATCH, PUT, DELETE, and pages in both directions."""
    patched = sdk.call("endpoint.patch", "s", "e", {"channels": None, "eventTypes": ["b"]})
    assert ("channels" in patched, patched["eventTypes"]) == (False, ["b"])
    assert (patched["description"], patched["throttleRate"]) == ("d", 100)
    assert sdk.call("endpoint.patch", "s", "e", {"disabled": True})["disabled"] is True
    replaced = sdk.call("endpoint.upsert", "s", "e", {"url": made["url"], "uid": "e"})
    assert replaced["id"] == made["id"]
    assert "eventTypes" not in replaced
    assert (replaced["disabled"], replaced["metadata"]) == (False, {})
    other = sdk.call("endpoint.upsert", "s", "f", {"url": "https://example.com/", "disabled": True})
    page = sdk.call("endpoint.list", "s", {"limit": 1})
    assert (uids(page), page["done"]) == (["e"], False)
    page = sdk.call("endpoint.list", "s", {"limit": 1, "iterator": page["iterator"]})
    assert (page["data"], page["done"]) == ([other], True)
    assert uids(sdk.call("endpoint.list", "s", {"iterator": page["prevIterator"]})) == ["e"]
    assert uids(sdk.call("endpoint.list", "s", {"order": "descending"})) == ["f", "e"]
    assert sdk.call("endpoint.delete", "s", "f") is None
    assert sdk.refused("endpoint.get", "s", "f").status == 404


def headers_and_secrets(sdk: Sdk, receiver: TestReceiver, received: Wait) -> None:
    """What is sent besides the body, shown by an example."""
    assert sdk.call("endpoint.get_headers", "s", "e")["headers"] == {"X-A": "1"}
    sdk.call("endpoint.set_headers", "s", "e", {"headers": {"X-B": "2", "Authorization": "t"}})
    shown = sdk.call("endpoint.get_headers", "s", "e")
    assert shown == {"headers": {"X-B": "2"}, "sensitive": ["Authorization"]}
    sdk.call("endpoint.patch_headers", "s", "e", {"headers": {"X-C": "3"}})
    older_header_names(sdk)
    assert sdk.call("endpoint.get_headers", "s", "e")["headers"] == {"X-B": "2", "X-C": "3"}

    assert sdk.call("endpoint.get_secret", "s", "e") == {"key": SECRET}
    sdk.call("endpoint.rotate_secret", "s", "e", {"gracePeriodSeconds": 60})
    new = sdk.call("endpoint.get_secret", "s", "e")["key"]
    assert new.startswith("whsec_")
    assert new != SECRET
    example = sdk.call("endpoint.send_example", "s", "e", {"eventType": "svix.ping"})
    (sent,) = received(receiver, 1)
    assert json.loads(sent.body) == example["payload"]
    assert sent.header("authorization") == "t"
    wire = {name.lower(): value for name, value in sent.headers}
    for key in (new, SECRET):
        assert sdk.program.verified("svix", key, sent.body, wire)


def older_header_names(sdk: Sdk) -> None:
    """Names of the first line of npm's package, which call the newer ones."""
    if sdk.has("endpoint.headers_update"):
        sdk.call("endpoint.headers_update", "s", "e", {"headers": {"X-B": "2", "X-D": "4"}})
        sdk.call("endpoint.headers_patch", "s", "e", {"headers": {"X-C": "3", "X-D": None}})
        sdk.call("endpoint.patch_headers", "s", "e", {"headers": {"Authorization": "t"}})


def behind_an_endpoint(sdk: Sdk, receiver: TestReceiver, received: Wait) -> None:
    """Statistics, and what a background task sends."""
    sdk.call("endpoint.patch", "s", "e", {"disabled": True})
    for number in range(3):
        sdk.call("message.create", "s", {"eventType": "a", "payload": {"n": number}})
    sdk.call("endpoint.patch", "s", "e", {"disabled": False})
    since = {"since": HOUR_AGO}
    for name, count in (("recover", 3), ("replay_missing", 0), ("bulk_replay", 4)):
        task = sdk.call(f"endpoint.{name}", "s", "e", since)
        assert (task["id"][:6], task["status"]) == ("qtask_", "running")
        assert ended(sdk, task["id"])["data"]["made"] == count
    received(receiver, 8)
    stats = sdk.call("endpoint.get_stats", "s", "e", since)
    assert stats.keys() == {"success", "pending", "sending", "fail", "canceled"}
    assert (sum(stats.values()), stats["fail"]) == (4, 0)
    assert sdk.call("endpoint.get_stats", "s", "e").keys() == stats.keys()
    if sdk.has("endpoint.get_attempt_stats"):
        assert sdk.call("endpoint.get_attempt_stats", "s", "e", since)["fail"] == 0


SPEC = {
    "openapi": "3.1.0",
    "webhooks": {
        "pet.new": {
            "post": {
                "description": "A pet is new.",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
            }
        }
    },
}


def test_event_types(sdk: Sdk) -> None:
    def names(options: Any) -> list[str]:
        return [one["name"] for one in sdk.call("event_type.list", options)["data"]]

    with whole(sdk, "event_type"):
        schemas = {"1": {"type": "object", "required": ["id"]}}
        given = {"name": "a.b", "description": "d", "schemas": schemas, "groupName": "a"}
        made = sdk.call("event_type.create", given)
        assert {name: made[name] for name in given} == given
        assert (made["archived"], made["deprecated"]) == (False, False)
        assert sdk.call("event_type.get", "a.b") == made
        exists = sdk.refused("event_type.create", given)
        assert (exists.status, exists.code) == (409, "event_type_exists")
        assert "groupName" not in sdk.call("event_type.patch", "a.b", {"groupName": None})
        assert sdk.call("event_type.patch", "a.b", {"deprecated": True})["schemas"] == schemas
        assert "schemas" not in sdk.call("event_type.upsert", "a.b", {"description": "e"})
        assert sdk.call("event_type.upsert", "c", {"description": "made"})["name"] == "c"
        first = sdk.call("event_type.list", {"limit": 1, "withContent": True})
        assert ([one["name"] for one in first["data"]], first["done"]) == (["a.b"], False)
        page = sdk.call("event_type.list", {"iterator": first["iterator"]})
        assert ([one["name"] for one in page["data"]], page["done"]) == (["c"], True)
        assert names({"iterator": page["prevIterator"]}) == ["a.b"]
        sdk.call("event_type.delete", "a.b")
        assert names({}) == ["c"]
        assert names({"includeArchived": True, "order": "descending"}) == ["c", "a.b"]
        assert sdk.call("event_type.create", given)["archived"] is False
        sdk.call("event_type.delete", "a.b", {"expunge": True})
        assert names({"includeArchived": True}) == ["c"]
        dry = sdk.call("event_type.import_openapi", {"specRaw": json.dumps(SPEC), "dryRun": True})
        would = dry["data"].get("to_modify") or dry["data"]["toModify"]
        assert [one["name"] for one in would] == ["pet.new"]
        done = sdk.call("event_type.import_openapi", {"spec": SPEC})
        assert done["data"]["modified"] == ["pet.new"]
        assert sdk.call("event_type.get", "pet.new")["description"] == "A pet is new."


def test_operational_endpoints(sdk: Sdk, receiver_of: Receiver, received: Wait) -> None:
    with whole(sdk, "operational_webhook.endpoint", "operational_webhook_endpoint"):
        for name in ("operational_webhook.endpoint", "operational_webhook_endpoint"):
            if not sdk.has(f"{name}.create"):
                continue  # the older name of the same is gone from newer packages
            operational_endpoint(sdk, name, receiver_of(), received)


def operational_endpoint(sdk: Sdk, name: str, receiver: TestReceiver, received: Wait) -> None:
    given = {"url": receiver.url, "uid": "ops", "eventTypes": ["endpoint.created"]}
    made = sdk.call(f"{name}.create", {**given, "description": "d", "secret": SECRET})
    assert {field: made[field] for field in given} == given
    assert sdk.call(f"{name}.get", "ops") == made
    assert sdk.call(f"{name}.list", {"limit": 5})["data"] == [made]
    sdk.call(f"{name}.set_headers", "ops", {"headers": {"X-A": "1"}})
    assert sdk.call(f"{name}.get_headers", "ops")["headers"] == {"X-A": "1"}
    assert sdk.call(f"{name}.get_secret", "ops") == {"key": SECRET}
    app = sdk.call("application.create", {"name": "A"})["id"]
    endpoint = sdk.call("endpoint.create", app, {"url": "https://example.com/"})["id"]
    (sent,) = received(receiver, 1)
    body = json.loads(sent.body)
    assert (body["type"], body["data"]["endpointId"]) == ("endpoint.created", endpoint)
    wire = {field.lower(): value for field, value in sent.headers}
    assert sdk.program.verified("svix", SECRET, sent.body, wire)
    sdk.call(f"{name}.rotate_secret", "ops", {"key": base64.b64encode(b"n" * 32).decode()})
    assert sdk.call(f"{name}.get_secret", "ops")["key"] != SECRET
    changed = sdk.call(f"{name}.upsert", "ops", {"url": "https://example.com/2"})
    assert (changed["id"], changed["url"]) == (made["id"], "https://example.com/2")
    assert sdk.call(f"{name}.delete", "ops") is None
    assert sdk.refused(f"{name}.get", "ops").status == 404
