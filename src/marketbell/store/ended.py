"""Retention of the marketplaces' things: those that ended long ago go, with their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from marketbell.model import NEVER, Instant
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction
from marketbell.store.walk import Rows, Walk

_SQL = statements("marketplace")

PARTS: Final[Mapping[str, Sequence[str]]] = {"order": ("item", "return")}
"""By kind, the kinds whose `parent` is a number of it: they go with it alone."""


def drop_ended(
    transaction: Transaction,
    walk: Walk[tuple[int, int]],
    kind: str,
    cutoff: Instant,
    *,
    now: Instant,
    limit: int,
) -> None:
    """
    Remove things of one kind that had ended by `cutoff`, at most `limit` and what belongs to them.

    One stays while something that belongs to it has not ended, or has changed since.
    """
    parts = msgspec.json.encode(PARTS.get(kind, ())).decode()

    def rows(low: tuple[int, int], high: tuple[int, int], count: int) -> Rows:
        found = transaction.rows(
            _SQL["entities_over"],
            {
                "kind": kind,
                "parts": parts,
                "cutoff": cutoff,
                "low_at": low[0],
                "low": low[1],
                "high_at": high[0],
                "high": high[1],
                "limit": count,
            },
        )
        return [(row[:2], row[0], *row[1:]) for row in found]

    for _key, _at, number, application_id, needed in walk.past(
        rows, (NEVER, NEVER), cutoff=cutoff, now=now, limit=limit
    ):
        if needed:
            continue
        which = {"application_id": application_id, "number": number, "parts": parts}
        transaction.change(_SQL["entity_parts_drop"], which)
        transaction.change(_SQL["entity_drop"], {"kind": kind, "number": number})
