"""A value that is none of the words that may stand there is answered with those."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec
import pytest

from marketbell.api.wire import Decoder
from marketbell.errors import InvalidError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct):
    colour: Colour | None = None
    sizes: list[Literal["small", "large"]] = []
    named: dict[str, Colour] = {}


class Outer(msgspec.Struct):
    inner: Inner = msgspec.field(name="within", default_factory=Inner)
    colours: list[Colour] | str | None = None


class Nested(msgspec.Struct):
    named: dict[str, dict[str, int]] = {}
    listed: list[dict[str, int]] = []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"named":{"a":{},"b.c":{"x":1,"y":"2","z":"3"},"d":{"y":"2"}}}', ("named", "b.c", "y")),
        (b'{"named":{"a":{"x":1},"b":3}}', ("named", "b")),
        (b'{"named":{"' + b"k" * 99 + b'":{"x":"1"}}}', ("named", "k" * 64, "x")),
        (b'{"listed":[{"y":1},{"x":1,"y":"2"}]}', ("listed", 1, "y")),
        (b'{"named":{"...":{"...":"1"},"a":{"...":"1"}}}', ("named", "...", "...")),
        (b'{"named":{"' + b"k" * 99 + b'":3}}', ("named", "k" * 64)),
    ],
)
def test_a_key_of_a_map_is_named(body: bytes, place: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidError) as refused:
        Decoder(Nested)(body)
    assert tuple(refused.value.field) == ("body", *place)


def test_what_is_no_json_further_on_is_told_as_that() -> None:
    with pytest.raises(InvalidError, match="not JSON"):
        Decoder(Nested)(b'{"named":{"a":3},')


def test_a_key_that_is_there_twice_is_told_where_the_second_one_is_good() -> None:
    with pytest.raises(InvalidError, match="'a' is twice"):
        Decoder(Nested)(b'{"named":{"a":3,"a":{}}}')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"within":{"colour":"grey"}}', "red, blue"),
        (b'{"within":{"sizes":["small","huge"]}}', "large, small"),
        (b'{"within":{"named":{"sky":"grey"}}}', "red, blue"),
        (b'{"colours":["red","grey"]}', "red, blue"),
    ],
)
def test_the_words_are_named_wherever_they_may_stand(body: bytes, words: str) -> None:
    with pytest.raises(InvalidError, match=rf"^Invalid enum value '\w+'; give one of {words}$"):
        Decoder(Outer)(body)


def test_another_fault_names_no_words() -> None:
    with pytest.raises(InvalidError) as refused:
        Decoder(Outer)(b'{"within":{"colour":5}}')
    assert "give one of" not in str(refused.value)
