"""Endpoints with their secrets and lanes; each function is a share of one transaction."""

from __future__ import annotations

from typing import Any, Final

from marketbell import ids
from marketbell.errors import ConflictError, LimitReachedError, StaleError, UnavailableError
from marketbell.model import NEVER, Endpoint, Instant, OrderOnFailure, SigningKey
from marketbell.store.audit import by_server
from marketbell.store.audit_plane import FieldChange
from marketbell.store.base import Change, EndpointDraft, Once, Page, Repeated, Slice
from marketbell.store.configuration import (
    application_by_id,
    endpoint_by_id,
    endpoint_of,
    endpoint_values,
    find_endpoint_id,
    open_secret,
    public_id_of,
    secret_values,
    slot_of,
)
from marketbell.store.once import once
from marketbell.store.operational_plane import NoticeKind
from marketbell.store.paging import span_of_ids
from marketbell.store.recording import go_on
from marketbell.store.sealing import Box
from marketbell.store.statements import statements
from marketbell.store.telling import failing_since, tell_of_endpoint
from marketbell.store.touches import SECRET_ROTATED, Touch, touch_of
from marketbell.store.transaction import Transaction

_SQL = statements("configuration")
_QUEUE = statements("queue")

DISABLED: Final = "endpoint.disabled"
"""The operation of the audit log for an endpoint that the server disabled by itself."""


def create_endpoint(
    transaction: Transaction,
    box: Box,
    application_id: int,
    draft: EndpointDraft,
    *,
    now: Instant,
    endpoints_max: int,
    revision: int | None = None,
    mark: Once | None = None,
) -> Endpoint | Repeated:
    """See Endpoints.create_endpoint."""

    def make() -> Endpoint:
        application = application_by_id(transaction, application_id)
        if revision is not None and revision != application.revision:
            raise StaleError("The application has changed.")
        _refuse_taken_uid(transaction, application_id, draft.uid, None)
        count: Any = transaction.row(_SQL["endpoint_count"], {"application_id": application_id})
        if count[0] >= endpoints_max:
            raise LimitReachedError(
                f"The application has {count[0]} endpoints already, as many as it may have; "
                "delete one, or raise endpoints_per_application_max."
            )
        public_id = ids.new_id(ids.ENDPOINT, now)
        slot = slot_of(public_id)
        key = transaction.insert(
            _SQL["endpoint_insert"],
            {
                "public_id": public_id,
                "application_id": application_id,
                "slot": slot,
                "now": now,
                **endpoint_values(box, public_id, draft),
            },
        )
        held_until = NEVER if draft.disabled or draft.paused else 0
        transaction.change(_SQL["lane_insert"], {"id": key, "slot": slot, "held_until": held_until})
        if draft.secret is not None:
            transaction.change(
                _SQL["secret_insert"],
                {"id": key, "now": now, **secret_values(box, public_id, draft.secret)},
            )
        _announce(transaction, application_id, key)
        tell_of_endpoint(transaction, NoticeKind.CREATED, key, now=now)
        made = endpoint_by_id(transaction, box, key)
        transaction.touches.append(touch_of(None, made))
        return made

    return once(transaction, mark, now, make)


def endpoint(transaction: Transaction, box: Box, application_id: int, ref: str) -> Endpoint:
    """See Endpoints.endpoint."""
    return endpoint_by_id(transaction, box, find_endpoint_id(transaction, application_id, ref))


def endpoints(
    transaction: Transaction, box: Box, application_id: int, page: Page
) -> Slice[Endpoint]:
    """See Endpoints.endpoints."""
    span = span_of_ids(
        transaction, _SQL["endpoint_position"], ids.ENDPOINT, page, descending=page.descending
    )
    rows = transaction.rows(
        _SQL[f"endpoints_{span.way}"], {"application_id": application_id, **span.values}
    )
    return span.slice(rows, lambda row: endpoint_of(transaction, box, row))


