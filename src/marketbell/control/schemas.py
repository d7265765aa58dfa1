"""What an organization asks of payloads: its own event types' schemas, compiled and kept."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from marketbell.control.shapes import Field
from marketbell.dialects.schema import PayloadSchema
from marketbell.errors import InvalidError
from marketbell.store.base import EventType, Store

SCHEMA_BYTES: Final = 65_536
"""The longest JSON Schema of an event type."""
VERSIONS_MAX: Final = 20
"""Versions of one event type's schema."""

_VERSION: Final = re.compile(r"[1-9][0-9]{0,4}")

_REMEMBERED: Final = 10_000
_Key: TypeAlias = tuple[str, str]


class Unknown:
    """What `peek` says of an event type that has not been asked for."""


UNKNOWN: Final = Unknown()


class _Kept(msgspec.Struct, frozen=True):
    """A schema, and how often the organization's event types had changed when it was read."""

    schema: PayloadSchema | None
    revision: int


class Schemas:
    """
    A bounded cache of compiled schemas by organization and event type.

    Event types without a schema, archived ones and those that do not exist are kept as None.
    What this process changes is forgotten by `forget`; what another node changed is found by the
    revision that is asked for, that of the subscribers the schema is for.
    """

    def __init__(self, store: Store, *, remembered: int = _REMEMBERED) -> None:
        self._store = store
        self._remembered = remembered
        self._found: OrderedDict[_Key, _Kept] = OrderedDict()
        self._loads: dict[_Key, asyncio.Future[_Kept]] = {}

    def peek(
        self, organization: str, name: str, revision: int = 0
    ) -> PayloadSchema | Unknown | None:
        """What is in memory and was read at this revision or later; never waits."""
        kept = self._found.get((organization, name))
        return UNKNOWN if kept is None or kept.revision < revision else kept.schema

    async def schema(self, organization: str, name: str, revision: int = 0) -> PayloadSchema | None:
        """The schema that payloads must meet at this revision or later, None for any payload."""
        key = (organization, name)
        while True:
            found = self.peek(organization, name, revision)
            if not isinstance(found, Unknown):
                return found
            load = self._loads.get(key)
            if load is None:
                load = self._loads[key] = asyncio.ensure_future(self._load(key))
            kept = await asyncio.shield(load)
            if kept.revision >= revision:  # else it was being read already
                return kept.schema

    def forget(self, organization: str, name: str) -> None:
        """Read this event type anew when it is asked for next."""
        key = (organization, name)
        self._found.pop(key, None)
        self._loads.pop(key, None)

    async def _load(self, key: _Key) -> _Kept:
        mine = self._loads.get(key)
        try:
            event_type, revision = await self._store.event_type_in_force(*key)
            found = _Kept(None if event_type is None else compiled(event_type), revision)
        finally:
            current = self._loads.get(key) is mine
            if current:
                self._loads.pop(key, None)
        if current:  # else it was forgotten while it was read
            self._found[key] = found
            if len(self._found) > self._remembered:
                self._found.popitem(last=False)
        return found


def compiled(event_type: EventType) -> PayloadSchema | None:
    """The schema of an event type that is in force, None if none is."""
    schema = None if event_type.archived else event_type.schema
    if schema is None:
        return None
    return PayloadSchema(msgspec.json.decode(schema, type=dict[str, object]), trusted=False)


def check_schemas(given: Mapping[str, msgspec.Raw]) -> bytes | None:
    """
    A JSON Schema for each version as they are kept, None for none.

    A version is a whole number from 1 to 99,999; the greatest is in force. InvalidError names
    the version and the place in its schema.
    """
    if not given:
        return None
    if len(given) > VERSIONS_MAX:
        raise InvalidError(
            ("body", "schemas"),
            f"There are {len(given)} versions; at most {VERSIONS_MAX} are kept",
        )
    for version, schema in given.items():
        if not _VERSION.fullmatch(version):
            raise InvalidError(
                ("body", "schemas", version[:64]),
                'A version is a whole number from 1 to 99999, as in {"1": {...}}',
            )
        _check_schema(bytes(schema), ("body", "schemas", version))
    return msgspec.json.encode(given)


def _check_schema(schema: bytes, field: Field) -> None:
    """Return if the bytes are a JSON Schema that can be enforced; else raise InvalidError."""
    if len(schema) > SCHEMA_BYTES:
        raise InvalidError(
            field, f"The schema is {len(schema)} bytes; at most {SCHEMA_BYTES} are taken"
        )
    try:
        value = msgspec.json.decode(schema, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as fault:
        raise InvalidError(field, f"The schema is not a JSON object ({fault})") from None
    PayloadSchema(value, field=field, trusted=False)
