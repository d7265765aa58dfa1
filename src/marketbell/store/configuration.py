"""Applications and endpoints as rows: read into frozen values, written from drafts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from marketbell import ids
from marketbell.errors import NotFoundError, no_such
from marketbell.model import (
    NEVER,
    SLOTS,
    Application,
    Endpoint,
    Instant,
    Millis,
    OrderOnFailure,
    Policy,
    SigningKey,
)
from marketbell.store.base import ApplicationDraft, EndpointDraft, Subscribers
from marketbell.store.sealing import Box
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("configuration")
_QUEUE = statements("queue")

_ENCODE = msgspec.json.Encoder()
_METADATA = msgspec.json.Decoder(dict[str, str])
_WAITS = msgspec.json.Decoder(tuple[int, ...])
_NAMES = msgspec.json.Decoder(frozenset[str])
_HEADERS = msgspec.json.Decoder(tuple[tuple[str, str], ...])

_ALL = 1_000_000
"""More endpoints than any limit lets an application have."""


def find_application(transaction: Transaction, organization: str, ref: str) -> Application:
    """The live application with this public id or uid. NotFoundError."""
    name = "application_id_by_uid"
    if ids.is_id(ids.APPLICATION, ref):
        name = "application_id_by_public_id"
    row: Any = transaction.row(_SQL[name], {"organization": organization, "ref": ref})
    if row is None:
        raise no_such("application", ref)
    return application_by_id(transaction, row[0])


def application_by_id(transaction: Transaction, application_id: int) -> Application:
    """The live application with this key. NotFoundError."""
    row: Any = transaction.row(_SQL["application"], {"id": application_id})
    if row is None:
        raise NotFoundError("The application has been deleted.")
    return application_of(row)


def find_endpoint_id(transaction: Transaction, application_id: int, ref: str) -> int:
    """The key of the live endpoint with this public id or uid. NotFoundError."""
    name = "endpoint_id_by_uid"
    if ids.is_id(ids.ENDPOINT, ref):
        name = "endpoint_id_by_public_id"
    row: Any = transaction.row(_SQL[name], {"application_id": application_id, "ref": ref})
    if row is None:
        raise no_such("endpoint", ref, "id or uid, and the application")
    key: int = row[0]
    return key


def public_id_of(transaction: Transaction, endpoint_id: int) -> str:
    """The public id of the endpoint with this key, live or deleted."""
    row: Any = transaction.row(_SQL["endpoint_public_id"], {"id": endpoint_id})
    public_id: str = row[0]
    return public_id


def endpoint_by_id(
    transaction: Transaction, box: Box, endpoint_id: int, now: Instant | None = None
) -> Endpoint:
    """The live endpoint with this key. NotFoundError."""
    row: Any = transaction.row(_SQL["endpoint"], {"id": endpoint_id})
    if row is None:
        raise NotFoundError("The endpoint has been deleted.")
    return endpoint_of(transaction, box, row, now)


def owner_and_endpoint(
    transaction: Transaction, box: Box, endpoint_id: int, now: Instant | None = None
) -> tuple[Application, Endpoint]:
    """
    A live endpoint with its application, as one snapshot has them. NotFoundError.

    With `now`, secrets whose overlap has ended are left out.
    """
    endpoint = endpoint_by_id(transaction, box, endpoint_id, now)
    return application_by_id(transaction, endpoint.application_id), endpoint


def subscribers(transaction: Transaction, box: Box, organization: str, ref: str) -> Subscribers:
    """An application with all of its live endpoints. NotFoundError."""
    application = find_application(transaction, organization, ref)
    span = {"application_id": application.id, "low": 0, "high": NEVER, "limit": _ALL}
    rows: Any = transaction.rows(_SQL["endpoints_up"], span)
    return Subscribers(
        application,
        tuple(endpoint_of(transaction, box, row) for row in rows),
        event_types_revision(transaction, organization),
    )


def subscribers_revision(transaction: Transaction, application_id: int) -> int | None:
    """The revision that its subscribers would have now; None if the application is gone."""
    of_it = {"application_id": application_id}
    row: Any = transaction.row(_QUEUE["application_revision"], of_it)
    return None if row is None else row[0]


def event_types_revision(transaction: Transaction, organization: str) -> int:
    """How often the event types of an organization have changed."""
    row: Any = transaction.row(_SQL["event_types_revision"], {"organization": organization})
    revision: int = row[0]
    return revision


def slot_of(public_id: str) -> int:
    """The share of endpoints that this one belongs to; the same on every machine and for ever."""
    digest = hashlib.blake2b(public_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SLOTS


# -- rows to values -----------------------------------------------------------------------


def application_of(row: tuple[Any, ...]) -> Application:
    """An application from its columns, as `configuration.sql` orders them."""
    return Application(
        id=row[0],
        public_id=row[1],
        organization=row[2],
        uid=row[3],
        name=row[4],
        metadata=_METADATA.decode(row[5]),
        throttle_rate=row[6],
        revision=row[7],
        created_at=row[8],
        updated_at=row[9],
        policy=_policy_of(row[10:]),
    )


def endpoint_of(
    transaction: Transaction, box: Box, row: tuple[Any, ...], now: Instant | None = None
) -> Endpoint:
    """An endpoint from its columns, with its headers and secrets opened."""
    return endpoint_with(box, row, transaction.rows(_SQL["secrets"], {"id": row[0]}), now)


def endpoint_with(
    box: Box, row: tuple[Any, ...], secrets: Iterable[Any], now: Instant | None = None
) -> Endpoint:
    """The same, with the columns of its secrets at hand."""
    endpoint_id, public_id, sealed_headers = row[0], row[1], row[8]
    headers: tuple[tuple[str, str], ...] = ()
    if sealed_headers is not None:
        headers = _HEADERS.decode(box.open(sealed_headers, _headers_purpose(public_id)))
    return Endpoint(
        id=endpoint_id,
        public_id=public_id,
        application_id=row[2],
        uid=row[3],
        url=row[4],
        description=row[5],
        event_types=_names_of(row[6]),
        channels=_names_of(row[7]),
        headers=headers,
        secrets=_secrets(box, public_id, secrets, now),
        metadata=_METADATA.decode(row[9]),
        throttle_rate=row[10],
        disabled=bool(row[11]),
        paused=bool(row[12]),
        slot=row[13],
        revision=row[14],
        version=row[15],
        created_at=row[16],
        updated_at=row[17],
        failing_since=row[18],
        held_until=row[19] or 0,  # it has no lane while it is made
        policy=_policy_of(row[20:]),
    )


def _secrets(
    box: Box, public_id: str, rows: Iterable[Any], now: Instant | None
) -> tuple[SigningKey, ...]:
    return tuple(
        SigningKey(kind=kind, secret=open_secret(box, public_id, sealed), expires_at=expires_at)
        for kind, sealed, expires_at in rows
        if now is None or expires_at is None or expires_at > now
    )


def waits_of(text: str | None) -> tuple[Millis, ...] | None:
    """A retry schedule as it is kept."""
    return None if text is None else _WAITS.decode(text)


def _policy_of(row: tuple[Any, ...]) -> Policy:
    dialect, retry_schedule, timeout, max_in_flight, order_by, order_on_failure = row
    return Policy(
        dialect=dialect,
        retry_schedule=waits_of(retry_schedule),
        timeout=timeout,
        max_in_flight=max_in_flight,
        order_by=order_by,
        order_on_failure=None if order_on_failure is None else OrderOnFailure(order_on_failure),
    )


def _names_of(text: str | None) -> frozenset[str] | None:
    return None if text is None else _NAMES.decode(text)


# -- drafts to values of columns ----------------------------------------------------------


def application_values(draft: ApplicationDraft) -> dict[str, Value]:
    """The columns that a draft of an application sets."""
    return {
        "uid": draft.uid,
        "name": draft.name,
        "metadata": _ENCODE.encode(draft.metadata).decode(),
        "throttle_rate": draft.throttle_rate,
        **_policy_values(draft.policy),
    }


def endpoint_values(box: Box, public_id: str, draft: EndpointDraft) -> dict[str, Value]:
    """The columns that a draft of an endpoint sets; headers are sealed."""
    sealed: bytes | None = None
    if draft.headers:
        sealed = box.seal(_ENCODE.encode(draft.headers), _headers_purpose(public_id))
    return {
        "uid": draft.uid,
        "url": draft.url,
        "description": draft.description,
        "event_types": _names_text(draft.event_types),
        "channels": _names_text(draft.channels),
        "sealed_headers": sealed,
        "metadata": _ENCODE.encode(draft.metadata).decode(),
        "throttle_rate": draft.throttle_rate,
        "disabled": draft.disabled,
        "paused": draft.paused,
        "version": draft.version,
        **_policy_values(draft.policy),
    }


def secret_values(box: Box, public_id: str, key: SigningKey) -> dict[str, Value]:
    """The columns of a new current secret; it opens for no other endpoint."""
    return {"kind": key.kind, "sealed": box.seal(key.secret, _secret_purpose(public_id))}


def open_secret(box: Box, public_id: str, sealed: bytes) -> bytes:
    """The bytes of an endpoint's secret. UnavailableError if no key opens it."""
    return box.open(sealed, _secret_purpose(public_id))


