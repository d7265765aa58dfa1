"""Which payloads are taken: what cannot be read in two ways, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.control.payloads import DEPTH_MAX, check_payload, check_twice, is_object
from marketbell.errors import InvalidError

FIELD = ("body", "payload")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=25,
)  # fmt: skip
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=6)


def taken(payload: bytes) -> bool:
    try:
        check_payload(payload, FIELD)
    except InvalidError:
        return False
    return True


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_object_is_taken(value: dict[str, Any], ascii_only: bool, indent: int) -> None:
    payload = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert taken(payload)
    assert is_object(payload)


@given(OBJECTS, TEXTS, VALUES, st.booleans())
def test_a_key_that_is_twice_is_refused_wherever_it_stands(
    value: dict[str, Any], key: str, within: Any, ascii_only: bool
) -> None:
    name = json.dumps(key, ensure_ascii=ascii_only)
    inner = json.dumps(within, ensure_ascii=ascii_only)
    outer = json.dumps(value, ensure_ascii=ascii_only)
    twice = f'{{"outer":{outer},"list":[{{{name}:{inner},{name}:1}}]}}'.encode()
    assert not taken(twice)
    with pytest.raises(InvalidError, match="twice"):
        check_twice(twice, FIELD)


@given(st.binary(max_size=60))
def test_whatever_the_bytes_the_one_error_is_ours(payload: bytes) -> None:
    if taken(b"{" + payload):
        assert isinstance(json.loads(b"{" + payload), dict)


@given(OBJECTS, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_good_payload_that_was_damaged_is_refused_or_still_json(
    value: dict[str, Any], place: int, damage: bytes
) -> None:
    payload = json.dumps(value, ensure_ascii=False).encode()
    damaged = payload[:place] + damage + payload[place + 1 :]
    if taken(damaged):
        assert isinstance(json.loads(damaged), dict)


@given(st.lists(st.sampled_from(["[", '{"a":']), min_size=1, max_size=140))
def test_levels_are_counted_to_the_one(opened: list[str]) -> None:
    closed = "".join("]" if one == "[" else "}" for one in reversed(opened))
    payload = f'{{"x":{"".join(opened)}1{closed}}}'.encode()
    assert taken(payload) is (len(opened) + 1 <= DEPTH_MAX)


def test_brackets_within_strings_are_no_levels() -> None:
    assert taken(b'{"x":"%s","y":"\\"[[[\\\\"}' % (b"[{" * 500))


@pytest.mark.timeout(60)  # a look through all keys for each key would take a quarter of an hour
def test_the_key_that_is_twice_is_found_among_many() -> None:
    keys = [f"k{number}" for number in range(150_000)]
    text = "{" + ",".join(f'"{key}":1' for key in (*keys, keys[-1])) + "}"
    with pytest.raises(InvalidError, match=keys[-1]):
        check_twice(text.encode(), ("body",))
