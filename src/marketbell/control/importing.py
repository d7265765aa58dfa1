"""Event types taken from the webhooks of an OpenAPI document."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from marketbell.control import event_types, openapi
from marketbell.control.event_types import EventTypeChange
from marketbell.control.openapi import Webhook
from marketbell.control.payloads import check_twice
from marketbell.control.services import Services
from marketbell.control.shapes import Field, check_event_type
from marketbell.control.tokens import Principal
from marketbell.errors import InvalidError
from marketbell.model import Instant
from marketbell.store.base import EventType, Once, Page, Repeated

WEBHOOKS_MAX: Final = 1_000
"""Webhooks of one document."""
_PAGE: Final = 250
_FIRST: Final = "1"


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import changes, or would."""

    changed: tuple[EventType, ...]
    """Those that are new, revived or different, in the document's order."""
    archived: tuple[str, ...]
    """Those that the document does not have."""


async def import_openapi(
    services: Services,
    principal: Principal,
    document: Mapping[str, Any] | str,
    *,
    replace_all: bool,
    dry_run: bool,
    once: Once | None = None,
) -> Imported | Repeated:
    """
    Make the event types that a document's webhooks tell of, all of them or none.

    A document is one that was read, or text in JSON or YAML. What it does not say of an event
    type stays as it is; a schema takes the place of the greatest version's. With `replace_all`
    those that it does not have are archived, with `dry_run` nothing is changed. `once` renders
    an Imported. InvalidError with the place in the document; LimitReachedError.
    """
    found = await asyncio.to_thread(_found, document)

    async def make() -> Imported | Repeated:
        revision = await services.store.event_types_revision(principal.organization)
        present = await _present(services, principal)
        result = await asyncio.to_thread(
            _compared, services, principal, found, present, replace_all=replace_all
        )
        if dry_run:
            return result
        archived = [
            msgspec.structs.replace(present[name], archived=True, updated_at=services.clock.now())
            for name in result.archived
        ]
        mark = once and Once(once.idempotency, lambda _made: once.render(result))
        try:
            repeated = await services.store.put_event_types(
                [*result.changed, *archived],
                now=services.clock.now(),
                limit=services.settings.event_types_max,
                revision=revision,
                once=mark,
            )
        finally:
            for name in (*found, *result.archived):
                services.schemas.forget(principal.organization, name)
        return repeated or result

    return await services.turns.change(event_types.turn_of(principal.organization), make)


def _found(document: Mapping[str, Any] | str) -> dict[str, Webhook]:
    field: Field = ("body", "spec")
    if isinstance(document, str):
        field = ("body", "specRaw")
        document = _parsed(document, field)
    found: dict[str, Webhook] = {}
    for webhook in openapi.webhooks(document, field):
        check_event_type(webhook.name, (*field, "webhooks", webhook.name[:64]))
        found[webhook.name] = webhook
        if len(found) > WEBHOOKS_MAX:
            raise InvalidError(field, f"The document has more than {WEBHOOKS_MAX} webhooks")
    return found


async def _present(services: Services, principal: Principal) -> dict[str, EventType]:
    present: dict[str, EventType] = {}
    page = Page(limit=_PAGE)
    while True:
        part = await services.store.event_types(principal.organization, page, include_archived=True)
        present.update({one.name: one for one in part.data})
        if part.done or not part.data:
            return present
        page = Page(limit=_PAGE, after=part.data[-1].name)


def _compared(
    services: Services,
    principal: Principal,
    found: Mapping[str, Webhook],
    present: Mapping[str, EventType],
    *,
    replace_all: bool,
) -> Imported:
    changed = []
    for name, webhook in found.items():
        before = present.get(name)
        current = before or event_types.blank(services, principal, name)
        after = _changed(current, webhook, services.clock.now())
        unchanged = msgspec.structs.replace(after, updated_at=current.updated_at)
        if before is None or unchanged != before:
            changed.append(after)
    gone = [one.name for one in present.values() if one.name not in found and not one.archived]
    return Imported(changed=tuple(changed), archived=tuple(gone if replace_all else ()))


def _changed(current: EventType, webhook: Webhook, now: Instant) -> EventType:
    try:
        return event_types.changed(
            current,
            EventTypeChange(
                description=webhook.description or current.description,
                archived=False,
                deprecated=webhook.deprecated,
                schemas=_schemas(current, webhook),
                group_name=webhook.group_name or current.group_name,
                feature_flags=(
                    current.feature_flags
                    if webhook.feature_flags is None
                    else webhook.feature_flags
                ),
            ),
            now=now,
        )
    except InvalidError as fault:
        place: Sequence[str | int] = fault.field[1:]
        raise InvalidError(
            ("body", "webhooks", webhook.name, *place), fault.detail, kind=fault.kind
        ) from None


def _schemas(current: EventType, webhook: Webhook) -> dict[str, msgspec.Raw]:
    """All versions, the greatest as the document has it."""
    versions: dict[str, msgspec.Raw] = {}
    if current.schemas is not None:
        versions = msgspec.json.decode(current.schemas, type=dict[str, msgspec.Raw])
    if webhook.schema is not None:
        versions[max(versions, key=int, default=_FIRST)] = msgspec.Raw(webhook.schema)
    return versions


def _parsed(text: str, field: Field) -> Mapping[str, Any]:
    """A document from JSON or YAML; every key a text, no value shared or without an end."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = _from_yaml(text, field)
    else:
        check_twice(text.encode(), field)
    if not isinstance(value, dict):
        raise InvalidError(field, "The document is not an object")
    return value


def _from_yaml(text: str, field: Field) -> Any:
    from marketbell.control.plain_yaml import PlainYamlError, read

    try:
        return read(text)
    except PlainYamlError as fault:
        raise InvalidError(field, f"The document is neither JSON nor YAML: {fault}") from None
