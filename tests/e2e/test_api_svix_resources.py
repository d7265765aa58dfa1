"""Every method of the resources application, endpoint and event type of the official `svix` 2.x."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from svix.api import (
    ApplicationIn,
    ApplicationPatch,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventExampleIn,
    EventTypeIn,
    EventTypeListOptions,
    EventTypePatch,
    Ordering,
    Svix,
    SvixOptions,
)
from svix.api.application import Application
from svix.api.endpoint import Endpoint
from svix.api.errors.http_error import HttpError
from svix.api.errors.http_validation_error import HTTPValidationError
from svix.api.event_type import EventType, EventTypeDeleteOptions
from svix.models import EndpointUpsertIn, EventTypeImportOpenApiIn, EventTypeUpsertIn
from svix.webhooks import Webhook

from marketbell.testing import Received, TestReceiver

HERE = {
    Application: {"list", "create", "get_or_create", "get", "upsert", "delete", "patch"},
    Endpoint: {
        "list",
        "create",
        "get",
        "upsert",
        "delete",
        "patch",
        "get_secret",
        "rotate_secret",
        "get_headers",
        "set_headers",
        "patch_headers",
        "send_example",
    },
    EventType: {"list", "create", "import_openapi", "get", "upsert", "delete", "patch"},
}
ELSEWHERE = {
    "replay_missing",
    "bulk_replay",
    "get_stats",
    "get_attempt_stats",
    "recover",
    "transformation_partial_update",
    "transformation",
}
"""Methods of these resources that other tests drive, or that this server refuses."""


@pytest.fixture
def svix(live_url: str, token_of: Callable[..., str], organization: str) -> Iterator[Svix]:
    server = live_url.removesuffix("/api/v1")
    client = Svix(token_of(organization), SvixOptions(server_url=server, retry_schedule=[]))
    yield client
    client._httpx_client.close()


def test_no_method_is_forgotten() -> None:
    for resource, here in HERE.items():
        there = {name for name, _ in inspect.getmembers(resource) if not name.startswith("_")}
        assert there - ELSEWHERE == here


def test_application(svix: Svix) -> None:
    app = svix.application
    one = app.create(ApplicationIn(name="A", uid="a", throttle_rate=7, metadata={"k": "v"}))
    assert app.get_or_create(ApplicationIn(name="other", uid="a")) == one
    assert app.upsert("b", ApplicationIn(name="B")).uid == "b"
    assert app.patch("a", ApplicationPatch(name="C", throttle_rate=None)).throttle_rate is None
    assert [found.uid for found in app.list().data] == ["a", "b"]
    with pytest.raises(HttpError) as taken:
        app.upsert("a", ApplicationIn(name="A", uid="b"))
    assert (taken.value.status_code, taken.value.code) == (409, "conflict")
    app.delete("a")
    again = app.create(ApplicationIn(name="anew", uid="a"))
    assert again.id != one.id
    assert app.get("a") == again


def test_endpoint(
    svix: Svix,
    receiver_of: Callable[..., TestReceiver],
    received: Callable[[TestReceiver, int], list[Received]],
) -> None:
    receiver = receiver_of()
    svix.application.create(ApplicationIn(name="A", uid="s"))
    for name in ("a", "b"):
        svix.event_type.create(EventTypeIn(name=name, description=""))
    endpoint = svix.endpoint
    one = endpoint.create(
        "s",
        EndpointIn(
            url=receiver.url,
            uid="e",
            description="d",
            event_types=["a"],
            channels=["c"],
            throttle_rate=100,
            metadata={"k": "v"},
            headers={"X-A": "1"},
            secret="A" * 32,
        ),
    )
    assert endpoint.list("s").data == [one] == [endpoint.get("s", one.id)]
    assert endpoint.get_secret("s", "e").key == "whsec_" + "A" * 32
    patched = endpoint.patch("s", "e", EndpointPatch(event_types=["b"], description="x"))
    assert (patched.event_types, patched.channels, patched.description) == (["b"], ["c"], "x")
    upserted = endpoint.upsert("s", "e", EndpointUpsertIn(url=receiver.url, uid="e"))
    assert (upserted.event_types, upserted.metadata) == (None, {})
    assert endpoint.upsert("s", "new", EndpointUpsertIn(url=receiver.url)).uid == "new"
    endpoint.delete("s", "new")
    rotated = endpoint.rotate_secret("s", "e", EndpointSecretRotateIn(grace_period_seconds=60))
    assert rotated == endpoint.get_secret("s", "e")
    endpoint.set_headers("s", "e", EndpointHeadersIn(headers={"X-A": "2", "X-Token": "t"}))
    endpoint.patch_headers("s", "e", EndpointHeadersPatchIn(headers={"X-B": "3"}))
    shown = endpoint.get_headers("s", "e")
    assert (shown.headers, shown.sensitive) == ({"X-A": "2", "X-B": "3"}, ["X-Token"])
    message = endpoint.send_example("s", "e", EventExampleIn(event_type="svix.ping"))
    (sent,) = received(receiver, 1)
    for key in (rotated.key, "whsec_" + "A" * 32):
        Webhook(key).verify(sent.body, headers_of(sent))
    assert json.loads(sent.body) == message.payload
    assert sent.header("x-token") == "t"
    with pytest.raises(HTTPValidationError) as unknown:
        endpoint.patch("s", "e", EndpointPatch(event_types=["none"]))
    assert "The following event types don't exist: none" in str(unknown.value)


def headers_of(request: Received) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


def test_event_type(svix: Svix) -> None:
    types = svix.event_type
    schemas = {"1": {"type": "object"}, "2": {"type": "object", "required": ["id"]}}
    one = types.create(
        EventTypeIn(
            name="a.b",
            description="d",
            schemas=schemas,
            group_name="a",
            feature_flags=["beta"],
            deprecated=True,
        )
    )
    assert (one.schemas, one.group_name, one.feature_flags) == (schemas, "a", ["beta"])
    assert types.get("a.b") == one
    with pytest.raises(HttpError) as exists:
        types.create(EventTypeIn(name="a.b", description=""))
    assert (exists.value.status_code, exists.value.code) == (409, "event_type_exists")
    assert types.patch("a.b", EventTypePatch(group_name=None)).group_name is None
    assert types.upsert("c", EventTypeUpsertIn(description="made")).description == "made"
    assert types.upsert("a.b", EventTypeUpsertIn(description="e")).schemas is None
    types.delete("a.b")
    assert [one.name for one in types.list().data] == ["c"]
    everything = types.list(
        EventTypeListOptions(include_archived=True, order=Ordering.DESCENDING, with_content=True)
    )
    assert [(one.name, one.archived) for one in everything.data] == [("c", False), ("a.b", True)]
    revived = types.create(EventTypeIn(name="a.b", description="back"))
    assert (revived.archived, revived.created_at) == (False, one.created_at)
    types.delete("a.b", EventTypeDeleteOptions(expunge=True))
    assert [one.name for one in types.list(EventTypeListOptions(include_archived=True)).data] == [
        "c"
    ]


SPEC: dict[str, Any] = {
    "openapi": "3.1.0",
    "webhooks": {
        "pet.new": {
            "post": {
                "description": "A pet is new.",
                "x-svix-group-name": "pets",
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}
                    }
                },
            }
        },
        "pet.gone": {"post": {"deprecated": True}},
    },
    "components": {"schemas": {"Pet": {"type": "object", "required": ["name"]}}},
}
YAML = """
openapi: 3.0.3
x-webhooks:
  pet.new:
    post:
      summary: New, from YAML
      requestBody:
        content:
          application/json:
            schema: {type: object, properties: {name: {type: string, nullable: true}}}
