"""Searches on SQLite: messages, attempts and deliveries in order, a bounded time for each page."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from marketbell import ids
from marketbell.model import NEVER, DeliveryState, Message
from marketbell.store.base import AttemptFilter, AttemptRow, MessageFilter, Page, Slice
from marketbell.store.control_plane import Stop
from marketbell.store.history import read_attempt, read_message
from marketbell.store.paging import Span
from marketbell.store.positions import position
from marketbell.store.search_plane import DeliveryRow, Owned
from marketbell.store.search_values import (
    ATTEMPTS,
    MESSAGES,
    Kind,
    attempt_filter_of,
    filter_of,
    labels_of,
    names_of,
    refused_of,
)
from marketbell.store.statements import Statement, statements
from marketbell.store.texts import match_of
from marketbell.store.time_spans import span_of_time
from marketbell.store.transaction import Transaction, Value

T = TypeVar("T")
Rows: TypeAlias = Iterator[tuple[int, bool]]
"""Keys in order, with whether they pass."""
Found: TypeAlias = tuple[list[int], int | None]
"""Keys that pass, and where the search ended for want of time."""

_SQL = statements("search")
_HISTORY = statements("history")

_PART: Final = 32
"""Rows of one of several sources that are read at once, after fewer: there may be hundreds."""
_UNDELIVERED: Final = frozenset({DeliveryState.FAILED, DeliveryState.CANCELLED})
_UNFINISHED: Final = frozenset({DeliveryState.PENDING, DeliveryState.SENDING})


class Searcher:
    """Searches in one snapshot, each of them for at most about `budget_s` seconds."""

    def __init__(self, transaction: Transaction, budget_s: float) -> None:
        self._transaction = transaction
        self._until = time.perf_counter() + budget_s
        self._budget_s = budget_s
        self._refs: dict[int, str] = {}

    def messages(self, application_id: int, which: MessageFilter, page: Page) -> Slice[Message]:
        """See History.messages; a filter by time reads only that time's, and a minute around."""
        types = which.event_types
        if types is not None and not types:
            return Slice((), done=True)
        span = self._span(MESSAGES, which, page)
        values = {"application_id": application_id, **filter_of(which), **span.values, "limit": -1}
        rows = self._labelled(labels_of(which), values, span)
        return self._slice(MESSAGES, span, self._found(span, rows), self._message(which))

    def attempts(self, application_id: int, which: AttemptFilter, page: Page) -> Slice[AttemptRow]:
        """See History.attempts; those of a whole application are put together from its endpoints'."""
        span = self._span(ATTEMPTS, which, page)
        values = {
            "application_id": application_id,
            "message_id": which.message_id,
            **attempt_filter_of(which),
            **span.values,
            "limit": -1,
        }
        if which.message_id is not None:
            rows = self._of_message(values, span)
        else:
            ever: Any = [(which.endpoint_id,)]
            if which.endpoint_id is None:
                ever = self._transaction.rows(
                    _SQL["endpoints_ever"], {"application_id": application_id}
                )
            rows = self._of_endpoints(refused_of(which), [key for (key,) in ever], values, span)
        return self._slice(ATTEMPTS, span, self._found(span, rows), self._attempt(which))

    def deliveries(
        self,
        application_id: int,
        endpoint_id: int,
        which: MessageFilter,
        page: Page,
        *,
        states: frozenset[DeliveryState] | None,
    ) -> Slice[DeliveryRow]:
        """See Search.deliveries; those that were made are looked for among the messages."""
        span = self._span(MESSAGES, which, page)
        values = {
            "application_id": application_id,
            "endpoint_id": endpoint_id,
            "states": None if states is None else names_of(states),
            **filter_of(which),
            **span.values,
            "limit": -1,
        }
        if states is not None and states <= _UNDELIVERED:
            rows = self._each(f"deliveries_undelivered_{span.way}", values)
        elif states is not None and states <= _UNFINISHED:
            rows = self._each(f"deliveries_unfinished_{span.way}", values)
        else:
            rows = self._delivered(values, span)
        message, delivery = self._message(which), self._delivery(endpoint_id, states)

        def row(key: int) -> DeliveryRow:
            state, due_at = delivery(key)
            return DeliveryRow(
                message=message(key),
                state=DeliveryState(state),
                next_at=due_at if due_at is not None and due_at < NEVER else None,
            )

        return self._slice(MESSAGES, span, self._found(span, rows), row)

    def messages_anywhere(
        self, organization: str, which: MessageFilter, page: Page
    ) -> Slice[Owned[Message]]:
        """See Search.messages_anywhere."""
        span = self._span(MESSAGES, which, page)
        values = {"organization": organization, **filter_of(which), **span.values, "limit": -1}
        message = self._message(which)

        def row(key: int) -> Owned[Message]:
            found = message(key)
            return Owned(self._application(found.application_id), found)

        rows = self._each(f"messages_anywhere_{span.way}", values)
        return self._slice(MESSAGES, span, self._found(span, rows), row)

    def attempts_anywhere(
        self, organization: str, which: AttemptFilter, page: Page
    ) -> Slice[Owned[AttemptRow]]:
        """See Search.attempts_anywhere."""
        span = self._span(ATTEMPTS, which, page)
        values = {
            "organization": organization, **attempt_filter_of(which), **span.values, "limit": -1,
        }  # fmt: skip
        attempt = self._attempt(which)

        def row(key: int) -> Owned[AttemptRow]:
            found = attempt(key)
            return Owned(self._application(found.message.application_id), found)

        rows = self._each(f"attempts_{refused_of(which)}anywhere_{span.way}", values)
        return self._slice(ATTEMPTS, span, self._found(span, rows), row)

    def messages_worded(
        self, application_id: int, words: tuple[str, ...], which: MessageFilter, page: Page
    ) -> Slice[Message]:
        """See Search.messages_worded; it goes through the time in parts, each a part of its own time."""
        span = self._span(MESSAGES, which, page)
        first: Any = self._transaction.row(_SQL["message_first"])
        low = max(span.low, first[0] - 1)
        high = min(span.high, 1 + position(self._transaction, "texts"))
        values = {
            "application_id": application_id,
            "words": self._question(application_id, words),
            **filter_of(which),
        }
        keys: list[int] = []
        stopped: int | None = None
        size = self._first_part
        while high - low > 1 and len(keys) <= span.limit:
            near, far = (max(low, high - 1 - size), high) if span.down else (low, low + 1 + size)
            part = {"low": near, "high": min(far, high), "limit": span.limit + 1 - len(keys)}
            begun = time.perf_counter()
            rows: Any = self._transaction.rows(
                _SQL[f"messages_worded_{span.way}"], {**values, **part}
            )
            keys += [key for (key,) in rows]
            low, high = (low, near + 1) if span.down else (min(far, high) - 1, high)
            now = time.perf_counter()
            if now - begun < self._budget_s / 8:
                size *= 2
            if high - low > 1 and now > self._until:
                stopped = high if span.down else low
                break
        return self._slice(MESSAGES, span, (keys, stopped), self._message(which))

    # -- sources ------------------------------------------------------------------------

    _first_part = 4_096
    """Keys that a search by words goes through at first."""

    def _question(self, application_id: int, words: tuple[str, ...]) -> str:
        """How the database is asked for the payloads of an application with all of these words."""
        return match_of(application_id, words)

    def _span(self, kind: Kind, which: MessageFilter | AttemptFilter, page: Page) -> Span[int]:
        """The span of a page, newest first, so that no rows of other times are read."""
        return span_of_time(
            self._transaction,
            _HISTORY[f"{kind.table}_position"],
            _HISTORY[f"{kind.table}_before"],
            page,
            prefix=kind.prefix,
            slack=kind.slack,
            since=which.since,
            until=which.until,
        )

    def _of_message(self, values: dict[str, Value], span: Span[int]) -> Rows:
        """The attempts of one message."""
        return self._each(f"attempts_of_message_{span.way}", values)

    def _of_endpoints(
        self, refused: str, endpoint_ids: Sequence[int], values: dict[str, Value], span: Span[int]
    ) -> Rows:
        """
        The attempts at one endpoint or several; those that were refused are in an index of theirs.

        What has yet to be noted is looked through once for all of them.
        """
        noted, late = (values, None) if refused else self._parted(ATTEMPTS, values, span)
        sources = [{**noted, "endpoint_id": endpoint_id} for endpoint_id in endpoint_ids]
        old = self._merged(f"attempts_{refused}of_endpoint_{span.way}", sources, span)
        if late is None:
            return old
        return self._chained(old, self._each(f"attempts_late_{span.way}", late), span)

    def _each(self, name: str, values: dict[str, Value]) -> Rows:
        rows: Any = self._transaction.each(_SQL[name], values)
        return rows  # type: ignore[no-any-return]

    def _labelled(
        self, labels: list[str] | None, values: dict[str, Value], span: Span[int]
    ) -> Rows:
        """Messages of an application, or those of them that have one of these labels."""
        noted, late = self._parted(MESSAGES, values, span)
        sources = [{**noted, "label": label} for label in labels or [""]]
        old = self._merged(f"messages_labelled_{span.way}", sources, span)
        return self._chained(old, self._each(f"messages_{span.way}", late), span)

    def _delivered(self, values: dict[str, Value], span: Span[int]) -> Rows:
        """Messages of an application with where their deliveries to an endpoint stand."""
        noted, late = self._parted(MESSAGES, values, span)
        old = self._each(f"deliveries_of_endpoint_{span.way}", noted)
        return self._chained(old, self._each(f"deliveries_late_{span.way}", late), span)

    def _parted(
        self, kind: Kind, values: dict[str, Value], span: Span[int]
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """The span in two: of rows that have been noted for the lists, and of those that have yet to be."""
        ends = position(self._transaction, kind.follower)
        noted = {**values, "high": min(span.high, ends + 1)}
        return noted, {**values, "low": max(span.low, ends)}

    def _chained(self, old: Rows, new: Rows, span: Span[int]) -> Rows:
        return itertools.chain(*((new, old) if span.down else (old, new)))

    def _merged(self, name: str, sources: list[dict[str, Value]], span: Span[int]) -> Rows:
        """The rows of several sources in one order."""
        if len(sources) == 1:
            return self._each(name, sources[0])
        parts = (self._parts(_SQL[name], values, down=span.down) for values in sources)
        return heapq.merge(*parts, key=itemgetter(0), reverse=span.down)

    def _parts(self, statement: Statement, values: dict[str, Value], *, down: bool) -> Rows:
        """The rows of one source, read a few at a time, so that one statement serves them all."""
        edge = "high" if down else "low"
        size = 1
        while True:
            rows: Any = self._transaction.rows(statement, {**values, "limit": size})
            yield from rows
            if len(rows) < size:
                return
            values = {**values, edge: rows[-1][0]}
            size = min(4 * size, _PART)

    # -- pages --------------------------------------------------------------------------

    def _found(self, span: Span[int], rows: Rows) -> Found:
        """The first rows that pass, one more than the page has, found within the time."""
        keys: list[int] = []
        for key, passes in rows:
            if passes:
                keys.append(key)
                if len(keys) > span.limit:
                    break
            elif time.perf_counter() > self._until:
                return keys, key
        return keys, None

    def _slice(
        self, kind: Kind, span: Span[int], found: Found, value: Callable[[int], T]
    ) -> Slice[T]:
        keys, stopped = found
        part = span.slice([(key,) for key in keys], lambda row: value(row[0]))
        if stopped is None or len(keys) > span.limit:
            return part
        at: Any = self._transaction.row(_SQL[f"{kind.table}_at"], {"id": stopped})
        place = ids.of_key(kind.prefix, stopped)
        stop = Stop(place, 0 if at is None else at[0], backward=span.reverse)
        return msgspec.structs.replace(part, done=False, stopped=stop)

    def _message(self, which: MessageFilter) -> Callable[[int], Message]:
        content = which.with_content
        return lambda key: read_message(self._transaction, key, content=content)

    def _attempt(self, which: AttemptFilter) -> Callable[[int], AttemptRow]:
        content = which.with_content
        return lambda key: read_attempt(self._transaction, key, content=content)

    def _delivery(
        self, endpoint_id: int, states: frozenset[DeliveryState] | None
    ) -> Callable[[int], tuple[str, int | None]]:
        """Where deliveries to an endpoint stand, by message; all of them in one of these states."""
        if states is not None and len(states) == 1 and states <= _UNDELIVERED:
            (ended,) = states
            return lambda _key: (ended, None)

        def now(key: int) -> tuple[str, int | None]:
            pair = {"message_id": key, "endpoint_id": endpoint_id}
            row: Any = self._transaction.row(_SQL["delivery_now"], pair)
            return row  # type: ignore[no-any-return]

        return now

    def _application(self, application_id: int) -> str:
        ref = self._refs.get(application_id)
        if ref is None:
            row: Any = self._transaction.row(_SQL["application_ref"], {"id": application_id})
            ref = self._refs[application_id] = "" if row is None else row[0]
        return ref
