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
