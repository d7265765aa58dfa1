"""The outbox in the store: looked into without locks, rejected rows moved; and the store that has none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from marketbell import ids
from marketbell.errors import no_such
from marketbell.model import Instant
from marketbell.store.base import Once, Page, Repeated, Slice
from marketbell.store.once import once as once_only
from marketbell.store.outbox_plane import (
    OutboxAsk,
    OutboxFigures,
    OutboxLook,
    OutboxRow,
    OutboxSight,
    Rejected,
    Rejection,
)
from marketbell.store.paging import span_of_ids
from marketbell.store.resource import Resource
from marketbell.store.rows import keys_of
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("outbox")

_CHECK: Final = "id, and the token's organization"
_COUNTED: Final = 10_000


class OutboxResource(Resource):
    """OutboxRows over the writers and readers."""

    has_outbox = True

    async def look_into_outbox(self, ask: OutboxAsk) -> OutboxLook:
        """See OutboxRows.look_into_outbox."""
        return await self._read(lambda transaction: _look(transaction, ask))

    async def outbox_owners(self, applications: Collection[str]) -> dict[str, str | None]:
        """See OutboxRows.outbox_owners."""
        return await self._read(lambda transaction: _owners(transaction, applications))

    async def reject_from_outbox(self, rejections: Sequence[Rejection], *, now: Instant) -> int:
        """See OutboxRows.reject_from_outbox."""
        return await self._write(
            lambda transaction: _reject(transaction, rejections, now),
            bounded=False,
            rows=len(rejections),
        )

    async def rejected(self, organization: str, page: Page) -> Slice[Rejected]:
        """See OutboxRows.rejected."""

        def read(transaction: Transaction) -> Slice[Rejected]:
            position = _SQL["rejected_position"]
            span = span_of_ids(transaction, position, ids.REJECTED, page, descending=True)
            values = {"organization": organization, **span.values}
            return span.slice(transaction.rows(_SQL[f"rejected_{span.way}"], values), _rejected_of)

        return await self._read(read)

    async def rejected_one(self, organization: str, public_id: str) -> Rejected:
        """See OutboxRows.rejected_one."""
        named = _named(organization, public_id)
        return await self._read(lambda look: _rejected(look, named))

    async def drop_rejected(self, organization: str, public_id: str) -> None:
        """See OutboxRows.drop_rejected."""
        named = _named(organization, public_id)
        if not await self._write(lambda change: change.change(_SQL["rejected_delete"], named)):
            raise no_such("rejected message", public_id, _CHECK)

    async def requeue_rejected(
        self, organization: str, public_id: str, *, now: Instant, once: Once | None = None
    ) -> Rejected | Repeated:
        """See OutboxRows.requeue_rejected."""
        named = _named(organization, public_id)

        def requeue(transaction: Transaction) -> Rejected:
            one = _rejected(transaction, named)
            again: dict[str, Value] = {
                "organization": organization,
                "application": one.application,
                "body": one.body,
                "created_at": one.created_at,
            }
            transaction.change(_SQL["outbox_put"], again)
            transaction.change(_SQL["rejected_delete"], named)
            return one

        return await self._write(
            lambda transaction: once_only(transaction, once, now, lambda: requeue(transaction))
        )

    async def prune_rejected(self, *, before: Instant, limit: int) -> int:
        """See OutboxRows.prune_rejected."""
        values = {"before": before, "limit": limit}
        return await self._write(
            lambda transaction: transaction.change(_SQL["rejected_prune"], values), bounded=False
        )

    async def outbox_figures(self) -> OutboxFigures:
        """See OutboxRows.outbox_figures."""
        row: Any = await self._read(
            lambda look: look.row(_SQL["outbox_figures"], {"limit": _COUNTED})
        )
        return OutboxFigures(waiting=row[0], lag=row[1] or 0, rejected=row[2])


class NoOutbox(OutboxResource):
    """The same where nobody can put anything in: an SQLite file is written by one process alone."""

    has_outbox = False

    async def look_into_outbox(self, ask: OutboxAsk) -> OutboxLook:
        """See OutboxRows.look_into_outbox."""
        return OutboxLook(rows=(), sight=ask.since, more=False)


def _look(transaction: Transaction, ask: OutboxAsk) -> OutboxLook:
    values: dict[str, Value] = {
        "horizon": ask.since.horizon,
        "running": _array(ask.since.running),
        "slots": None if ask.share.slots is None else _array(ask.share.slots),
        "late": ask.share.late,
        "but": "\n".join(ask.but),
        "limit": ask.rows,
        "bytes_max": ask.bytes_max,
        "body_max": ask.body_max,
    }
    found: Any = transaction.rows(_SQL["outbox_look"], values)
    rows = tuple(
        OutboxRow(
            key=(row[2], row[3]),
            organization=row[4],
            application=row[5],
            body=row[6],
            created_at=row[7],
        )
        for row in found
        if row[3] is not None
    )
    return OutboxLook(
        rows=rows, sight=_sight_of(found[0][0]), more=bool(rows) and len(rows) < found[0][1]
    )


def _sight_of(snapshot: str) -> OutboxSight:
    """`xmin:xmax:xip,xip`, as PostgreSQL writes a pg_snapshot."""
    _, horizon, running = snapshot.split(":")
    return OutboxSight(int(horizon), tuple(map(int, filter(None, running.split(",")))))


def _array(numbers: Collection[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def _reject(transaction: Transaction, rejections: Sequence[Rejection], now: Instant) -> int:
    wanted = keys_of([one.key for one in rejections])
    taken = set(transaction.rows(_SQL["outbox_take"], wanted))
    kept: list[dict[str, Value]] = [
        {
            "transaction": one.key[0],
            "id": one.key[1],
            "public_id": ids.new_id(ids.REJECTED, now),
            "organization": one.organization,
            "now": now,
            "code": one.code,
            "reason": one.reason,
        }
        for one in rejections
        if one.key in taken
    ]
    if kept:
        transaction.change_many(_SQL["rejected_insert"], kept)
        gone = keys_of([one.key for one in rejections if one.key in taken])
        transaction.change(_SQL["outbox_delete"], gone)
    return len(kept)


def _owners(transaction: Transaction, applications: Collection[str]) -> dict[str, str | None]:
    only: Any = transaction.row(_SQL["outbox_only_owner"])
    alone = only[0] if only[0] == only[1] else None
    owners: dict[str, str | None] = {}
    for name in applications:
        row: Any = transaction.row(_SQL["outbox_owner"], {"ref": name})
        first, last = row
        owners[name] = alone if first is None else first if first == last else None
    return owners


def _named(organization: str, public_id: str) -> dict[str, str]:
    return {"organization": organization, "public_id": public_id}


def _rejected(look: Transaction, named: dict[str, str]) -> Rejected:
    row = look.row(_SQL["rejected_one"], named)
    if row is None:
        raise no_such("rejected message", named["public_id"], _CHECK)
    return _rejected_of(row)


def _rejected_of(row: Any) -> Rejected:
    return Rejected(
        public_id=row[0],
        application=row[1],
        created_at=row[2],
        rejected_at=row[3],
        code=row[4],
        reason=row[5],
        body=row[6] if len(row) > 6 else b"",
    )
