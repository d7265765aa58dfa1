"""Example payloads from schemas: what is derived fits the schema that it came from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.control.samples import derived, given_examples
from marketbell.dialects.registry import built_in
from marketbell.dialects.schema import PayloadSchema

SHAPES: list[dict[str, Any]] = [
    {},
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 9}}},
    {"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer"}}},
    {"properties": {"n": {"minimum": 10, "maximum": 20, "multipleOf": 7}}},
    {"properties": {"n": {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 3}}},
    {"properties": {"n": {"type": "integer", "maximum": -4}}},
    {"properties": {"t": {"type": ["null", "string"], "maxLength": 2}}},
    {"properties": {"t": {"type": "string", "format": "date-time"}, "f": {"type": "boolean"}}},
    {"properties": {"e": {"enum": ["x", "y"]}, "c": {"const": 5}, "d": {"default": [1]}}},
    {"properties": {"l": {"type": "array", "minItems": 3, "items": {"type": "integer"}}}},
    {"properties": {"l": {"prefixItems": [{"type": "string"}, {"const": 1}]}}},
    {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "boolean"}}}]},
    {"type": "object", "properties": {"x": {"oneOf": [{"type": "string"}, {"type": "null"}]}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["k"]}}},
    {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                    "parent": {"$ref": "#"},
                },
            }
        },
    },
]


@pytest.mark.parametrize("schema", SHAPES)
def test_what_is_derived_fits(schema: dict[str, Any]) -> None:
    value = derived({"type": "object", **schema})
    assert isinstance(value, dict)
    children = value.pop("children", [])
    assert children in ([], [None])
    PayloadSchema(schema).check(msgspec.json.encode(value))


def test_what_is_derived_of_every_catalogue_fits() -> None:
    for dialect in built_in():
        for name in dialect.catalogue:
            schema = dialect.catalogue.schema(name)
            assert given_examples(schema)
            bare = {key: value for key, value in schema.items() if key != "examples"}
            PayloadSchema(bare).check(msgspec.json.encode(derived(bare)))


def test_examples_come_before_one_example() -> None:
    assert given_examples({"examples": [1, 2], "example": 3}) == [1, 2]
    assert given_examples({"example": 3}) == [3]
    assert given_examples({"examples": {}}) == []


def test_a_schema_that_grows_without_end_gives_a_bounded_value() -> None:
    wide: dict[str, Any] = {"type": "object", "properties": {}}
    for name in "abcdefghij":
        wide["properties"][name] = {"$ref": "#/$defs/wide"}
    deep: dict[str, Any] = wide
    for _ in range(30):
        deep = {"type": "object", "properties": {"x": deep, "y": deep}}
    deep["$defs"] = {"wide": wide}
    assert len(msgspec.json.encode(derived(deep))) < 100_000


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["object", "string", "#"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "items", "$ref", "allOf", "oneOf", "minimum",
                 "maximum", "multipleOf", "minItems", "minLength", "maxLength", "enum", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["type", "properties", "allOf", "items"]), json_like))
def test_no_schema_breaks_it(schema: dict[str, Any]) -> None:
    msgspec.json.encode(derived(schema))
