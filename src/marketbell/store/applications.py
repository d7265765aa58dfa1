"""Applications; each function is a share of one transaction."""

from __future__ import annotations

import contextlib
from typing import Any

from marketbell import ids
from marketbell.errors import ConflictError, NotFoundError, StaleError
from marketbell.model import Application, Instant, OrderOnFailure
from marketbell.store.base import ApplicationDraft, Change, Once, Page, Repeated, Slice
from marketbell.store.configuration import (
    application_by_id,
    application_of,
    application_values,
    find_application,
)
from marketbell.store.endpoints import let_go, remove
from marketbell.store.once import once
from marketbell.store.paging import span_of_ids
from marketbell.store.statements import statements
from marketbell.store.touches import touch_of
from marketbell.store.transaction import Transaction

_SQL = statements("configuration")


def create_application(
    transaction: Transaction,
    organization: str,
    draft: ApplicationDraft,
    *,
    now: Instant,
    mark: Once | None = None,
) -> Application | Repeated:
    """See Applications.create_application."""

    def make() -> Application:
        _refuse_taken_uid(transaction, organization, draft.uid, None)
        return _insert(transaction, organization, draft, now)

    return once(transaction, mark, now, make)


def get_or_create_application(
    transaction: Transaction,
    organization: str,
    draft: ApplicationDraft,
    *,
    now: Instant,
    mark: Once | None = None,
) -> tuple[Application, bool] | Repeated:
    """See Applications.get_or_create_application."""

    def get_or_make() -> tuple[Application, bool]:
        if draft.uid is not None:
            with contextlib.suppress(NotFoundError):
                return find_application(transaction, organization, draft.uid), False
        return _insert(transaction, organization, draft, now), True

    return once(transaction, mark, now, get_or_make)


def _insert(
    transaction: Transaction, organization: str, draft: ApplicationDraft, now: Instant
) -> Application:
    key = transaction.insert(
        _SQL["application_insert"],
        {
            "public_id": ids.new_id(ids.APPLICATION, now),
            "organization": organization,
            "now": now,
            **application_values(draft),
        },
    )
    transaction.changes.append(Change(key, None))
    made = application_by_id(transaction, key)
    transaction.touches.append(touch_of(None, made))
    return made


def applications(transaction: Transaction, organization: str, page: Page) -> Slice[Application]:
    """See Applications.applications."""
    span = span_of_ids(
        transaction,
        _SQL["application_position"],
        ids.APPLICATION,
        page,
        descending=page.descending,
    )
    rows = transaction.rows(
        _SQL[f"applications_{span.way}"], {"organization": organization, **span.values}
    )
    return span.slice(rows, application_of)


def update_application(
    transaction: Transaction,
    organization: str,
    ref: str,
    draft: ApplicationDraft,
    *,
    now: Instant,
    revision: int | None = None,
) -> Application:
    """See Applications.update_application."""
    application = find_application(transaction, organization, ref)
    if revision is not None and revision != application.revision:
        raise StaleError("The application has changed.")
    _refuse_taken_uid(transaction, organization, draft.uid, application.id)
    transaction.change(
        _SQL["application_update"],
        {"id": application.id, "now": now, **application_values(draft)},
    )
    # The policy of its endpoints stands on this one: claims must see that they have changed.
    of_it = {"application_id": application.id}
    transaction.change(_SQL["endpoints_changed"], of_it)
    holds = draft.policy.order_on_failure is OrderOnFailure.HOLD
    endpoints: Any = transaction.rows(_SQL["endpoint_states"], of_it)
    for endpoint_id, order_on_failure in endpoints:
        if order_on_failure != OrderOnFailure.HOLD and (order_on_failure or not holds):
            let_go(transaction, endpoint_id)
    transaction.changes.append(Change(application.id, None))
    changed = application_by_id(transaction, application.id)
    transaction.touches.append(touch_of(application, changed))
    return changed


def delete_application(
    transaction: Transaction, organization: str, ref: str, *, now: Instant
) -> None:
    """See Applications.delete_application."""
    application = find_application(transaction, organization, ref)
    endpoints: Any = transaction.rows(_SQL["endpoint_states"], {"application_id": application.id})
    transaction.lock_lanes([endpoint_id for endpoint_id, _order_on_failure in endpoints])
    for endpoint_id, _order_on_failure in endpoints:
        remove(transaction, application.id, endpoint_id, now=now)
    transaction.change(_SQL["application_delete"], {"id": application.id, "now": now})
    transaction.changes.append(Change(application.id, None))
    transaction.touches.append(touch_of(application, None))


def _refuse_taken_uid(
    transaction: Transaction, organization: str, uid: str | None, own: int | None
) -> None:
    if uid is None:
        return
    row: Any = transaction.row(
        _SQL["application_id_by_uid"], {"organization": organization, "ref": uid}
    )
    if row is not None and row[0] != own:
        raise ConflictError(f"An application with the uid {uid!r} exists already.")