def update_endpoint(
    transaction: Transaction,
    box: Box,
    application_id: int,
    ref: str,
    draft: EndpointDraft,
    *,
    now: Instant,
    revision: int | None = None,
) -> Endpoint:
    """See Endpoints.update_endpoint."""
    before = endpoint(transaction, box, application_id, ref)
    if revision is not None and revision != before.revision:
        raise StaleError("The endpoint has changed.")
    key = before.id
    _refuse_taken_uid(transaction, application_id, draft.uid, key)
    transaction.change(
        _SQL["endpoint_update"],
        {"id": key, "now": now, **endpoint_values(box, before.public_id, draft)},
    )
    if draft.secret is not None:
        transaction.change(_SQL["secret_drop"], {"id": key})
        transaction.change(
            _SQL["secret_insert"],
            {"id": key, "now": now, **secret_values(box, before.public_id, draft.secret)},
        )
    _move_lane(
        transaction,
        key,
        held_before=before.disabled or before.paused,
        held=draft.disabled or draft.paused,
    )
    if draft.disabled != before.disabled:
        transaction.change(_QUEUE["lane_failing"], {"endpoint_id": key, "since": None})
    application = application_by_id(transaction, application_id)
    policy = draft.policy.over(application.policy)
    if policy.order_on_failure is not OrderOnFailure.HOLD:
        let_go(transaction, key)
    _announce(transaction, application_id, key)
    tell_of_endpoint(transaction, NoticeKind.UPDATED, key, now=now)
    if draft.disabled != before.disabled:
        kind = NoticeKind.DISABLED if draft.disabled else NoticeKind.ENABLED
        since = before.failing_since if draft.disabled else None
        tell_of_endpoint(transaction, kind, key, now=now, failing_since=since)
    changed = endpoint_by_id(transaction, box, key)
    transaction.touches.append(touch_of(before, changed))
    return changed


def delete_endpoint(
    transaction: Transaction, application_id: int, ref: str, *, now: Instant
) -> None:
    """See Endpoints.delete_endpoint; what is pending is cancelled by retention, in small batches."""
    endpoint_id = find_endpoint_id(transaction, application_id, ref)
    public_id = public_id_of(transaction, endpoint_id)
    remove(transaction, application_id, endpoint_id, now=now)
    transaction.touches.append(Touch(application_id, public_id, ()))


def rotate_secret(
    transaction: Transaction,
    box: Box,
    application_id: int,
    ref: str,
    key: SigningKey,
    *,
    overlap_until: Instant,
    secrets_max: int,
    now: Instant,
    mark: Once | None = None,
) -> Repeated | None:
    """See Endpoints.rotate_secret; at most `secrets_max` sign at a time, the new one among them."""

    def rotate() -> None:
        endpoint_id = find_endpoint_id(transaction, application_id, ref)
        if _rotate(
            transaction,
            box,
            endpoint_id,
            key,
            overlap_until=overlap_until,
            secrets_max=secrets_max,
            now=now,
        ):
            public_id = public_id_of(transaction, endpoint_id)
            transaction.touches.append(Touch(application_id, public_id, SECRET_ROTATED))
            _announce(transaction, application_id, endpoint_id)
            tell_of_endpoint(transaction, NoticeKind.UPDATED, endpoint_id, now=now)

    return once(transaction, mark, now, rotate)


def _rotate(
    transaction: Transaction,
    box: Box,
    endpoint_id: int,
    key: SigningKey,
    *,
    overlap_until: Instant,
    secrets_max: int,
    now: Instant,
) -> bool:
    """Whether anything changed."""
    # Only what is needed is read: a rotation works even if the old secret cannot be opened.
    public_id = public_id_of(transaction, endpoint_id)
    if _is_current(transaction, box, endpoint_id, public_id, key):
        return False
    overlaps = overlap_until > now
    count: Any = transaction.row(_SQL["secret_count"], {"id": endpoint_id, "now": now})
    if overlaps and count[0] >= secrets_max:
        raise LimitReachedError(
            f"The endpoint has {count[0]} secrets that still sign, as many as it may have; "
            "wait for the overlap of one to end, or rotate without an overlap."
        )
    if overlaps:
        transaction.change(_SQL["secret_retire"], {"id": endpoint_id, "expires_at": overlap_until})
    else:
        transaction.change(_SQL["secret_drop"], {"id": endpoint_id})
    transaction.change(
        _SQL["secret_insert"],
        {"id": endpoint_id, "now": now, **secret_values(box, public_id, key)},
    )
    transaction.change(_SQL["endpoint_changed"], {"id": endpoint_id, "now": now})
    return True


def _is_current(
    transaction: Transaction, box: Box, endpoint_id: int, public_id: str, key: SigningKey
) -> bool:
    row: Any = transaction.row(_SQL["secret_current"], {"id": endpoint_id})
    if row is None or row[0] != key.kind:
        return False
    try:
        return open_secret(box, public_id, row[1]) == key.secret
    except UnavailableError:
        return False


