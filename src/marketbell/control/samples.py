"""Example payloads from a JSON Schema: those that it gives, else one that is derived. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

_DEPTH_MAX: Final = 12
"""Levels of a derived value; what lies deeper is left out or empty."""
_ITEMS_MAX: Final = 20
_NODES_MAX: Final = 2_000
"""Values that one derived payload may hold."""

_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-12T14:17:20Z",
    "date": "2026-01-12",
    "time": "14:17:20Z",
    "duration": "PT5M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/",
    "uuid": "3f2b8a6e-5c1d-4e7f-9a0b-1c2d3e4f5a6b",
    "json-pointer": "/a",
}


def given_examples(schema: Mapping[str, Any]) -> list[Any]:
    """The examples that a schema names itself: those of `examples`, else its `example`."""
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return examples
    return [schema["example"]] if "example" in schema else []


def derived(schema: Mapping[str, Any]) -> Any:
    """
    A value that is made to fit a schema, which is not certain where it has patterns or `not`.

    All properties are there, whether required or not. The same schema gives the same value.
    """
    return _Deriving(schema).value(schema, 0, ())


class _Deriving:
    """One value being derived, with the definitions that its schema refers to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def value(self, schema: object, depth: int, within: tuple[str, ...]) -> Any:
        self._nodes += 1
        if not isinstance(schema, dict) or self._nodes > _NODES_MAX:
            return None
        said = _said(schema)
        if said:
            return said[0]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in within or depth > _DEPTH_MAX:
                return None
            return self.value(self._resolved(schema), depth, (*within, reference))
        simpler = self._chosen(schema)
        if simpler is not None:
            return self.value(simpler, depth + 1, within)
        return self._of_type(schema, depth, within)

    def _chosen(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """The schema with all of its `allOf`, or the first of its choices; None if it has none."""
        for key in ("allOf", "oneOf", "anyOf"):
            parts = schema.get(key)
            if not isinstance(parts, list) or not parts:
                continue
            whole = {name: value for name, value in schema.items() if name != key}
            for part in parts if key == "allOf" else parts[:1]:
                whole = _merged(whole, self._resolved(part))
            return whole
        return None

    def _of_type(self, schema: dict[str, Any], depth: int, within: tuple[str, ...]) -> Any:
        made: Any = None
        match _type_of(schema):
            case "object":
                made = dict(self._properties(schema, depth, within))
            case "array":
                made = list(self._items(schema, depth, within))
            case "string":
                made = _string(schema)
            case "integer":
                made = int(_number(schema, 1))
            case "number":
                made = _number(schema, 1.5)
            case "boolean":
                made = True
        return made

    def _properties(
        self, schema: dict[str, Any], depth: int, within: tuple[str, ...]
    ) -> Iterator[tuple[str, Any]]:
        properties = schema.get("properties")
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        if isinstance(properties, dict):
            wanted = (
                list(properties) if depth < _DEPTH_MAX else [n for n in properties if n in names]
            )
            for name in wanted:
                found = self.value(properties[name], depth + 1, within)
                if found is not None or name in names:
                    yield name, found
        for name in names:
            if isinstance(name, str) and name not in (properties or {}):
                yield name, self.value(schema.get("additionalProperties"), depth + 1, within)

    def _items(self, schema: dict[str, Any], depth: int, within: tuple[str, ...]) -> Iterator[Any]:
        first = schema.get("prefixItems")
        parts = first if isinstance(first, list) else []
        for part in parts[:_ITEMS_MAX]:
            yield self.value(part, depth + 1, within)
        least = schema.get("minItems", 0)
        least = min(least, _ITEMS_MAX) if isinstance(least, int) else 0
        items = schema.get("items")
        if isinstance(items, dict) and depth < _DEPTH_MAX:
            for _ in range(max(least - len(parts), 0 if parts else 1)):
                yield self.value(items, depth + 1, within)

    def _resolved(self, schema: object) -> dict[str, Any]:
        if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            return _merged(self._target(schema["$ref"]) or {}, beside)
        return schema if isinstance(schema, dict) else {}

    def _target(self, reference: str) -> dict[str, Any] | None:
        """What a reference within the schema names."""
        if reference != "#" and not reference.startswith("#/"):
            return None
        node: Any = self._root
        for step in reference.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                return None
            node = node[name]
        return node if isinstance(node, dict) else None


def _said(schema: Mapping[str, Any]) -> list[Any]:
    """What the schema itself says the value is; empty if it says nothing."""
    for key in ("const", "default"):
        if key in schema:
            return [schema[key]]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return [schema[key][0]]
    return [schema["example"]] if "example" in schema else []


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**one, **other}
    for key in ("properties", "$defs"):
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict):
            whole[key] = {**one[key], **other[key]}
    if isinstance(one.get("required"), list) and isinstance(other.get("required"), list):
        whole["required"] = [*one["required"], *other["required"]]
    return whole


def _type_of(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    if isinstance(kind, str):
        return kind
    for key, implied in (
        ("properties", "object"),
        ("required", "object"),
        ("items", "array"),
        ("prefixItems", "array"),
        ("minLength", "string"),
        ("format", "string"),
        ("pattern", "string"),
        ("minimum", "number"),
        ("maximum", "number"),
    ):
        if key in schema:
            return implied
    return None


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), "text")
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if isinstance(least, int) and len(text) < min(least, 10_000):
        text += "x" * (min(least, 10_000) - len(text))
    return text[:most] if isinstance(most, int) else text


def _number(schema: Mapping[str, Any], usual: float) -> float:
    low, high = _bound(schema, "inimum", 1), _bound(schema, "aximum", -1)
    number: float = usual
    if low is not None and number < low:
        number = low
    if high is not None and number > high:
        number = high
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0:
        with contextlib.suppress(OverflowError):  # no double holds what would fit
            number = _multiple(number, step, high)
    return number


def _multiple(number: float, step: float, high: float | None) -> float:
    """A multiple of `step` near to a number, not above `high`."""
    found = -(-number // step) * step
    if high is not None and found > high:
        found = high // step * step
    return found if math.isfinite(found) else number


def _bound(schema: Mapping[str, Any], name: str, inwards: int) -> float | None:
    bound, exclusive = schema.get(f"m{name}"), schema.get(f"exclusiveM{name}")
    if isinstance(exclusive, int | float) and not isinstance(exclusive, bool):
        bound = exclusive + inwards
    return bound if isinstance(bound, int | float) and not isinstance(bound, bool) else None
