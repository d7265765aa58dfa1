"""`/api/v1/event-type/import/openapi`: event types from an OpenAPI document, on the wire."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from marketbell.api.answers import Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.event_types import shown
from marketbell.api.wire import Decoder
from marketbell.control import importing
from marketbell.control.importing import Imported
from marketbell.errors import InvalidError
from marketbell.store.base import EventType, Repeated

PATH: Final = "/api/v1/event-type/import/openapi"


class EventTypeImportOpenApiIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """An OpenAPI document as an object, or as text; and what is to be done with it."""

    spec: dict[str, Any] | None = None
    spec_raw: str | None = None
    """JSON or YAML."""
    dry_run: bool | None = None
    """Whether to tell only what would be changed."""
    replace_all: bool | None = None
    """Whether event types that the document does not have are archived."""


class EventTypeFromOpenApi(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An event type as it would be."""

    name: str
    description: str
    deprecated: bool
    schemas: dict[str, msgspec.Raw] | None
    group_name: str | None
    feature_flag: str | None
    feature_flags: tuple[str, ...] | None


class EventTypeImportOpenApiOutData(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed, or would be."""

    modified: list[str]
    """The names of those that are new or different now."""
    to_modify: list[EventTypeFromOpenApi] | None
    """With `dryRun`, those that would be."""
    archived: list[str]
    """The names of those that were archived, or would be."""


class EventTypeImportOpenApiOut(msgspec.Struct, frozen=True):
    """What came of an import."""

    data: EventTypeImportOpenApiOutData


_IN: Final = Decoder(EventTypeImportOpenApiIn)


def _told(result: Imported, *, dry_run: bool) -> EventTypeImportOpenApiOut:
    return EventTypeImportOpenApiOut(
        EventTypeImportOpenApiOutData(
            modified=[] if dry_run else [one.name for one in result.changed],
            to_modify=[_wanted(one) for one in result.changed] if dry_run else None,
            archived=list(result.archived),
        )
    )


def _wanted(event_type: EventType) -> EventTypeFromOpenApi:
    whole = shown(event_type)
    return EventTypeFromOpenApi(
        **{name: getattr(whole, name) for name in EventTypeFromOpenApi.__struct_fields__}
    )


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(_told(cast("Imported", made), dry_run=False))


async def _import(call: Call) -> Answer:
    form = _IN(call.body)
    dry_run = bool(form.dry_run)
    document = form.spec_raw if form.spec is None else form.spec
    if document is None or (form.spec is not None and form.spec_raw is not None):
        raise InvalidError(
            ("body", "spec"), "Send the document either as `spec` or as `specRaw`, not both"
        )
    result = await importing.import_openapi(
        call.services,
        call.principal,
        document,
        replace_all=bool(form.replace_all),
        dry_run=dry_run,
        once=call.once(_rendered),
    )
    if isinstance(result, Repeated):
        return Answer(200, result.answer)
    return answer_of(_told(result, dry_run=dry_run))


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.event-type.import-openapi",
        summary="Makes event types of the webhooks of an OpenAPI document.",
        takes=EventTypeImportOpenApiIn,
        gives={200: EventTypeImportOpenApiOut},
        access=Access.OPERATOR,
        work=_import,
    ),
)
