"""Whether JSON of one schema can be read as JSON of another: the parts of it that SDKs depend on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_OPEN = {"string", "integer", "number", "boolean", "object", "array", "null"}


class Side:
    """A schema with the document that its references lead into."""

    def __init__(self, schema: Schema, root: Schema) -> None:
        while "$ref" in schema:
            target: Schema = root
            for step in str(schema["$ref"]).removeprefix("#/").split("/"):
                target = target[step]
            schema = target
        self.schema = schema
        self.root = root

    def within(self, schema: Schema) -> Side:
        return Side(schema, self.root)

    @property
    def alternatives(self) -> list[Side]:
        """The parts of a union, one for each type; a schema that takes all is one."""
        if "anyOf" in self.schema:
            return [
                part
                for one in self.schema["anyOf"]
                for part in self.within({**self.plain, **one}).alternatives
            ]
        kinds = self.schema.get("type")
        if isinstance(kinds, list):
            return [self.within({**self.schema, "type": kind}) for kind in kinds]
        return [self]

    @property
    def plain(self) -> Schema:
        return {name: self.schema[name] for name in ("format",) if name in self.schema}

    @property
    def kinds(self) -> set[str]:
        kind = self.schema.get("type")
        if kind is None:
            values = self.values
            return set(_OPEN) if values is None else {_kind(value) for value in values}
        return {kind}

    @property
    def values(self) -> list[Any] | None:
        if "const" in self.schema:
            return [self.schema["const"]]
        values: list[Any] | None = self.schema.get("enum")
        return values


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {str: "string", bool: "boolean", int: "integer"}.get(type(value), "number")


def unread(written: Side, reader: Side, *, nulls: bool = True, at: str = "") -> Iterator[str]:
    """
    Where what one side writes is not what the other reads.

    A reader that forbids unknown fields must know every field of the writer; a field that a
    reader requires must be one that the writer always writes. With `nulls` false, null is not
    compared.
    """
    for part in written.alternatives:
        if not nulls and part.kinds == {"null"}:
            continue
        tried = [list(_unread(part, one, nulls=nulls, at=at)) for one in reader.alternatives]
        if tried and not any(not faults for faults in tried):
            yield from min(tried, key=lambda faults: (any("type" in one for one in faults), faults))


def _unread(written: Side, reader: Side, *, nulls: bool, at: str) -> Iterator[str]:
    kinds = written.kinds
    allowed = reader.kinds | ({"integer"} if "number" in reader.kinds else set())
    if not kinds <= allowed:
        yield f"{at or 'it'}: type {sorted(kinds)} is not of {sorted(reader.kinds)}"
        return
    if reader.values is not None:
        values = written.values
        if values is None:
            yield f"{at or 'it'}: says no values; of {reader.values} are read"
        elif not {str(value) for value in values if value is not None} <= {
            str(value) for value in reader.values
        }:
            yield f"{at or 'it'}: {values} are not of {reader.values}"
    if reader.schema.get("format") == "date-time" != written.schema.get("format"):
        yield f"{at or 'it'}: is no time"
    if kinds == {"array"} and "items" in reader.schema:
        yield from unread(
            written.within(written.schema.get("items", {})),
            reader.within(reader.schema["items"]),
            nulls=nulls,
            at=f"{at}[]",
        )
    if kinds == {"object"}:
        yield from _unread_fields(written, reader, nulls=nulls, at=at)


def _unread_fields(written: Side, reader: Side, *, nulls: bool, at: str) -> Iterator[str]:
    there: Schema = written.schema.get("properties", {})
    known: Schema = reader.schema.get("properties", {})
    always = set(written.schema.get("required", ()))
    for name in reader.schema.get("required", ()):
        if name not in always and (there or "additionalProperties" not in written.schema):
            yield f"{at}.{name}: is required and not always there"
    for name, schema in there.items():
        if name in known:
            yield from unread(
                written.within(schema),
                reader.within(known[name]),
                nulls=nulls,
                at=f"{at}.{name}",
            )
        elif reader.schema.get("additionalProperties") is False:
            yield f"{at}.{name}: is not known"
