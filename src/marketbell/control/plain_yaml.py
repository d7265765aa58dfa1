"""YAML as JSON would have it: plain scalars, text keys, aliases written out. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_DEPTH_MAX: Final = 128
_VALUES_MAX: Final = 200_000
"""Values of a document with its aliases written out."""
_TEXT_MAX: Final = 4_000_000
"""Characters of their texts."""
_RESOLVED: Final = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]{0,17})$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?$",
        "-+0123456789",
    ),
)
"""What an unquoted scalar may mean, as in YAML 1.2's core schema; everything else is text."""


class PlainYamlError(ValueError):
    """Why a text is not such a document."""


class _Loader(yaml.CSafeLoader):
    """Safe, with the scalars of JSON."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - as its base has it


for _tag, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def read(text: str) -> Any:
    """The one document of a text, as JSON's own types. PlainYamlError."""
    loader = _Loader(text)
    try:
        return _Plain().value(loader.get_single_data(), 0)
    except RecursionError:
        raise PlainYamlError("it is nested too deep") from None
    except yaml.YAMLError as fault:
        raise PlainYamlError(" ".join(str(fault).split())[:300]) from None
    except ValueError as fault:
        raise PlainYamlError(str(fault)) from None
    finally:
        loader.dispose()


class _Plain:
    """A value being copied; an alias of aliases of aliases ends at the limit on its size."""

    def __init__(self) -> None:
        self._values = self._text = 0

    def value(self, value: Any, depth: int) -> Any:
        self._values += 1
        if isinstance(value, str):
            self._text += len(value)
        if depth > _DEPTH_MAX or self._values > _VALUES_MAX or self._text > _TEXT_MAX:
            raise PlainYamlError("it is nested too deep, or too large with its aliases written out")
        if isinstance(value, dict):
            return {self._key(key): self.value(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, depth + 1) for one in value]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise PlainYamlError(f"it has a value of the type {type(value).__name__}")

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            self._text += len(key)
            return key
        if key is None or isinstance(key, bool):
            return "null" if key is None else str(key).lower()
        if isinstance(key, int | float):
            return str(key)
        raise PlainYamlError("it has a key that is no text")