"""


def test_event_types_from_openapi(svix: Svix) -> None:
    types = svix.event_type
    types.create(EventTypeIn(name="other", description=""))
    dry = types.import_openapi(EventTypeImportOpenApiIn(spec=SPEC, dry_run=True)).data
    assert dry.modified == []
    assert dry.to_modify is not None
    assert [(one.name, one.deprecated) for one in dry.to_modify] == [
        ("pet.new", False),
        ("pet.gone", True),
    ]
    assert [one.name for one in types.list().data] == ["other"]
    done = types.import_openapi(EventTypeImportOpenApiIn(spec_raw=json.dumps(SPEC))).data
    assert done.modified == ["pet.new", "pet.gone"]
    new = types.get("pet.new")
    assert (new.description, new.group_name) == ("A pet is new.", "pets")
    assert new.schemas is not None
    assert new.schemas["1"]["$defs"]["Pet"]["required"] == ["name"]
    assert types.import_openapi(EventTypeImportOpenApiIn(spec=SPEC)).data.modified == []
    yaml = types.import_openapi(EventTypeImportOpenApiIn(spec_raw=YAML, replace_all=True)).data
    assert yaml.modified == ["pet.new"]
    assert [one.name for one in types.list().data] == ["pet.new"]
    new = types.get("pet.new")
    assert (new.description, new.group_name) == ("New, from YAML", "pets")
    assert types.import_openapi(EventTypeImportOpenApiIn(spec=SPEC)).data.modified == [
        "pet.new",
        "pet.gone",
    ]
    assert types.get("pet.gone").archived is False


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"spec": SPEC, "spec_raw": "{}"},
        {"spec": {}},
        {"spec_raw": "a: ["},
        {"spec_raw": "[]"},
        {"spec": {**SPEC, "webhooks": {"a b": {"post": {}}}}},
        {"spec": {**SPEC, "webhooks": {"a": {"post": {"x-svix-group-name": "a b"}}}}},
        {"spec": {**SPEC, "components": {"schemas": {"Pet": {"type": "nonsense"}}}}},
    ],
)
def test_a_document_that_cannot_be_read_changes_nothing(svix: Svix, given: dict[str, Any]) -> None:
    with pytest.raises(HTTPValidationError):
        svix.event_type.import_openapi(EventTypeImportOpenApiIn(**given))
    assert svix.event_type.list(EventTypeListOptions(include_archived=True)).data == []
