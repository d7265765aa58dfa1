"""Webhooks of an OpenAPI document, read as event types. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from marketbell.control.shapes import Field
from marketbell.errors import InvalidError

WEBHOOKS: Final = ("webhooks", "x-webhooks")
"""Where a document has its webhooks: OpenAPI 3.1, and the extension of 3.0."""

_METHODS: Final = ("post", "put", "patch", "delete", "get")
_SCHEMAS: Final = "#/components/schemas/"
_HOPS_MAX: Final = 16
_DEPTH_MAX: Final = 64
_VALUES_MAX: Final = 100_000
"""Values of all schemas of a document, each with every component that it leads to."""
_BYTES_MAX: Final = 8_000_000
"""The same in bytes of JSON."""
_NAMED: Final = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)
"""Where the keys are names of a caller's own, and the values schemas."""
_VERBATIM: Final = frozenset({"const", "default", "enum", "example", "examples"})
"""Where values stand that are no schemas."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook of a document; None is not said there."""

    name: str
    description: str | None
    deprecated: bool
    schema: bytes | None
    """A JSON Schema that is whole in itself."""
    group_name: str | None
    feature_flags: tuple[str, ...] | None


def webhooks(document: Mapping[str, Any], field: Field) -> Iterator[Webhook]:
    """
    Every webhook of a document in its order, with the schema of its JSON body.

    `$ref` is followed within the document; what a schema refers to goes along as `$defs`. Of a
    document of OpenAPI 3.0 the schemas are brought to JSON Schema. Raises InvalidError with the
    place in the document for what cannot be read.
    """
    version = str(document.get("openapi", ""))
    if not version.startswith("3."):
        raise InvalidError((*field, "openapi"), "This is no OpenAPI document of version 3.x")
    section = next((name for name in WEBHOOKS if name in document), None)
    if section is None:
        raise InvalidError((*field, "webhooks"), "The document has no `webhooks` nor `x-webhooks`")
    reader = _Reader(document, field, adapt=_adapted if version.startswith("3.0") else _same)
    for name, item in _object(document[section], (*field, section)).items():
        yield reader.webhook(str(name), item, (*field, section, str(name)))


