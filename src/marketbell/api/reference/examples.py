"""Examples of bodies, put together from the table of fields; each one meets its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from marketbell.api.reference.fields import fact_of
from marketbell.api.reference.parameters import Schema

_BY_TYPE: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "object": {},
    "null": None,
}
_SPEC: Final[Mapping[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "Orders", "version": "1"},
    "webhooks": {
        "order.created": {
            "post": {
                "description": "An order was placed.",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
            }
        }
    },
}
_WHOLE: Final[Mapping[str, Any]] = {
    "EventTypeImportOpenApiIn": {"spec": _SPEC, "dryRun": True},
    "EndpointHeadersPatchIn": {"headers": {"X-Warehouse": "main", "X-Old": None}},
    "EndpointSecretRotateIn": {"gracePeriodSeconds": 3600},
}
"""Where putting together the fields one by one makes no sense."""

_OPERATIONAL: Final[Mapping[str, Any]] = {
    "url": "https://operator.example/operations",
    "description": "The people on call",
    "eventTypes": ["endpoint.disabled", "message.attempt.exhausted"],
}
BODIES: Final[Mapping[str, Any]] = {
    "v1.operational-webhook.endpoint.create": _OPERATIONAL,
    "v1.operational-webhook.endpoint.update": _OPERATIONAL,
}
"""Bodies of operations whose form is that of others too, by the operation's name."""


def example_of(schema: Schema, components: Mapping[str, Schema]) -> Any:  # JSON of every kind
    """A value that meets a schema, with the table's values where it has some."""
    reference = schema.get("$ref")
    if reference is not None:
        name = str(reference).rsplit("/", 1)[-1]
        return _WHOLE[name] if name in _WHOLE else _struct(name, components)
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    return _of_type(schema, components)


def _of_type(schema: Schema, components: Mapping[str, Schema]) -> Any:  # JSON of every kind
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = "null" if "null" in kind else kind[0]
    if kind == "array":
        return [example_of(one, components) for one in _members(schema["items"])]
    return "2026-11-21T09:30:00.125Z" if schema.get("format") == "date-time" else _BY_TYPE[kind]


def _members(items: Schema) -> list[Schema]:
    """One example of each kind that a list may hold."""
    kinds: list[Schema] = items.get("anyOf", [items])
    return kinds


def _struct(name: str, components: Mapping[str, Schema]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    schema = components[name]
    required = schema.get("required", ())
    for field, inner in schema["properties"].items():
        fact = fact_of(name, field)
        if fact is not None and fact.example is not None:
            found[field] = fact.example
        elif field in required:
            found[field] = example_of(inner, components)
    # Two names of one field are never sent together.
    if "additionalProperties" in schema:
        for older, newer in (("rateLimit", "throttleRate"), ("filterTypes", "eventTypes")):
            if newer in found:
                found.pop(older, None)
    return found
