"""Searches where keys begin with the millisecond: a range of them is a time, and stands apart on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from marketbell.model import DeliveryState, Message
from marketbell.store import keys
from marketbell.store.base import AttemptFilter, AttemptRow, MessageFilter, Page, Slice
from marketbell.store.history import attempt_row_of
from marketbell.store.paging import Span, span_of_ids
from marketbell.store.rows import message_of
from marketbell.store.search_values import ATTEMPTS, MESSAGES, Kind, names_of
from marketbell.store.searching import Found, Rows, Searcher
from marketbell.store.setbacks import in_order
from marketbell.store.statements import Statement, statements
from marketbell.store.texts import array_of
from marketbell.store.transaction import Transaction, Value

T = TypeVar("T")

_SQL = statements("search")
_HISTORY = statements("history")

_ENCODE: Final = msgspec.json.Encoder()
_DAY: Final = keys.length(keys.DAY_MS)
_WIDER: Final = 4
"""How much more time is looked through after one in which there was too little."""
_PIECE_MAX: Final = 256
"""Rows of several sources that are read at once."""


def searcher(transaction: Transaction, budget_s: float) -> Searcher:
    """Searches as suit the database."""
    kind = TimedSearcher if transaction.timed_keys else Searcher
    return kind(transaction, budget_s)


class TimedSearcher(Searcher):
    """
    Searches in one snapshot of a database that many nodes write to.

    What another node commits late stands where its time is: a reader who has come past that place
    by then does not see it. That is never more than seconds behind the newest row.
    """

    _first_part = keys.length(10 * 60_000)

    def __init__(self, transaction: Transaction, budget_s: float) -> None:
        super().__init__(transaction, budget_s)
        self._reads: list[Callable[[str], None]] = []
        """What reads all rows of a page at once, before they are asked for one by one."""

    def messages_worded(
        self, application_id: int, words: tuple[str, ...], which: MessageFilter, page: Page
    ) -> Slice[Message]:
        """See Search.messages_worded; whether the words' index is the shorter way, they tell."""
        self._transaction.row(_SQL["plan_for_words"])
        return super().messages_worded(application_id, words, which, page)

    def _question(self, application_id: int, words: tuple[str, ...]) -> str:
        return array_of(application_id, words)

    def _span(self, kind: Kind, which: MessageFilter | AttemptFilter, page: Page) -> Span[int]:
        """
        The span of a page between two instants.

        A key is never of an earlier time than its row, and later only by the slack, or while a
        clock that was set back catches up: a span that such a time lies in has no end.
        """
        position = _HISTORY[f"{kind.table}_position"]
        span = span_of_ids(self._transaction, position, kind.prefix, page, descending=True)
        low, high = span.low, span.high
        if which.since is not None:
            low = max(low, keys.floor(which.since) - 1)
        if which.until is not None and in_order(self._transaction, which.until, kind.slack):
            high = min(high, keys.floor(which.until + kind.slack))
        return msgspec.structs.replace(span, low=low, high=high)

    def _labelled(
        self, labels: list[str] | None, values: dict[str, Value], span: Span[int]
    ) -> Rows:
        """
        Messages of an application, of some event types of it, or with one channel or tag.

        All have their labels at once.
        """
        if labels is None:
            return self._each(f"messages_{span.way}", values)
        if labels[0][0] != "e":
            return self._each(f"messages_labelled_{span.way}", {**values, "label": labels[0]})
        names = [label[1:] for label in labels]
        return self._together(MESSAGES, f"messages_typed_{span.way}", names, values, span)

    def _delivered(self, values: dict[str, Value], span: Span[int]) -> Rows:
        return self._each(f"deliveries_of_endpoint_{span.way}", values)

    def _of_message(self, values: dict[str, Value], span: Span[int]) -> Rows:
        """The attempts of one message; none was made a day before it."""
        low = max(span.low, int(values["message_id"] or 0) - _DAY)
        return super()._of_message({**values, "low": low}, span)

    def _of_endpoints(
        self, refused: str, endpoint_ids: Sequence[int], values: dict[str, Value], span: Span[int]
    ) -> Rows:
        name = f"attempts_{refused}of_endpoint"
        if values["endpoint_id"] is not None:
            return self._each(f"{name}_{span.way}", values)
        names = [str(endpoint_id) for endpoint_id in endpoint_ids]
        return self._together(ATTEMPTS, f"{name}s_{span.way}", names, values, span)

    # -- pages --------------------------------------------------------------------------

    def _slice(
        self, kind: Kind, span: Span[int], found: Found, value: Callable[[int], T]
    ) -> Slice[T]:
        asked = names_of(map(str, found[0][: span.limit]))
        for read in self._reads:
            read(asked)
        return super()._slice(kind, span, found, value)

    def _message(self, which: MessageFilter) -> Callable[[int], Message]:
        found: dict[int, Message] = {}

        def read(asked: str) -> None:
            values: dict[str, Value] = {"keys": asked, "with_content": which.with_content}
            rows: Any = self._transaction.rows(_HISTORY["messages_of"], values)
            found.update((row[0], message_of(row)) for row in rows)

        self._reads.append(read)
        return found.__getitem__

    def _attempt(self, which: AttemptFilter) -> Callable[[int], AttemptRow]:
        found: dict[int, AttemptRow] = {}

        def read(asked: str) -> None:
            values: dict[str, Value] = {"keys": asked, "with_content": which.with_content}
            rows: Any = self._transaction.rows(_HISTORY["attempts_of"], values)
            found.update((row[0], attempt_row_of(row[1:])) for row in rows)

        self._reads.append(read)
        return found.__getitem__

    def _delivery(
        self, endpoint_id: int, states: frozenset[DeliveryState] | None
    ) -> Callable[[int], tuple[str, int | None]]:
        """See Searcher._delivery."""
        found: dict[int, tuple[str, int | None]] = {}

        def read(asked: str) -> None:
            values: dict[str, Value] = {"keys": asked, "endpoint_id": endpoint_id}
            rows: Any = self._transaction.rows(_SQL["deliveries_now"], values)
            found.update((key, (state, due_at)) for key, state, due_at in rows)

        self._reads.append(read)
        return found.__getitem__

    # -- several sources ----------------------------------------------------------------

    def _together(
        self,
        kind: Kind,
        name: str,
        sources: Sequence[str],
        values: dict[str, Value],
        span: Span[int],
    ) -> Rows:
        """
        The rows of several sources in one order, by one statement for all of them.

        It looks through a day, then through more and more time: each source has a place of its own
        in each day's part of the table, and there may be hundreds.
        """
        statement = _SQL[name]
        values = {**values, "sources": _ENCODE.encode(sources).decode()}
        if len(sources) == 1:
            yield from self._pieces(statement, values, span)
            return
        first: Any = self._transaction.row(_SQL[f"{kind.table}_first"])
        last: Any = self._transaction.row(_SQL[f"{kind.table}_last"])
        low, high = max(span.low, first[0] - 1), min(span.high, last[0] + 1)
        width = _DAY
        while high - low > 1:
            near, far = low, high
            if span.down:
                near = max(low, high - 1 - width)
            else:
                far = min(high, low + 1 + width)
            yield from self._pieces(statement, {**values, "low": near, "high": far}, span)
            low, high = (low, near + 1) if span.down else (far - 1, high)
            if high - low > 1:
                yield high if span.down else low, False
            width *= _WIDER

    def _pieces(self, statement: Statement, values: dict[str, Value], span: Span[int]) -> Rows:
        """Those of a statement's rows that pass, read a bounded number at a time."""
        edge = "high" if span.down else "low"
        size = min(span.limit + 1, _PIECE_MAX)
        while True:
            rows: Any = self._transaction.rows(statement, {**values, "limit": size})
            yield from ((key, True) for key, passes in rows if passes)
            if len(rows) < size:
                return
            if not rows[-1][1]:
                yield rows[-1]
            values = {**values, edge: rows[-1][0]}
            size = min(_WIDER * size, _PIECE_MAX)
