"""How much work it may be to hold a payload against a JSON Schema. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
_Slots: TypeAlias = dict[str, dict[int, int]]
"""By place below a value: the schemas that are held against what is there, and how often."""
_Held: TypeAlias = tuple[tuple[int, int], ...]
_Places: TypeAlias = tuple[_Held, _Held, tuple[_Held, ...]]
"""The same for elements of a list, for all members of an object, and for some of them."""

DEPTH_MAX: Final = 64
"""Levels of a payload that are told apart."""
WORK_MAX: Final = 50_000_000
"""Keywords that may be held against the values of one payload: about a second."""
_ENDLESS: Final = 10**15
_STEPS_MAX: Final = 500_000
"""Steps of working it out; a schema that needs more is a maze."""

_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SINGLE: Final = ("not", "if", "then", "else")
_MAPS: Final = ("dependentSchemas", "dependencies")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMES: Final = ("$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor")
_EVERY: Final = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_ITEMS: Final = ("items", "prefixItems", "contains", "additionalItems", "unevaluatedItems")
_ALL: Final = "*"
_LIST: Final = "#"
"""Places: any member of an object, any element of a list; else `.` and the member's name."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(value for value in range(256) if value not in b"{}[]")
_ROUND: Final = bytes.maketrans(b"{}[]", b"()()")


def effort(schema: Schema) -> tuple[int, ...]:
    """
    The keywords that one value may be held against, by the depth of its payload, 0 to 64.

    With a `$ref` within itself a schema may hold each level twice as often against itself as
    the one above it. A bound from above: which of several branches applies is not asked.
    """
    try:
        return _Estimate(schema).by_depth()
    except (RecursionError, _MazeError):
        return (_ENDLESS,) * (DEPTH_MAX + 1)


