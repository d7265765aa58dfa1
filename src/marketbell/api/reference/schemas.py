"""JSON Schema 2020-12 of our Structs, with what their docstrings and the table of fields say."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import inspect as shapes

from marketbell.api.reference.fields import fact_of
from marketbell.api.reference.parameters import Schema

REF: Final = "#/components/schemas/"

_PLAIN: Final[Mapping[type[shapes.Type], Schema]] = {
    shapes.AnyType: {},
    shapes.RawType: {},
    shapes.NoneType: {"type": "null"},
    shapes.BoolType: {"type": "boolean"},
    shapes.IntType: {"type": "integer"},
    shapes.FloatType: {"type": "number"},
    shapes.StrType: {"type": "string"},
    shapes.BytesType: {"type": "string", "contentEncoding": "base64"},
    shapes.DateTimeType: {"type": "string", "format": "date-time"},
}
_UNIONS: Final = (types.UnionType, typing.Union)
_SIMPLE: Final = (bool, int, float, str)


class Schemas:
    """
    Collects the schemas of the forms that are asked for, each Struct once under its name.

    `components` holds them. A Struct is described as a request's or as an answer's: in an
    answer every field is required that is always written.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._kinds: dict[str, object] = {}

    def of(self, kind: object, *, answer: bool = False) -> Schema:
        """
        The schema of a type; of a Struct the reference to it.

        Unions of Structs and lists of them are taken apart here: msgspec refuses untagged ones.
        """
        if typing.get_origin(kind) is list:
            (inner,) = typing.get_args(kind)
            return {"type": "array", "items": self.of(inner, answer=answer)}
        if typing.get_origin(kind) in _UNIONS:
            return {"anyOf": [self.of(one, answer=answer) for one in typing.get_args(kind)]}
        return self._shape(shapes.type_info(kind), answer=answer)

    def _shape(self, shape: shapes.Type, *, answer: bool) -> Schema:
        plain = _PLAIN.get(type(shape))
        if plain is not None:
            return dict(plain)
        if isinstance(shape, shapes.StructType):
            return self._struct(shape, answer=answer)
        if isinstance(shape, shapes.UnionType):
            return self._union(shape, answer=answer)
        if isinstance(shape, shapes.Metadata):
            return self._shape(shape.type, answer=answer) | (shape.extra_json_schema or {})
        return self._composed(shape, answer=answer)

    def _composed(self, shape: shapes.Type, *, answer: bool) -> Schema:
        if isinstance(shape, shapes.EnumType):
            return _listed([member.value for member in shape.cls])
        if isinstance(shape, shapes.LiteralType):
            return _listed(list(shape.values))
        if isinstance(shape, shapes.DictType):
            value = self._shape(shape.value_type, answer=answer)
            return {"type": "object", "additionalProperties": value}
        if isinstance(shape, shapes.CollectionType):
            return {"type": "array", "items": self._shape(shape.item_type, answer=answer)}
        if isinstance(shape, shapes.CustomType) and shape.cls is object:
            return {}
        raise TypeError(f"no schema is known for {shape}")

    def _union(self, shape: shapes.UnionType, *, answer: bool) -> Schema:
        parts = [
            self._shape(part, answer=answer)
            for part in shape.types
            if not (isinstance(part, shapes.CustomType) and part.cls is msgspec.UnsetType)
        ]
        if len(parts) == 1:
            return parts[0]
        typed = [part for part in parts if set(part) != {"type"}]
        names = [part["type"] for part in parts if set(part) == {"type"}]
        if not typed:
            return {"type": names}
        if len(typed) == 1 and names == ["null"] and isinstance(typed[0].get("type"), str):
            return {**typed[0], "type": [typed[0]["type"], "null"]}
        return {"anyOf": [*typed, *({"type": name} for name in names)]}

    def _struct(self, shape: shapes.StructType, *, answer: bool) -> Schema:
        name = name_of(shape.cls)
        if self._kinds.setdefault(name, shape.cls) != shape.cls:
            raise TypeError(f"two forms have the name {name}: {self._kinds[name]}, {shape.cls}")
        reference = {"$ref": REF + name}
        if name in self.components:
            return reference
        kind: type[msgspec.Struct] = typing.get_origin(shape.cls) or shape.cls
        schema: Schema = {"title": name, "type": "object"}
        self.components[name] = schema
        if kind.__doc__:
            schema["description"] = told(inspect.cleandoc(kind.__doc__))
        always = answer and not kind.__struct_config__.omit_defaults
        required = [
            field.encode_name
            for field in shape.fields
            if field.required or (always and _defaults(field))
        ]
        documented = documented_fields(kind)
        schema["properties"] = {
            field.encode_name: self._field(name, field, documented.get(field.name), answer=answer)
            for field in shape.fields
        }
        if required:
            schema["required"] = required
        if shape.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return reference

    def _field(self, struct: str, field: shapes.Field, doc: str | None, *, answer: bool) -> Schema:
        fact = fact_of(struct, field.encode_name)
        if fact is not None and fact.form is not None:
            schema = self.of(fact.form, answer=answer)
        else:
            schema = self._shape(field.type, answer=answer)
            if isinstance(field.default, _SIMPLE) and not answer:
                schema["default"] = field.default
        description = doc
        if fact is not None:
            description = doc or fact.description
            schema = _narrowed(schema, fact.schema)
        if description:
            schema["description"] = description
        return schema


def name_of(kind: type) -> str:
    """The name of a Struct's schema: its class's, `ListOfX` for a list of X."""
    name = (typing.get_origin(kind) or kind).__name__.lstrip("_")
    parts = "".join(part.__name__.lstrip("_") for part in typing.get_args(kind))
    return f"{name.removesuffix('Out')}Of{parts}" if parts else name


def _defaults(field: shapes.Field) -> bool:
    """Whether a field has a default; UNSET is none: such a field is left out."""
    return field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT


def _listed(values: Sequence[object]) -> Schema:
    kind = "string" if isinstance(values[0], str) else "integer"
    return {"type": kind, "enum": list(values)}


def _narrowed(schema: Schema, fact: Schema) -> Schema:
    """A schema with what is known besides its type; what may be null still may."""
    merged = {**schema, **fact}
    if isinstance(schema.get("type"), list):
        merged["type"] = schema["type"]
        if "enum" in fact:
            merged["enum"] = [*fact["enum"], None]
    return merged


@functools.cache
def documented_fields(kind: type[msgspec.Struct]) -> Mapping[str, str]:
    """The docstrings below a Struct's fields, those of its bases among them."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        module = sys.modules.get(base.__module__)
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct and module is not None:
            found |= _of_module(inspect.getsource(module)).get(base.__name__, {})
    return found


@functools.lru_cache(maxsize=64)
def _of_module(source: str) -> Mapping[str, Mapping[str, str]]:
    """Class to field to docstring, of one module."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = found.setdefault(node.name, {})
        for field, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                fields[field.target.id] = told(inspect.cleandoc(after.value.value))
    return found


def told(text: str) -> str:
    """A docstring as running text: its lines joined, its paragraphs kept."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text).strip()
