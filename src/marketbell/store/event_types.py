"""Event types that an organization made itself, on SQLite."""

from __future__ import annotations

from typing import Any

from marketbell.errors import ConflictError, NotFoundError
from marketbell.store.base import EventType, Once, Page, Repeated, Slice
from marketbell.store.once import once
from marketbell.store.paging import span_of_names
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = statements("sqlite", "configuration")


def create_event_type(
    transaction: Transaction, draft: EventType, *, mark: Once | None = None
) -> EventType | Repeated:
    """See EventTypes.create_event_type; a revived one keeps the time of its first creation."""

    def make() -> EventType:
        row = _row(transaction, draft.organization, draft.name)
        if row is not None and not row[4]:
            raise ConflictError(f"The event type {draft.name!r} exists already.")
        transaction.change(
            _SQL["event_type_insert"],
            {
                "organization": draft.organization,
                "name": draft.name,
                "description": draft.description,
                "schema": draft.schema,
                "archived": draft.archived,
                "created_at": draft.created_at,
                "updated_at": draft.updated_at,
            },
        )
        return event_type(transaction, draft.organization, draft.name)

    return once(transaction, mark, draft.updated_at, make)


def event_type(transaction: Transaction, organization: str, name: str) -> EventType:
    """See EventTypes.event_type; archived ones are found too."""
    row = _row(transaction, organization, name)
    if row is None:
        raise NotFoundError(f"There is no event type {name!r}.")
    return _event_type_of(row)


def event_types(
    transaction: Transaction, organization: str, page: Page, *, include_archived: bool = False
) -> Slice[EventType]:
    """See EventTypes.event_types."""
    span = span_of_names(page)
    rows = transaction.rows(
        _SQL[f"event_types_{span.way}"],
        {"organization": organization, "include_archived": include_archived, **span.values},
    )
    return span.slice(rows, _event_type_of)


def _row(transaction: Transaction, organization: str, name: str) -> tuple[Any, ...] | None:
    return transaction.row(_SQL["event_type"], {"organization": organization, "name": name})


def _event_type_of(row: tuple[Any, ...]) -> EventType:
    organization, name, description, schema, archived, created_at, updated_at = row
    return EventType(
        organization=organization,
        name=name,
        description=description,
        schema=schema,
        archived=bool(archived),
        created_at=created_at,
        updated_at=updated_at,
    )
