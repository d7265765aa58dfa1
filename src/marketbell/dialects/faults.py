"""What is wrong with a payload, in sentences that name the field and the mend."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marketbell.dialects.schema import PAYLOAD, Path
from marketbell.errors import InvalidError

if TYPE_CHECKING:
    import jsonschema_rs

_VALUE_MAX: Final = 60
"""Characters of a wrong value that a fault repeats."""

_TEXT_MAX: Final = 240
"""Characters of a path or of a validator's own text that a fault repeats."""

_DIGITS_MAX: Final = 19
"""Digits of the longest number that a mend spells out."""

_LIMITS: Final = {
    "minItems": "give {} or more items",
    "maxItems": "give {} items or fewer",
    "minLength": "give {} or more characters, or null where the field allows it",
    "maxLength": "give {} characters or fewer",
    "minimum": "give {} or more",
    "maximum": "give {} or less",
}

_REFUSAL: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def fault_of(
    error: jsonschema_rs.ValidationError, field: Path, schema: Mapping[str, object]
) -> InvalidError:
    """The error for one fault that a schema's validator found in the payload at `field`."""
    error = _telling(error)
    path = (*field, *error.instance_path)
    name = spelled(path)
    match error.kind.as_dict():
        case {"property": str(missing)}:
            path = (*path, missing)
            return InvalidError(
                path, f"{spelled(path)} is missing; add it", kind="value_error.missing"
            )
        case {"unexpected": [str(first), *_]}:
            path = (*path, first)
            return InvalidError(
                path,
                f"{spelled(path)} is not a field of this event; remove it"
                f"{_known_fields(error, schema)}",
                kind="value_error.extra",
            )
        case {"types": [*types]}:
            mend = _type_mend(types, error.instance)
            return InvalidError(path, f"{name} is {_shown(error)}; {mend}", kind="type_error")
        case {"options": [*options]}:
            words = ", ".join(str(option) for option in options)
            return InvalidError(path, f"{name} is {_shown(error)}; use one of: {words}")
        case {"limit": limit} if error.kind.name in _LIMITS:
            mend = _LIMITS[error.kind.name].format(limit)
            return InvalidError(path, f"{name} is {_shown(error)}; {mend}")
    return InvalidError(path, f"{name}: {_clipped(error.message, _TEXT_MAX)}")


def fault_of_refusal(text: str) -> InvalidError:
    """The error for what a typed decoder refused and a schema cannot, from the decoder's text."""
    found = _REFUSAL.fullmatch(text)
    what, where = (found["what"], found["path"] or "") if found else (text, "")
    steps = [int(index) if index else name for name, index in _STEP.findall(where)]
    path = (*PAYLOAD, *steps)
    if what == "Expected `int`, got `float`":
        return InvalidError(
            path,
            f"{spelled(path)} is written with a decimal point or an exponent; send an integer",
            kind="type_error",
        )
    return InvalidError(path, f"{spelled(path)}: {_clipped(what, _TEXT_MAX)}")


def spelled(path: Path) -> str:
    """A field's path as people write it, such as `payload.OrderItemIds[1]`."""
    first, *rest = path[1:] if len(path) > 1 and path[0] == "body" else path
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest]
    return _clipped(f"{first}{''.join(steps)}", _TEXT_MAX)


def _telling(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """The error within an `anyOf` that helps: of the branch whose type was the right one."""
    from jsonschema_rs import ValidationErrorKind

    if not isinstance(error.kind, ValidationErrorKind.AnyOf):
        return error
    inner = [fault for branch in error.kind.context for fault in branch]
    others = [fault for fault in inner if fault.kind.name != "type"]
    return _telling(others[0]) if others else (inner or [error])[0]


def _known_fields(error: jsonschema_rs.ValidationError, schema: Mapping[str, object]) -> str:
    node: Any = schema
    for step in error.schema_path[:-1]:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return ""
    known = node.get("properties", {}) if isinstance(node, dict) else {}
    return f"; the fields are {', '.join(known)}" if known else "; it has no fields"


def _type_mend(types: Sequence[object], value: object) -> str:
    if "string" in types and type(value) is int and abs(value) < 10**_DIGITS_MAX:
        return f'send it as a JSON string: "{value}"'
    if "integer" in types and isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        return f"send it as a JSON number, without quotes: {int(value)}"
    if "object" in types and isinstance(value, list):
        return "send a JSON object, never a list: {} if it is empty"
    return f"send a JSON {' or '.join(str(name) for name in types)}"


def _shown(error: jsonschema_rs.ValidationError) -> str:
    try:
        return _clipped(msgspec.json.encode(error.instance).decode(), _VALUE_MAX)
    except RecursionError:
        return "nested deep"


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
