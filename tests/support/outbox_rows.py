"""Rows of the outbox, and rejected ones, on either database."""

from __future__ import annotations

from typing import cast

from marketbell.model import Instant
from marketbell.store.base import OutboxKey, Page, Rejected, Rejection, Store
from marketbell.store.outbox import OutboxResource
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Transaction

_KEYS = Statement(
    "keys",
    'select "transaction", id from outbox order by id',
    statements("outbox")["outbox_put"].postgresql.__class__(
        "select transaction, id from outbox order by id", ()
    ),
)


async def put(store: Store, *bodies: bytes, application: str, at: Instant) -> list[OutboxKey]:
    """The keys of what is in the outbox once these are put in as well."""
    found = cast("OutboxResource", store)

    def put_in(transaction: Transaction) -> list[OutboxKey]:
        for body in bodies:
            values = {"organization": None, "application": application, "body": body}
            transaction.change(statements("outbox")["outbox_put"], {**values, "created_at": at})
        return cast("list[OutboxKey]", transaction.rows(_KEYS))

    return await found._write(put_in, bounded=False)


async def reject(
    store: Store, organization: str, *bodies: bytes, application: str = "nobody", now: Instant
) -> list[Rejected]:
    """New rejected messages of an organization, newest first."""
    keys = await put(store, *bodies, application=application, at=now)
    rejections = [
        Rejection(key=key, organization=organization, code="not_found", reason="There is none.")
        for key in keys[-len(bodies) :]
    ]
    assert await store.reject_from_outbox(rejections, now=now) == len(bodies)
    part = await store.rejected(organization, Page(limit=len(bodies)))
    return list(part.data)
