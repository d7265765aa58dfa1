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
from marketbell.errors import InvalidError, NotFoundError
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


class Schemas:
    """
    A bounded cache of compiled schemas by organization and event type.

    Event types without a schema, archived ones and those that do not exist are kept as None.
    """

    def __init__(self, store: Store, *, remembered: int = _REMEMBERED) -> None:
        self._store = store
        self._remembered = remembered
        self._found: OrderedDict[_Key, PayloadSchema | None] = OrderedDict()
        self._loads: dict[_Key, asyncio.Future[PayloadSchema | None]] = {}

    def peek(self, organization: str, name: str) -> PayloadSchema | Unknown | None:
        """What is in memory; never waits."""
        return self._found.get((organization, name), UNKNOWN)

    async def schema(self, organization: str, name: str) -> PayloadSchema | None:
        """The schema that payloads of this event type must meet, None for any payload."""
        found = self.peek(organization, name)
        if not isinstance(found, Unknown):
            return found
        key = (organization, name)
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = asyncio.ensure_future(self._load(key))
        return await asyncio.shield(load)

    def forget(self, organization: str, name: str) -> None:
        """Read this event type anew when it is asked for next."""
        key = (organization, name)
        self._found.pop(key, None)
        self._loads.pop(key, None)

    async def _load(self, key: _Key) -> PayloadSchema | None:
        mine = self._loads.get(key)
        try:
            event_type = await self._store.event_type(*key)
        except NotFoundError:
            found = None
        else:
            found = compiled(event_type)
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
