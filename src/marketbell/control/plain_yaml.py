"""YAML as JSON would have it: plain scalars, text keys, aliases written out. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

_DEPTH_MAX: Final = 128
_VALUES_MAX: Final = 200_000
"""Values of a document with its aliases written out."""
_TEXT_MAX: Final = 4_000_000
"""Characters of their texts."""
_CORE: Final = "tag:yaml.org,2002:"
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?")
"""What an unquoted scalar may mean, as in YAML 1.2's core schema; everything else is text."""


class PlainYamlError(ValueError):
    """Why a text is not such a document."""


def read(text: str) -> Any:
    """The one document of a text, as JSON's own types; aliases may share them. PlainYamlError."""
    try:
        return _Reader(yaml.parse(text, Loader=yaml.CSafeLoader)).document()
    except yaml.YAMLError as fault:
        raise PlainYamlError(" ".join(str(fault).split())[:300]) from None


class _Anchored:
    """A value that aliases name, with how many values and characters it holds."""

    def __init__(self, value: Any, values: int, text: int) -> None:
        self.value, self.values, self.text = value, values, text


class _Reader:
    """
    A document being read event by event.

    PyYAML's own loader follows nested nodes without an end, in C, and knows tags that multiply
    what is written: neither is used here.
    """

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._values = self._text = 0
        self._anchors: dict[str, _Anchored] = {}

    def document(self) -> Any:
        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise PlainYamlError("it is more than one document")
                value = self._value(next(self._events), 0)
        return value

    def _value(self, event: yaml.Event, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor))
        values, text = self._values, self._text
        self._count(values=1)
        if depth > _DEPTH_MAX:
            raise _too_large()
        made: Any
        if isinstance(event, yaml.ScalarEvent):
            self._count(text=len(event.value))
            made = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, "seq")
            made = [self._value(one, depth + 1) for one in self._until(yaml.SequenceEndEvent)]
        elif isinstance(event, yaml.MappingStartEvent):
            _check_tag(event, "map")
            made = self._mapping(depth)
        else:
            raise PlainYamlError("it ends too soon")
        if event.anchor is not None:  # an alias within its own value finds none
            anchored = _Anchored(made, self._values - values, self._text - text)
            self._anchors[event.anchor] = anchored
        return made

    def _mapping(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for event in self._until(yaml.MappingEndEvent):
            key = _key(self._value(event, depth + 1))
            if key in made:
                raise PlainYamlError(f"the key {key[:64]!r} is twice in one object")
            made[key] = self._value(next(self._events), depth + 1)
        return made

    def _alias(self, name: str) -> Any:
        anchored = self._anchors.get(name)
        if anchored is None:
            raise PlainYamlError(f"the alias {name[:64]!r} names nothing before it")
        self._count(anchored.values, anchored.text)
        return anchored.value

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _count(self, values: int = 0, text: int = 0) -> None:
        self._values += values
        self._text += text
        if self._values > _VALUES_MAX or self._text > _TEXT_MAX:
            raise _too_large()


def _scalar(event: yaml.ScalarEvent) -> Any:
    """What a scalar means: by its tag if it has one, by its looks if it stands without quotes."""
    text: str = event.value
    match _kind(event, text):
        case "null":
            return None
        case "bool":
            return text[0] in "tT"
        case "int":
            return int(text)
        case "float":
            return _finite(float(text))
    return text


_LOOKS: Final[Mapping[str, re.Pattern[str]]] = {
    "null": _NULL,
    "bool": _BOOL,
    "int": _INT,
    "float": _FLOAT,
}


def _kind(event: yaml.ScalarEvent, text: str) -> str:
    if event.tag is None:
        looks = _LOOKS.items() if event.implicit[0] else ()
        return next((kind for kind, look in looks if look.fullmatch(text)), "str")
    kind = "str" if event.tag == "!" else event.tag.removeprefix(_CORE)
    if kind == "str" or (kind in _LOOKS and _LOOKS[kind].fullmatch(text)):
        return kind
    raise PlainYamlError(f"it has a value with the tag {event.tag[:64]!r}")


def _finite(number: float) -> float:
    if math.isinf(number):
        raise PlainYamlError("it has a number that no double holds")
    return number


def _check_tag(event: yaml.CollectionStartEvent, name: str) -> None:
    if event.tag is not None and event.tag not in {"!", _CORE + name}:
        raise PlainYamlError(f"it has a value with the tag {event.tag[:64]!r}")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return "null" if key is None else str(key).lower()
    if isinstance(key, int | float):
        return str(key)
    raise PlainYamlError("it has a key that is no text")


def _too_large() -> PlainYamlError:
    return PlainYamlError("it is nested too deep, or too large with its aliases written out")
