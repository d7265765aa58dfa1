"""How much work a payload may be for a schema: schemas that multiply are told from those that do not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from marketbell.dialects.effort import DEPTH_MAX, WORK_MAX, effort, work
from marketbell.dialects.schema import PayloadSchema
from marketbell.errors import InvalidError

pytestmark = pytest.mark.alone

AGAIN: dict[str, Any] = {"$ref": "#/$defs/a"}


def recursive(a: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": "#/$defs/a", "$defs": {"a": a}}


def nested(levels: int) -> bytes:
    return b'{"n":' * levels + b"{}" + b"}" * levels


TWICE = recursive({"type": "object", "oneOf": [{"properties": {"n": AGAIN}}] * 2})

HARMLESS = {
    "flat": {"properties": {f"p{n}": {"type": "string"} for n in range(1_000)}},
    "a tree": recursive({"properties": {"left": AGAIN, "right": AGAIN}}),
    "any JSON": recursive({"anyOf": [{"additionalProperties": AGAIN}, {"items": AGAIN}]}),
    "a list of itself": recursive({"properties": {"n": AGAIN, "many": {"items": AGAIN}}}),
    "itself, on the spot": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "operators": recursive(
        {"oneOf": [{"properties": {f"op{n}": {"items": AGAIN}}} for n in range(30)]}
    ),
    "many names of one": recursive({"properties": {f"p{n}": AGAIN for n in range(2_000)}}),
}

MULTIPLYING = {
    "two ways to a member": TWICE,
    "two ways to an element": recursive({"anyOf": [{"items": AGAIN}, {"prefixItems": [AGAIN]}]}),
    "a member and all members": recursive(
        {"properties": {"n": AGAIN}, "patternProperties": {"n": AGAIN}}
    ),
    "what is not evaluated": recursive({"$ref": "#/$defs/b", "unevaluatedProperties": False})
    | {
        "$defs": {
            "a": {"$ref": "#/$defs/b", "unevaluatedProperties": False},
            "b": {"properties": {"n": AGAIN}},
        }
    },
    "a dynamic anchor": {
        "$dynamicAnchor": "n",
        "properties": {"n": {"oneOf": [{"$dynamicRef": "#n"}, {"$dynamicRef": "#n"}]}},
    },
    "a name of its own": {
        "$id": "http://a.example/a",
        "properties": {"n": {"oneOf": [{"$ref": "a"}, {"$ref": "http://a.example/a"}]}},
    },
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_not_multiply_costs_the_same_at_every_depth(name: str) -> None:
    by_depth = effort(HARMLESS[name])
    assert len(by_depth) == DEPTH_MAX + 1
    assert by_depth[-1] == by_depth[2] < 1_000


@pytest.mark.parametrize("name", MULTIPLYING)
def test_what_multiplies_doubles_with_every_level(name: str) -> None:
    by_depth = effort(MULTIPLYING[name])
    assert by_depth[40] >= 2**10 * by_depth[30] > WORK_MAX
    assert list(by_depth) == sorted(by_depth)


def test_a_deep_payload_is_refused_for_a_schema_that_multiplies_and_taken_for_others() -> None:
    begun = time.process_time()
    bounded = PayloadSchema(TWICE, trusted=False)
    with pytest.raises(InvalidError, match="too much work"):
        bounded.check(nested(40))
    assert time.process_time() - begun < 1
    PayloadSchema(HARMLESS["a tree"], trusted=False).check(nested(40))


def test_a_schema_that_multiplies_on_the_spot_is_refused() -> None:
    levels = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n - 1}"}] * 2} for n in range(1, 30)}
    schema = {"$defs": {"a0": {"type": "object"}, **levels}, "$ref": "#/$defs/a29"}
    with pytest.raises(InvalidError, match="more than can be counted"):
        PayloadSchema(schema, trusted=False)


def test_many_values_against_many_keywords_are_too_much() -> None:
    heavy = {"items": {"allOf": [{"pattern": f"a{n}"} for n in range(2_000)]}}
    by_depth = effort({"properties": {"n": heavy}})
    payload = b'{"n":[' + b'"",' * 200_000 + b'""]}'
    assert work(payload, by_depth) > WORK_MAX
    assert work(b'{"n":[""]}', by_depth) == 0


def test_what_stands_in_texts_is_no_value() -> None:
    by_depth = effort(TWICE)
    assert work(b'{"n":"' + b"{[," * 1_000 + b'"}', by_depth) <= WORK_MAX


def test_a_maze_is_as_good_as_endless() -> None:
    chain = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}]} for n in range(5_000)}
    assert effort({"$defs": chain, "$ref": "#/$defs/a0"})[0] > WORK_MAX
