"""The span of a page between two instants, where keys have no time in them but rise with it."""

from __future__ import annotations

from typing import Any

import msgspec

from marketbell import ids
from marketbell.model import Instant, Millis
from marketbell.store.base import Page
from marketbell.store.paging import Span, span_of_ids
from marketbell.store.setbacks import in_order
from marketbell.store.statements import Statement
from marketbell.store.transaction import Transaction


def span_of_time(
    transaction: Transaction,
    position: Statement,
    before: Statement,
    page: Page,
    *,
    prefix: str,
    slack: Millis,
    since: Instant | None,
    until: Instant | None,
) -> Span[int]:
    """
    The span of a page, newest first, between two instants, so that no rows of other times are read.

    `position` finds the key at or behind a public id, `before` the one before it. Keys rise in
    order of commits and public ids in order of making. What was made before
    `since - slack` was committed before anything of `since`, and likewise at the other end; unless
    the clock was set back over that instant: then the span has no end there.
    """
    span = span_of_ids(transaction, position, prefix, page, descending=True)
    low, high = span.low, span.high
    if since is not None and in_order(transaction, since, slack):
        start = ids.smallest_at(prefix, since - slack)
        row: Any = transaction.row(before, {"public_id": start})
        low = low if row is None else max(low, row[0])
    if until is not None and in_order(transaction, until, slack):
        end = ids.smallest_at(prefix, until + slack)
        row = transaction.row(position, {"public_id": end})
        high = high if row is None else min(high, row[0])
    return msgspec.structs.replace(span, low=low, high=high)
