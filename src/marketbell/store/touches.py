"""What a change did to an application, an endpoint or an event type, field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET

from marketbell.model import Application, Endpoint, Policy
from marketbell.store.audit_plane import FieldChange
from marketbell.store.event_type_plane import EventType

Thing: TypeAlias = Application | Endpoint | EventType

VALUE_MAX: Final = 500
"""Characters of a value that the log keeps; of a longer one it keeps the beginning."""
FIELDS_MAX: Final = 200
"""Fields of one change that the log keeps."""

_QUIET: Final = frozenset(
    {
        "id", "public_id", "application_id", "organization", "slot", "revision",
        "created_at", "updated_at", "failing_since",
    }
)  # fmt: skip


class Touch(msgspec.Struct, frozen=True):
    """One thing that a transaction changed."""

    application_id: int | None
    endpoint: str | None
    """Its public id."""
    fields: tuple[FieldChange, ...]


def touch_of(before: Thing | None, after: Thing | None) -> Touch:
    """
    The change from `before` to `after`, None where there was or is nothing.

    Secrets, the values of headers and the queries of URLs are never part of it.
    """
    thing = after if before is None else before
    application_id: int | None = None
    endpoint: str | None = None
    if isinstance(thing, Application):
        application_id = thing.id
    elif isinstance(thing, Endpoint):
        application_id, endpoint = thing.application_id, thing.public_id
    # Of what is deleted its end is all that there is to tell.
    changes = () if after is None else tuple(_differences(before, after))
    return Touch(application_id, endpoint, changes[:FIELDS_MAX])


def _differences(before: Thing | None, after: Thing) -> Iterator[FieldChange]:
    for name in after.__struct_fields__:
        if name in _QUIET:
            continue
        new = getattr(after, name)
        old = None if before is None else getattr(before, name)
        if new == old or (before is None and not new):
            continue
        if name == "secrets":
            yield FieldChange("secret")
        elif name == "headers":
            yield from _headers(dict(old or ()), dict(new))
        elif name == "metadata":
            yield from _entries("metadata.", old or {}, new)
        elif name == "policy":
            yield from _policy(old or Policy(), new)
        elif name == "url":
            yield FieldChange(name, _place(old), _place(new))
        else:
            yield FieldChange(_wire(name), _shown(old), _shown(new))


def _headers(old: dict[str, str], new: dict[str, str]) -> Iterator[FieldChange]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield FieldChange(f"headers.{name}")


def _entries(prefix: str, old: dict[str, str], new: dict[str, str]) -> Iterator[FieldChange]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield FieldChange(prefix + name, _shown(old.get(name)), _shown(new.get(name)))


def _policy(old: Policy, new: Policy) -> Iterator[FieldChange]:
    for name in new.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            key = "metadata.marketbell." + name.replace("_", "-")
            yield FieldChange(key, _shown(before), _shown(after))


def _place(url: str | None) -> object:
    """A URL as it is shown: its query, where receivers' keys stand, by a mark alone."""
    if url is None:
        return None
    place, mark, _query = url.partition("?")
    return _shown(f"{place}?…" if mark else place)


def _shown(value: object) -> object:
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        text = msgspec.json.encode(value).decode()
        return value if len(text) <= VALUE_MAX else text[:VALUE_MAX] + "…"
    if isinstance(value, str) and len(value) > VALUE_MAX:
        return value[:VALUE_MAX] + "…"
    return value


def _wire(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


SECRET_ROTATED: Final = (FieldChange("secret", UNSET, UNSET),)
"""The fields of a rotation."""