def resealed_secret(box: Box, public_id: str, sealed: bytes) -> bytes:
    """The same secret, sealed with the current key. UnavailableError."""
    return _resealed(box, _secret_purpose(public_id), sealed)


def resealed_headers(box: Box, public_id: str, sealed: bytes) -> bytes:
    """The same headers, sealed with the current key. UnavailableError."""
    return _resealed(box, _headers_purpose(public_id), sealed)


def _resealed(box: Box, purpose: bytes, sealed: bytes) -> bytes:
    return box.seal(box.open(sealed, purpose), purpose)


def _secret_purpose(public_id: str) -> bytes:
    return b"secret:" + public_id.encode()


def _headers_purpose(public_id: str) -> bytes:
    return b"headers:" + public_id.encode()


def _policy_values(policy: Policy) -> dict[str, Value]:
    schedule, order = policy.retry_schedule, policy.order_on_failure
    return {
        "dialect": policy.dialect,
        "retry_schedule": None if schedule is None else _ENCODE.encode(schedule).decode(),
        "timeout": policy.timeout,
        "max_in_flight": policy.max_in_flight,
        "order_by": policy.order_by,
        "order_on_failure": None if order is None else order.value,
    }


def _names_text(names: frozenset[str] | None) -> str | None:
    return None if names is None else _ENCODE.encode(sorted(names)).decode()