def work(payload: bytes, by_depth: Sequence[int]) -> int:
    """How many keywords may be held against the values of a payload, a JSON text."""
    if len(payload) * by_depth[-1] <= WORK_MAX:
        return 0  # nothing to look at closely
    brackets = _STRING.sub(b"", payload)
    values = brackets.count(b",") + brackets.count(b"{") + brackets.count(b"[") + 1
    brackets = brackets.translate(_ROUND, _NOT_BRACKETS)
    depth = 0
    while brackets and depth < DEPTH_MAX:
        brackets = brackets.replace(b"()", b"")
        depth += 1
    return max(values, len(payload) // 64) * by_depth[depth]


class _MazeError(Exception):
    """The schema has more ways through it than can be counted."""


class _Estimate:
    """One schema being looked at."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._steps = 0
        self._met: dict[int, tuple[int, _Slots]] = {}
        self._schemas: dict[int, Schema] = {id(root): root}
        self._within: set[int] = set()
        self._named: list[Schema] | None = None

    def by_depth(self) -> tuple[int, ...]:
        root = id(self._root)
        level: dict[int, int] = {}
        places: dict[int, _Places] = {}
        new = [root]
        while new:
            node = new.pop()
            if node not in level:
                level[node], slots = self._in_place(self._schemas[node])
                places[node] = _places(slots)
                new += [one for held in slots.values() for one in held]
        most = [level[root]]
        for _ in range(DEPTH_MAX):
            below = {node: self._below(places[node], level) for node in level}
            most.append(max(most[-1], below[root]))
            if below == level:
                most += [most[-1]] * (DEPTH_MAX + 1 - len(most))
                break
            level = below
        return tuple(most)

    def _below(self, places: _Places, level: Mapping[int, int]) -> int:
        """What the value at the worst place below is held against."""
        of_list, of_all, of_members = places
        self._step(1 + len(of_members))
        member = max((_sum(held, level) for held in of_members), default=0)
        return min(_ENDLESS, max(_sum(of_list, level), _sum(of_all, level) + member))

    def _in_place(self, schema: Schema) -> tuple[int, _Slots]:
        """The keywords that a value itself is held against, and the schemas below it."""
        node = id(schema)
        found = self._met.get(node)
        if found is not None:
            return found
        self._within.add(node)
        times = 2 if "unevaluatedProperties" in schema or "unevaluatedItems" in schema else 1
        weight, slots = self._own(schema)
        for other in self._beside(schema):
            if id(other) in self._within:
                continue  # a value is not held against the same schema without an end
            more, below = self._in_place(other)
            weight = min(_ENDLESS, weight + times * more)
            for place, held in below.items():
                mine = slots.setdefault(place, {})
                self._step(len(held))
                for one, count in held.items():
                    mine[one] = min(_ENDLESS, mine.get(one, 0) + times * count)
        self._within.discard(node)
        self._met[node] = (weight, slots)
        return weight, slots

    def _own(self, schema: Schema) -> tuple[int, _Slots]:
        slots: _Slots = {}
        for place, child in _children(schema):
            self._step(1)
            only = child.get("$ref") if len(child) == 1 else None
            for one in self._targets(only) if isinstance(only, str) else [child]:
                self._schemas[id(one)] = one
                held = slots.setdefault(place, {})
                held[id(one)] = held.get(id(one), 0) + 1
        listed = (schema.get(key) for key in ("enum", "required"))
        return 1 + len(schema) + sum(len(one) for one in listed if isinstance(one, list)), slots

    def _beside(self, schema: Schema) -> Iterator[Schema]:
        """The schemas that the same value is held against too."""
        self._step(1)
        for key in _LISTS:
            yield from _schemas(schema.get(key))
        for key in _SINGLE:
            yield from _schemas([schema.get(key)])
        for key in _MAPS:
            if isinstance(schema.get(key), dict):
                yield from _schemas(list(schema[key].values()))
        for key in _REFERENCES:
            if isinstance(schema.get(key), str):
                yield from self._targets(schema[key])

    def _targets(self, reference: str) -> Sequence[Schema]:
        """What a reference may lead to: one schema, or all that have a name of their own."""
        if reference != "#" and not reference.startswith("#/"):
            if self._named is None:
                self._named = [self._root, *self._all_named(self._root)]
            return self._named
        node: Any = self._root
        for step in reference.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdigit() and int(name) < len(node):
                node = node[int(name)]
            elif isinstance(node, dict) and name in node:
                node = node[name]
            else:
                return self._targets("")  # a name that is written otherwise
        return [node] if isinstance(node, dict) else []

    def _all_named(self, node: Any) -> Iterator[Schema]:
        self._step(1)
        parts: Sequence[Any] = node if isinstance(node, list) else ()
        if isinstance(node, dict):
            parts = list(node.values())
            if node is not self._root and any(name in node for name in _NAMES):
                yield node
        for part in parts:
            yield from self._all_named(part)

    def _step(self, count: int) -> None:
        self._steps += count
        if self._steps > _STEPS_MAX:
            raise _MazeError


def _places(slots: _Slots) -> _Places:
    """The same in short: members that are held against the same schemas are one."""
    held = {place: tuple(sorted(one.items())) for place, one in slots.items()}
    of_list, of_all = held.pop(_LIST, ()), held.pop(_ALL, ())
    return of_list, of_all, tuple(set(held.values()))


def _sum(held: _Held, level: Mapping[int, int]) -> int:
    return sum(times * level[node] for node, times in held)


def _children(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The schemas for what lies below a value, each with its place."""
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, child in properties.items():
            if isinstance(child, dict):
                yield f".{name}", child
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        for child in _schemas(list(patterns.values())):
            yield _ALL, child
    for key in _EVERY:
        for child in _schemas([schema.get(key)]):
            yield _ALL, child
    for key in _ITEMS:
        given = schema.get(key)
        for child in _schemas(given if isinstance(given, list) else [given]):
            yield _LIST, child


def _schemas(given: object) -> Iterator[Schema]:
    """Those of a list that are more than true or false."""
    if isinstance(given, list):
        yield from (one for one in given if isinstance(one, dict))
