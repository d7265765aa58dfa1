"""JSON Schema 2020-12: made from typed definitions, and payloads held against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from marketbell.dialects.effort import WORK_MAX, effort, work
from marketbell.errors import InvalidError

Schema: TypeAlias = dict[str, object]
"""A JSON Schema as plain dicts and lists."""

Path: TypeAlias = Sequence[str | int]
"""Where a value stands in a request, such as ("body", "payload", "OrderItemIds", 1)."""

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

PAYLOAD: Final[Path] = ("body", "payload")
"""Where a payload stands in the request that publishes it."""

_REF: Final = "#/$defs/"

_WEIGHT_MAX: Final = 1_000_000
"""Keywords that one value may be held against."""

_TOLD_MAX: Final = 65_536
"""
Bytes of a payload up to which it is told where it breaks an alternative of a schema that is not trusted.

All that is wrong under each alternative is gathered for that, some 16 us for each value.
"""


def of_type(kind: type[msgspec.Struct], *, title: str, sent: bool = False) -> Schema:
    """
    The schema of one Struct type, whole in itself, without `$ref`.

    With `sent` it describes what leaves this server rather than what is taken in: every
    field is there, because encoding writes those that were left out as their defaults.
    So a type that is sent may not use `omit_defaults` or UNSET. A type that contains
    itself raises TypeError.
    """
    (root,), components = msgspec.json.schema_components([kind], ref_template=_REF + "{name}")
    schema = cast("Schema", _inlined(root, components, sent=sent, within=()))
    return {**schema, "title": title}


def _inlined(
    node: object, components: Mapping[str, Any], *, sent: bool, within: tuple[str, ...]
) -> object:
    if isinstance(node, list):
        return [_inlined(item, components, sent=sent, within=within) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return {
            key: _inlined(value, components, sent=sent, within=within)
            for key, value in node.items()
        }
    name = reference.removeprefix(_REF)
    if name in within:
        raise TypeError(f"{name} contains itself; a payload's type may not")
    component = dict(components[name])
    # A generic type's title would spell out its parameters.
    component["title"] = component.get("title", name).partition("[")[0]
    if sent and "properties" in component:
        component["properties"] = {
            field: {key: value for key, value in schema.items() if key != "default"}
            for field, schema in component["properties"].items()
        }
        component["required"] = list(component["properties"])
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return _inlined({**component, **beside}, components, sent=sent, within=(*within, name))


class PayloadSchema:
    """
    A JSON Schema, compiled, against which payloads are held.

    Nothing is fetched for a `$ref`, and patterns run in time linear in the payload. One that is
    not `trusted` is bounded: payloads that may be too much work are refused unseen.
    Raises InvalidError, naming `field`, if it is not a schema or uses what is not allowed.
    """

    def __init__(
        self,
        schema: Mapping[str, object],
        *,
        field: Path = ("body", "schemas"),
        trusted: bool = True,
    ) -> None:
        import jsonschema_rs

        self._schema = dict(schema)
        self._effort = () if trusted else effort(self._schema)
        self._alternatives = not trusted and _has_alternatives(self._schema)
        if not trusted and self._effort[0] > _WEIGHT_MAX:
            raise InvalidError(
                field,
                "the schema holds each value against more than can be counted; "
                "let fewer `$ref`, `allOf`, `anyOf` and `oneOf` lead to the same place",
            )
        try:
            self._validator = jsonschema_rs.validator_for(
                self._schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as fault:
            text = " ".join(str(getattr(fault, "message", fault)).split())[:500]
            raise InvalidError(field, f"this is not a usable JSON Schema: {text}") from None

    def check(self, payload: bytes, *, field: Path = PAYLOAD) -> None:
        """Return if the payload fits; else raise the first of its faults as InvalidError."""
        if self._effort and work(payload, self._effort) > WORK_MAX:
            raise InvalidError(
                field,
                "the payload may be too much work for the schema of its event type; nest it less, "
                "or let fewer `$ref` of the schema lead back into it",
            )
        value = decoded(payload, field=field)
        try:
            fits = self._validator.is_valid(cast("Any", value))
        except ValueError:
            raise _too_deep(field) from None
        if fits:
            return
        if self._alternatives and len(payload) > _TOLD_MAX:
            raise InvalidError(
                field,
                "the payload does not fit the schema of its event type, and is too long to be told where; "
                f"send one of at most {_TOLD_MAX} bytes that breaks it in the same way to see",
            )
        fault = self.fault(value, field=field)
        if fault is not None:
            raise fault

    def fault(self, value: object, *, field: Path = PAYLOAD) -> InvalidError | None:
        """The first thing that is wrong with a decoded payload; None if it fits."""
        import jsonschema_rs

        from marketbell.dialects.faults import fault_of

        try:
            self._validator.validate(cast("Any", value))
        except jsonschema_rs.ValidationError as error:
            return fault_of(error, field, self._schema)
        except ValueError:
            return _too_deep(field)
        return None

    def faults(self, value: object, *, field: Path = PAYLOAD) -> Iterator[InvalidError]:
        """What is wrong with a decoded payload, one error for each field; nothing if it fits."""
        from marketbell.dialects.faults import fault_of

        told: set[Path] = set()
        try:
            for error in self._validator.iter_errors(cast("Any", value)):
                fault = fault_of(error, field, self._schema)
                if fault.field not in told:
                    told.add(fault.field)
                    yield fault
        except ValueError:
            yield _too_deep(field)


def _has_alternatives(node: object) -> bool:
    if isinstance(node, Mapping):
        return "anyOf" in node or "oneOf" in node or any(map(_has_alternatives, node.values()))
    return isinstance(node, list) and any(map(_has_alternatives, node))


def decoded(payload: bytes, *, field: Path = PAYLOAD) -> object:
    """The value of a JSON text; InvalidError if it is none, or nested too deep to read."""
    try:
        return msgspec.json.decode(payload)
    except RecursionError:
        raise _too_deep(field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        reason = "not UTF-8" if isinstance(fault, UnicodeDecodeError) else str(fault)
        raise InvalidError(
            field,
            f"the payload is not JSON ({reason}); send one JSON object in UTF-8",
            kind="value_error.jsondecode",
        ) from None


def _too_deep(field: Path) -> InvalidError:
    return InvalidError(field, "the payload is nested too deep; flatten it")