class _Reader:
    """One document being read."""

    def __init__(
        self, document: Mapping[str, Any], field: Field, adapt: Callable[[Any], Any]
    ) -> None:
        self._document = document
        self._field = field
        self._adapt = adapt
        self._values = self._bytes = 0

    def webhook(self, name: str, item: Any, place: Field) -> Webhook:
        path = self._followed(item, place)
        method = next((method for method in _METHODS if method in path), None)
        if method is None:
            raise InvalidError(place, "The webhook has no operation; write it as `post: {...}`")
        operation = _object(path[method], (*place, method))
        return Webhook(
            name=name,
            description=_text(operation, "description", "summary")
            or _text(path, "description", "summary"),
            deprecated=operation.get("deprecated") is True,
            schema=self._schema(operation, (*place, method)),
            group_name=_text(operation, "x-svix-group-name"),
            feature_flags=_flags(operation),
        )

    def _schema(self, operation: dict[str, Any], place: Field) -> bytes | None:
        """The schema of the operation's JSON body with the media type's own examples in it."""
        place = (*place, "requestBody")
        if "requestBody" not in operation:
            return None
        body = self._followed(operation["requestBody"], place)
        content = _object(body.get("content", {}), (*place, "content"))
        kind = next((kind for kind in content if _is_json(str(kind))), None)
        if kind is None:
            return None
        media = _object(content[kind], (*place, "content", kind))
        if "schema" not in media:
            return None
        schema = self._whole(media["schema"], (*place, "content", kind, "schema"))
        examples = [*self._examples(media, (*place, "content", kind))]
        if examples and "examples" not in schema:
            schema["examples"] = examples
        encoded = msgspec.json.encode(schema)
        self._bytes += len(encoded)
        if self._bytes > _BYTES_MAX:
            raise _too_much(place, _BYTES_MAX, "bytes")
        return encoded

    def _examples(self, media: dict[str, Any], place: Field) -> Iterator[Any]:
        if "example" in media:
            yield media["example"]
        named = media.get("examples")
        if isinstance(named, dict):
            for name, example in named.items():
                found = self._followed(example, (*place, "examples", str(name)))
                if "value" in found:
                    yield found["value"]

    def _whole(self, schema: Any, place: Field) -> dict[str, Any]:
        """A schema with every component that it leads to as `$defs`."""
        wanted: dict[str, None] = {}
        root = self._rewritten(_object(schema, place), wanted, place)
        found: dict[str, Any] = {}
        queue = list(wanted)
        while queue:
            name = queue.pop()
            where = (*self._field, "components", "schemas", name)
            more: dict[str, None] = {}
            found[name] = self._rewritten(self._component(name, place), more, where)
            queue += [one for one in more if one not in wanted]
            wanted.update(more)
        if not found:
            return dict(root)
        kept = {name: found[name] for name in wanted}
        return {**root, "$defs": {**_object(root.get("$defs", {}), place), **kept}}

    def _component(self, name: str, place: Field) -> Any:
        where = (*self._field, "components")
        components = _object(self._document.get("components", {}), where)
        schemas = _object(components.get("schemas", {}), (*where, "schemas"))
        if name not in schemas:
            raise InvalidError(place, f"The document has no schema {_SCHEMAS + name!r}")
        return schemas[name]

    def _rewritten(self, node: Any, wanted: dict[str, None], place: Field, depth: int = 0) -> Any:
        """A schema, or a list of schemas, in the words of JSON Schema."""
        self._count(place, depth)
        if isinstance(node, list):
            return [self._rewritten(one, wanted, place, depth + 1) for one in node]
        if not isinstance(node, dict):
            return node
        made: dict[str, Any] = {}
        for key, value in node.items():
            if key in _VERBATIM:
                made[key] = value
            elif key in _NAMED and isinstance(value, dict):
                self._count(place, depth + 1)
                made[key] = {
                    name: self._rewritten(one, wanted, place, depth + 2)
                    for name, one in value.items()
                }
            else:
                made[key] = self._rewritten(value, wanted, place, depth + 1)
        self._lead(made, wanted, place)
        return self._adapt(made)

    def _lead(self, made: dict[str, Any], wanted: dict[str, None], place: Field) -> None:
        """Let the `$ref` of a schema lead to where its target will stand."""
        reference = made.get("$ref")
        if not isinstance(reference, str) or reference.startswith("#/$defs/"):
            return
        if not reference.startswith(_SCHEMAS):
            raise InvalidError(
                place,
                f"`$ref` {reference[:128]!r} leads out of {_SCHEMAS!r}; put the schema there",
            )
        name, slash, rest = reference.removeprefix(_SCHEMAS).partition("/")
        wanted[name.replace("~1", "/").replace("~0", "~")] = None
        made["$ref"] = f"#/$defs/{name}{slash}{rest}"

    def _count(self, place: Field, depth: int) -> None:
        if depth > _DEPTH_MAX:
            raise InvalidError(place, "The schema is nested too deep; flatten it")
        self._values += 1
        if self._values > _VALUES_MAX:
            raise _too_much(place, _VALUES_MAX, "values")

    def _followed(self, node: Any, place: Field) -> dict[str, Any]:
        """An object of the document, or what its `$ref` names there."""
        for _ in range(_HOPS_MAX):
            found = _object(node, place)
            reference = found.get("$ref")
            if not isinstance(reference, str):
                return found
            if not reference.startswith("#/"):
                raise InvalidError(place, f"`$ref` {reference[:128]!r} leads out of the document")
            node = self._document
            for step in reference[2:].split("/"):
                name = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(node, dict) or name not in node:
                    raise InvalidError(place, f"The document has nothing at {reference[:128]!r}")
                node = node[name]
        raise InvalidError(place, "`$ref` leads in a circle")


def _too_much(place: Field, most: int, what: str) -> InvalidError:
    return InvalidError(
        place,
        f"The schemas have more than {most} {what}, each with the components that it leads to; "
        "import the webhooks in several documents",
    )


def _object(node: Any, place: Field) -> dict[str, Any]:
    if isinstance(node, dict):
        return node
    raise InvalidError(place, "An object must stand here")


def _text(node: Mapping[str, Any], *names: str) -> str | None:
    texts = (node.get(name) for name in names)
    return next((text for text in texts if isinstance(text, str) and text), None)


def _flags(operation: Mapping[str, Any]) -> tuple[str, ...] | None:
    flags = operation.get("x-svix-feature-flags")
    if isinstance(flags, list):
        return tuple(str(flag) for flag in flags)
    flag = _text(operation, "x-svix-feature-flag")
    return None if flag is None else (flag,)


def _is_json(kind: str) -> bool:
    plain = kind.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")


def _same(schema: Any) -> Any:
    return schema


def _adapted(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema object of OpenAPI 3.0 in the words of JSON Schema 2020-12."""
    nullable = schema.pop("nullable", False)
    kind = schema.get("type")
    if nullable is True and isinstance(kind, str):
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        said = schema.get(exclusive)
        if isinstance(said, bool):
            del schema[exclusive]
            if said and bound in schema:
                schema[exclusive] = schema.pop(bound)
    return schema
