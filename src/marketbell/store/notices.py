"""The notices of a store: what is yet to be told, read and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from marketbell.store.operational_plane import Notice, WaitingNotice
from marketbell.store.resource import Resource
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("operational")
_NOTICE = msgspec.json.Decoder(Notice)


class NoticeResource(Resource):
    """Notices over a writer and readers."""

    async def notices(self, limit: int, *, but: Sequence[str] = ()) -> tuple[WaitingNotice, ...]:
        """See Notices.notices."""
        return await self._read(lambda transaction: _notices(transaction, limit, but))

    async def drop_notices(self, notices: Sequence[WaitingNotice]) -> None:
        """See Notices.drop_notices."""
        keys = [(notice.id,) for notice in notices]
        await self._write(lambda transaction: transaction.change_many(_SQL["notice_delete"], keys))

    async def prune_announced(self, *, limit: int) -> int:
        """See Notices.prune_announced."""
        return await self._write(
            lambda transaction: transaction.change(_SQL["announced_prune"], {"limit": limit})
        )


def _notices(transaction: Transaction, limit: int, but: Sequence[str]) -> tuple[WaitingNotice, ...]:
    values: dict[str, Value] = {"limit": limit, "but": msgspec.json.encode(but).decode()}
    rows: Any = transaction.rows(_SQL["notices"], values)
    return tuple(
        WaitingNotice(key, public_id, organization, _NOTICE.decode(body))
        for key, public_id, organization, body in rows
    )