def pause_endpoint(
    transaction: Transaction,
    application_id: int,
    ref: str,
    *,
    paused: bool,
    now: Instant,
    mark: Once | None = None,
) -> Repeated | None:
    """See Endpoints.pause_endpoint."""

    def pause() -> None:
        key = find_endpoint_id(transaction, application_id, ref)
        row: Any = transaction.row(
            _SQL["endpoint_pause"], {"id": key, "paused": paused, "now": now}
        )
        if row is None:
            return
        disabled = bool(row[0])
        _move_lane(transaction, key, held_before=disabled or not paused, held=disabled or paused)
        public_id = public_id_of(transaction, key)
        field = FieldChange("paused", old=not paused, new=paused)
        transaction.touches.append(Touch(application_id, public_id, (field,)))
        _announce(transaction, application_id, key)

    return once(transaction, mark, now, pause)


def disable_endpoint(transaction: Transaction, endpoint_id: int, *, now: Instant) -> str | None:
    """See Queue.disable_endpoint."""
    row: Any = transaction.row(_SQL["endpoint_disable"], {"id": endpoint_id, "now": now})
    if row is None:
        return None
    tell_of_endpoint(
        transaction,
        NoticeKind.DISABLED,
        endpoint_id,
        now=now,
        failing_since=failing_since(transaction, endpoint_id),
        by_server=True,
    )
    transaction.change(_QUEUE["lane_hold"], {"endpoint_id": endpoint_id, "until": NEVER})
    transaction.change(_QUEUE["lane_failing"], {"endpoint_id": endpoint_id, "since": None})
    _announce(transaction, row[0], endpoint_id)
    public_id = public_id_of(transaction, endpoint_id)
    touch = Touch(row[0], public_id, (FieldChange("disabled", old=False, new=True),))
    by_server(transaction, DISABLED, touch, now=now)
    return public_id


def remove(
    transaction: Transaction, application_id: int, endpoint_id: int, *, now: Instant
) -> None:
    """Soft delete by key: no lane and no secrets any more."""
    tell_of_endpoint(transaction, NoticeKind.DELETED, endpoint_id, now=now)
    transaction.change(_SQL["endpoint_delete"], {"id": endpoint_id, "now": now})
    transaction.change(_SQL["secrets_delete"], {"id": endpoint_id})
    transaction.change(_SQL["lane_delete"], {"id": endpoint_id})
    _announce(transaction, application_id, endpoint_id)


def let_go(transaction: Transaction, endpoint_id: int) -> None:
    """Let every key of an endpoint that waits for a failed delivery go on."""
    keys: Any = transaction.rows(_QUEUE["keys_held"], {"endpoint_id": endpoint_id})
    for (order_key,) in keys:
        transaction.change(
            _QUEUE["key_release"], {"endpoint_id": endpoint_id, "order_key": order_key}
        )
        go_on(transaction, endpoint_id, order_key)


def _move_lane(
    transaction: Transaction, endpoint_id: int, *, held_before: bool, held: bool
) -> None:
    """Hold a lane or let it go on; one that stays as it was keeps what else holds it."""
    if held == held_before:
        return
    if held:
        transaction.change(_QUEUE["lane_hold"], {"endpoint_id": endpoint_id, "until": NEVER})
        return
    # What is being published meanwhile is seen by this, or sees a lane that is not held.
    transaction.lock_lanes([endpoint_id])
    due: Any = transaction.row(_QUEUE["delivery_next_due"], {"endpoint_id": endpoint_id})
    transaction.change(_QUEUE["lane_unhold"], {"endpoint_id": endpoint_id, "next_at": due[0]})


def _refuse_taken_uid(
    transaction: Transaction, application_id: int, uid: str | None, own: int | None
) -> None:
    if uid is None:
        return
    row: Any = transaction.row(
        _SQL["endpoint_id_by_uid"], {"application_id": application_id, "ref": uid}
    )
    if row is not None and row[0] != own:
        raise ConflictError(f"An endpoint with the uid {uid!r} exists already.")


def _announce(transaction: Transaction, application_id: int, endpoint_id: int) -> None:
    """The application's fan-out is out of date, and so is what caches know of the endpoint."""
    transaction.change(_SQL["application_changed"], {"id": application_id})
    transaction.changes.append(Change(application_id, endpoint_id))
