"""YAML as JSON would have it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from marketbell.control.plain_yaml import PlainYamlError, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(JSON)
def test_what_was_written_is_read_back(value: Any) -> None:
    assert (
        read(yaml.safe_dump(value, allow_unicode=True, default_style='"')) == value
        or value
        in (
            None,
            True,
            False,
        )
        or not isinstance(value, dict | list)
    )


def test_scalars_are_those_of_json() -> None:
    text = (
        "a: yes\nb: 2020-01-01\nc: 0x10\nd: 1e3\ne: ~\nf: 012\n200: on\ntrue: 1_000\n? null\n: .5\n"
    )
    assert read(text) == {
        "a": "yes",
        "b": "2020-01-01",
        "c": "0x10",
        "d": 1000.0,
        "e": None,
        "f": "012",
        "200": "on",
        "true": "1_000",
        "null": ".5",
    }


def test_aliases_are_written_out() -> None:
    assert read("a: &x {n: [1]}\nb: *x") == {"a": {"n": [1]}, "b": {"n": [1]}}


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(9),
        "a: &a [*a]",
        "a: &a " + "x" * 1_000_000 + "\nb: [" + ", ".join(["*a"] * 20) + "]",
        "[" * 5_000,
        "a: !!python/object/apply:os.getcwd []",
        "a: !!binary aGk=",
        "a: !!set {x}",
        "a: [",
        "- 1\n---\n- 2",
        "? [1]\n: 2",
        "\x00",
        "a: \t- b",
        "[" * 1_000_000,
        "{a: " * 200_000,
        "- " * 200_000,
        "a: 1\nb: 2\na: 3",
        "1: a\n'1': b",
        "a: 1e999",
        "a: !!int 1:1",
        "a: !!int 0x10",
        "a: !!float .inf",
        "a: !!timestamp 2001-01-01",
        "a: *b",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(PlainYamlError):
        read(text)


def test_tags_that_multiply_are_refused_before_they_do() -> None:
    """Loaders write out a merge of merges: with seven levels of ten, ten million pairs."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, 9):
        inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {{!!merge <<: [{inner}]}}")
    with pytest.raises(PlainYamlError):
        read("\n".join(lines))


def test_a_tag_says_what_a_scalar_is() -> None:
    assert read("a: !!str 1\nb: ! 2\nc: !!float 3\nd: '4'\ne: !!map {}") == {
        "a": "1",
        "b": "2",
        "c": 3.0,
        "d": "4",
        "e": {},
    }


def test_an_empty_text_is_null() -> None:
    assert read("") is None
