"""Webhooks of OpenAPI documents, read as event types."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from marketbell.control.openapi import Webhook, webhooks
from marketbell.dialects import export
from marketbell.dialects.registry import built_in
from marketbell.dialects.schema import PayloadSchema
from marketbell.errors import InvalidError

FIELD = ("body", "spec")


def operation(schema: object, **more: object) -> dict[str, Any]:
    body = {"content": {"application/json": {"schema": schema}}}
    return {"post": {"description": "d", "requestBody": body, **more}}


def document(items: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "webhooks": items, **parts}


def only(given: dict[str, Any]) -> Webhook:
    (found,) = webhooks(given, FIELD)
    return found


def schema_of(given: dict[str, Any]) -> Any:
    schema = only(given).schema
    assert schema is not None
    return msgspec.json.decode(schema)


def refusal(given: dict[str, Any]) -> tuple[tuple[str | int, ...], str]:
    with pytest.raises(InvalidError) as caught:
        list(webhooks(given, FIELD))
    return caught.value.field, caught.value.detail


def test_everything_that_a_webhook_says_is_read() -> None:
    item = operation(
        {"type": "object"},
        deprecated=True,
        **{"x-svix-group-name": "g", "x-svix-feature-flags": ["a", "b"]},
    )
    assert only(document({"a.b": item})) == Webhook(
        name="a.b",
        description="d",
        deprecated=True,
        schema=b'{"type":"object"}',
        group_name="g",
        feature_flags=("a", "b"),
    )


def test_what_it_does_not_say_is_none() -> None:
    found = only({"openapi": "3.0.3", "x-webhooks": {"a": {"summary": "s", "post": {}}}})
    assert (found.description, found.schema, found.group_name) == ("s", None, None)
    assert (found.feature_flags, found.deprecated) == (None, False)
    single = {"a": {"post": {"x-svix-feature-flag": "f"}}}
    assert only(document(single)).feature_flags == ("f",)


def test_components_go_along_with_all_that_they_lead_to() -> None:
    components = {
        "schemas": {
            "A": {"type": "object", "properties": {"b": {"$ref": "#/components/schemas/B"}}},
            "B": {"type": "array", "items": {"$ref": "#/components/schemas/A"}},
            "C": {"type": "string"},
        },
        "requestBodies": {
            "R": {"content": {"x/y+json": {"schema": {"$ref": "#/components/schemas/A"}}}}
        },
        "pathItems": {"P": {"post": {"requestBody": {"$ref": "#/components/requestBodies/R"}}}},
    }
    schema = schema_of(document({"a": {"$ref": "#/components/pathItems/P"}}, components=components))
    assert schema["$ref"] == "#/$defs/A"
    assert set(schema["$defs"]) == {"A", "B"}
    compiled = PayloadSchema(schema)
    compiled.check(b'{"b":[{"b":[]}]}')
    with pytest.raises(InvalidError):
        compiled.check(b'{"b":[1]}')


def test_examples_of_the_media_type_become_those_of_the_schema() -> None:
    item = operation({"type": "object"})
    media = item["post"]["requestBody"]["content"]["application/json"]
    media["example"] = {"n": 0}
    media["examples"] = {"x": {"value": {"n": 1}}, "y": {"$ref": "#/components/examples/Y"}}
    components = {"examples": {"Y": {"value": {"n": 2}}}}
    schema = schema_of(document({"a": item}, components=components))
    assert schema["examples"] == [{"n": 0}, {"n": 1}, {"n": 2}]
    media["schema"]["examples"] = [{"own": True}]
    assert schema_of(document({"a": item}, components=components))["examples"] == [{"own": True}]


def test_schemas_of_3_0_are_brought_to_json_schema() -> None:
    old = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "nullable": True, "enum": ["x"]},
            "b": {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            "c": {"type": "number", "maximum": 1, "exclusiveMaximum": False},
        },
    }
    schema = schema_of({"openapi": "3.0.0", "x-webhooks": {"a": operation(old)}})
    assert schema["properties"] == {
        "a": {"type": ["string", "null"], "enum": ["x", None]},
        "b": {"type": "number", "exclusiveMinimum": 1},
        "c": {"type": "number", "maximum": 1},
    }
    PayloadSchema(schema).check(b'{"a":null,"b":2,"c":1}')


def test_our_own_catalogues_are_read_back() -> None:
    for dialect in built_in():
        if not dialect.catalogue:
            continue
        exported = msgspec.json.decode(msgspec.json.encode(export.openapi(dialect)))
        found = {webhook.name: webhook for webhook in webhooks(exported, FIELD)}
        assert set(found) == set(dialect.catalogue)
        for webhook in found.values():
            assert webhook.schema is not None
            PayloadSchema(msgspec.json.decode(webhook.schema))


@pytest.mark.parametrize(
    ("given", "place", "text"),
    [
        ({}, ("openapi",), "version 3.x"),
        ({"openapi": "2.0"}, ("openapi",), "version 3.x"),
        ({"openapi": "3.1.0"}, ("webhooks",), "x-webhooks"),
        (document([]), ("webhooks",), "object"),  # type: ignore[arg-type]
        (document({"a": 1}), ("webhooks", "a"), "object"),
        (document({"a": {}}), ("webhooks", "a"), "no operation"),
        (document({"a": {"$ref": "#/none"}}), ("webhooks", "a"), "nothing at"),
        (document({"a": {"$ref": "http://x/"}}), ("webhooks", "a"), "out of the document"),
        (document({"a": {"$ref": "#/webhooks/a"}}), ("webhooks", "a"), "circle"),
        (document({"a": operation({"$ref": "#/components/schemas/A"})}), None, "no schema"),
        (document({"a": operation({"$ref": "other.yaml#/A"})}), None, "leads out"),
        (document({"a": operation([])}), None, "object"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(
    given: dict[str, Any], place: tuple[str, ...] | None, text: str
) -> None:
    field, detail = refusal(given)
    if place is None:
        place = ("webhooks", "a", "post", "requestBody", "content", "application/json", "schema")
    assert field == (*FIELD, *place)
    assert text in detail


def test_a_schema_without_an_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"not": deep}
    assert "too deep" in refusal(document({"a": operation(deep)}))[1]
