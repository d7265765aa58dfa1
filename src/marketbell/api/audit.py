"""`/api/v1/audit-log`: who changed what, on the wire."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import ids
from marketbell.api.answers import Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import PARAMETERS, ListOut, list_of, page_of
from marketbell.control import audit
from marketbell.control.shapes import check_text
from marketbell.store.base import AuditEntry, AuditFilter, FieldChange

PATH: Final = "/api/v1/audit-log"

_TEXT_MAX: Final = 256


class AuditEntryOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One change."""

    id: str
    timestamp: str
    actor: str
    """Whose token or key it was, `marketbell` for what the server did by itself."""
    operation: str
    """Such as `v1.endpoint.patch`."""
    app_id: str | None
    endpoint_id: str | None
    path: str
    """The path of the request."""
    source_address: str
    request_id: str
    fields: tuple[FieldChange, ...]
    """What changed; secrets and headers by name only."""


def shown(entry: AuditEntry) -> AuditEntryOut:
    """An entry on the wire."""
    return AuditEntryOut(
        id=entry.public_id,
        timestamp=iso(entry.at),
        actor=entry.actor,
        operation=entry.operation,
        app_id=entry.application,
        endpoint_id=entry.endpoint,
        path=entry.path,
        source_address=entry.address,
        request_id=entry.request_id,
        fields=entry.fields,
    )


async def _list(call: Call) -> Answer:
    query = call.query
    which = AuditFilter(
        since=query.instant("after"),
        until=query.instant("before"),
        actor=_text(call, "actor"),
        operation=_text(call, "operation"),
        application=_text(call, "app_id"),
    )
    page = page_of(query, ids.AUDIT, newest_first=True)
    part = await audit.listed(call.services, call.principal, which, page)
    return answer_of(list_of(part, shown, lambda entry: entry.public_id))


def _text(call: Call, name: str) -> str | None:
    text = call.query.text(name)
    if text is not None:
        check_text(text, ("query", name), limit=_TEXT_MAX)
    return text


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="v1.audit-log.list",
        summary="Lists who changed what, newest first.",
        gives={200: ListOut[AuditEntryOut]},
        access=Access.OPERATOR,
        work=_list,
        query=(*PARAMETERS, "before", "after", "actor", "operation", "app_id"),
    ),
)
