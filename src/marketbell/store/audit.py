"""The audit log; each function is a share of one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from marketbell import ids
from marketbell.model import Instant, Millis
from marketbell.store.audit_plane import (
    SERVER,
    AuditEntry,
    AuditFilter,
    FieldChange,
    Origin,
)
from marketbell.store.base import Page, Slice
from marketbell.store.operational_plane import HIDDEN
from marketbell.store.paging import Span
from marketbell.store.statements import statements
from marketbell.store.time_spans import span_of_time
from marketbell.store.touches import FIELDS_MAX, Touch
from marketbell.store.transaction import Transaction, Value

T = TypeVar("T")

_SQL = statements("audit")
_CONFIGURATION = statements("configuration")

_FIELDS: Final = msgspec.json.Decoder(tuple[FieldChange, ...])
_ENCODE: Final = msgspec.json.Encoder().encode
_SLACK: Final[Millis] = 60_000
"""How much later than it was made an entry may be committed, and still be found by its time."""


def audited(effect: Callable[[Transaction], T], origin: Origin) -> Callable[[Transaction], T]:
    """The same effect, leaving an entry after it in the same transaction if it changed anything."""

    def run(transaction: Transaction) -> T:
        changed, touched = transaction.total_changes, len(transaction.touches)
        value = effect(transaction)
        if transaction.total_changes != changed:
            _keep(transaction, origin, transaction.touches[touched:])
        return value

    return run


def by_server(transaction: Transaction, operation: str, touch: Touch, *, now: Instant) -> None:
    """Leave an entry of what the server did by itself to something of an application."""
    row: Any = transaction.row(_SQL["application_of"], {"id": touch.application_id})
    if row is not None:
        organization = row[0].removeprefix(HIDDEN)
        origin = Origin(organization=organization, actor=SERVER, operation=operation, at=now)
        _keep(transaction, origin, [touch])


def audit_log(
    transaction: Transaction, organization: str, which: AuditFilter, page: Page
) -> Slice[AuditEntry]:
    """
    See Audit.audit_log.

    The narrowest filter chooses the index: the application, else the actor, else the operation.
    """
    span = _span(transaction, which, page)
    by = next(
        (
            name
            for name in ("application", "actor", "operation")
            if getattr(which, name) is not None
        ),
        "organization",
    )
    values: dict[str, Value] = {
        "organization": organization,
        "application": which.application,
        "actor": which.actor,
        "operation": which.operation,
        "since": which.since,
        "until": which.until,
    }
    rows = transaction.rows(_SQL[f"audit_by_{by}_{span.way}"], {**values, **span.values})
    return span.slice(rows, _entry_of)


def _span(transaction: Transaction, which: AuditFilter, page: Page) -> Span[int]:
    return span_of_time(
        transaction,
        _SQL["audit_position"],
        _SQL["audit_before"],
        page,
        prefix=ids.AUDIT,
        slack=_SLACK,
        since=which.since,
        until=which.until,
    )


def _keep(transaction: Transaction, origin: Origin, touches: list[Touch]) -> None:
    fields = tuple(field for touch in touches for field in touch.fields)[:FIELDS_MAX]
    application, endpoint = _subjects(transaction, origin, touches)
    transaction.change(
        _SQL["audit_insert"],
        {
            "public_id": ids.new_id(ids.AUDIT, origin.at),
            "organization": origin.organization,
            "at": origin.at,
            "actor": origin.actor,
            "operation": origin.operation,
            "application": application,
            "endpoint": endpoint,
            "path": origin.path,
            "address": origin.address,
            "request_id": origin.request_id,
            "fields": _ENCODE(fields).decode() if fields else None,
        },
    )


def _subjects(
    transaction: Transaction, origin: Origin, touches: list[Touch]
) -> tuple[str | None, str | None]:
    """The public ids of the application and the endpoint: as touched, else as the request names them."""
    key: int | None = None
    application = endpoint = None
    for touch in touches:
        key = key or touch.application_id
        endpoint = endpoint or touch.endpoint
    if key is None and origin.application is not None:
        key = _found(
            transaction,
            "application",
            ids.APPLICATION,
            {"organization": origin.organization, "ref": origin.application},
        )
    if key is None:
        return None, endpoint
    row: Any = transaction.row(_SQL["application_of"], {"id": key})
    if row is not None and row[0] == origin.organization:  # else it is the hidden one of operations
        application = row[1]
    if endpoint is None and origin.endpoint is not None:
        named: dict[str, Value] = {"application_id": key, "ref": origin.endpoint}
        endpoint_key = _found(transaction, "endpoint", ids.ENDPOINT, named)
        if endpoint_key is not None:
            row = transaction.row(_CONFIGURATION["endpoint_public_id"], {"id": endpoint_key})
            endpoint = row[0]
    return application, endpoint


def _found(transaction: Transaction, kind: str, prefix: str, named: dict[str, Value]) -> int | None:
    by = "public_id" if ids.is_id(prefix, str(named["ref"])) else "uid"
    row: Any = transaction.row(_CONFIGURATION[f"{kind}_id_by_{by}"], named)
    return None if row is None else row[0]


def _entry_of(row: tuple[Any, ...]) -> AuditEntry:
    return AuditEntry(
        public_id=row[1],
        organization=row[2],
        at=row[3],
        actor=row[4],
        operation=row[5],
        application=row[6],
        endpoint=row[7],
        path=row[8],
        address=row[9],
        request_id=row[10],
        fields=() if row[11] is None else _FIELDS.decode(row[11]),
    )
