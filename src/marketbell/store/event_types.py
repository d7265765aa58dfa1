"""Event types that an organization made itself; each function is a share of one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marketbell.errors import ConflictError, LimitReachedError, NotFoundError, StaleError
from marketbell.model import Instant
from marketbell.store.base import EventType, Once, Page, Repeated, Slice
from marketbell.store.configuration import event_types_revision
from marketbell.store.once import once
from marketbell.store.paging import span_of_names
from marketbell.store.rows import decode_names, encode_names
from marketbell.store.statements import statements
from marketbell.store.touches import Touch, touch_of
from marketbell.store.transaction import Transaction

_SQL = statements("configuration")

_ARCHIVED = 4


def create_event_type(
    transaction: Transaction,
    draft: EventType,
    *,
    limit: int | None = None,
    mark: Once | None = None,
) -> EventType | Repeated:
    """See EventTypes.create_event_type; a revived one keeps the time of its first creation."""

    def make() -> EventType:
        row = _row(transaction, draft.organization, draft.name)
        if row is not None and not row[_ARCHIVED]:
            raise ConflictError(f"The event type {draft.name!r} exists already.")
        _refuse_more(transaction, draft.organization, limit, new=row is None)
        _put(transaction, draft)
        _changed(transaction, draft.organization)
        made = event_type(transaction, draft.organization, draft.name)
        transaction.touches.append(touch_of(None, made))
        return made

    return once(transaction, mark, draft.updated_at, make)


def put_event_types(
    transaction: Transaction,
    drafts: Sequence[EventType],
    *,
    now: Instant,
    limit: int | None = None,
    revision: int | None = None,
    mark: Once | None = None,
) -> Repeated | None:
    """See EventTypes.put_event_types."""

    def put() -> None:
        organizations = {draft.organization for draft in drafts}
        for organization in organizations:
            kept = revision is None or revision == event_types_revision(transaction, organization)
            if not kept:
                raise StaleError("The event types have changed.")
        before = [_row(transaction, draft.organization, draft.name) for draft in drafts]
        for organization in organizations:
            _refuse_more(transaction, organization, limit, new=before.count(None))
        for draft, row in zip(drafts, before, strict=True):
            _put(transaction, draft)
            transaction.touches.append(
                touch_of(None if row is None else _event_type_of(row), draft)
            )
        for organization in organizations:
            _changed(transaction, organization)

    return once(transaction, mark, now, put)


def delete_event_type(transaction: Transaction, organization: str, name: str) -> None:
    """See EventTypes.delete_event_type."""
    named = {"organization": organization, "name": name}
    if not transaction.change(_SQL["event_type_delete"], named):
        raise _no_such(name)
    _changed(transaction, organization)
    transaction.touches.append(Touch(None, None, ()))


def event_type(transaction: Transaction, organization: str, name: str) -> EventType:
    """See EventTypes.event_type; archived ones are found too."""
    row = _row(transaction, organization, name)
    if row is None:
        raise _no_such(name)
    return _event_type_of(row)


def event_type_in_force(
    transaction: Transaction, organization: str, name: str
) -> tuple[EventType | None, int]:
    """See EventTypes.event_type_in_force."""
    row = _row(transaction, organization, name)
    found = None if row is None or row[_ARCHIVED] else _event_type_of(row)
    return found, event_types_revision(transaction, organization)


def event_types(
    transaction: Transaction,
    organization: str,
    page: Page,
    *,
    include_archived: bool = False,
    feature_flags: frozenset[str] | None = None,
) -> Slice[EventType]:
    """See EventTypes.event_types."""
    span = span_of_names(page)
    flags = None
    if feature_flags is not None:
        flags = encode_names(tuple(sorted(feature_flags))) or "[]"
    rows = transaction.rows(
        _SQL[f"event_types_{span.way}"],
        {
            "organization": organization,
            "include_archived": include_archived,
            "flags": flags,
            **span.values,
        },
    )
    return span.slice(rows, _event_type_of)


def _put(transaction: Transaction, draft: EventType) -> None:
    transaction.change(
        _SQL["event_type_put"],
        {
            "organization": draft.organization,
            "name": draft.name,
            "description": draft.description,
            "schemas": draft.schemas,
            "archived": draft.archived,
            "deprecated": draft.deprecated,
            "group_name": draft.group_name,
            "feature_flags": encode_names(draft.feature_flags),
            "created_at": draft.created_at,
            "updated_at": draft.updated_at,
        },
    )


def _changed(transaction: Transaction, organization: str) -> None:
    transaction.change(_SQL["event_types_changed"], {"organization": organization})


def _refuse_more(
    transaction: Transaction, organization: str, limit: int | None, *, new: int
) -> None:
    if not new or limit is None:
        return
    count: Any = transaction.row(_SQL["event_type_count"], {"organization": organization})
    if count[0] + new > limit:
        raise LimitReachedError(
            f"The organization would have {count[0] + new} event types, and may have {limit}; "
            "remove some with `expunge`, or raise event_types_max."
        )


def _row(transaction: Transaction, organization: str, name: str) -> tuple[Any, ...] | None:
    return transaction.row(_SQL["event_type"], {"organization": organization, "name": name})


def _no_such(name: str) -> NotFoundError:
    return NotFoundError(f"There is no event type {name!r}.")


def _event_type_of(row: tuple[Any, ...]) -> EventType:
    return EventType(
        organization=row[0],
        name=row[1],
        description=row[2],
        schemas=row[3],
        archived=bool(row[_ARCHIVED]),
        deprecated=bool(row[5]),
        group_name=row[6],
        feature_flags=decode_names(row[7]),
        created_at=row[8],
        updated_at=row[9],
    )
