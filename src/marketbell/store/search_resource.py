"""Searches and figures of a store: their protocols over the writer and the readers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from marketbell.model import DeliveryState, Instant, Message, Millis
from marketbell.store import expunging, following, history, setbacks, statistics
from marketbell.store.base import (
    AttemptFilter,
    AttemptRow,
    MessageFilter,
    Once,
    Page,
    Repeated,
    Slice,
)
from marketbell.store.resource import Resource
from marketbell.store.search_plane import DeliveryRow, Destination, Owned, Owner
from marketbell.store.searching import Searcher
from marketbell.store.searching_timed import searcher
from marketbell.store.statistics_plane import AttemptFigures, EndpointFigures

T = TypeVar("T")


class SearchResource(Resource):
    """The lists of History, Search and Statistics over a writer and readers."""

    def _search(self, query: Callable[[Searcher], T]) -> Awaitable[T]:
        budget_s = self._options.search_s
        return self._read(lambda transaction: query(searcher(transaction, budget_s)))

    # -- History ----------------------------------------------------------------------------

    async def messages(
        self, application_id: int, which: MessageFilter, page: Page
    ) -> Slice[Message]:
        """See History.messages."""
        return await self._search(lambda search: search.messages(application_id, which, page))

    async def attempts(
        self, application_id: int, which: AttemptFilter, page: Page
    ) -> Slice[AttemptRow]:
        """See History.attempts."""
        return await self._search(lambda search: search.attempts(application_id, which, page))

    # -- Search -----------------------------------------------------------------------------

    async def owner(self, public_id: str) -> Owner:
        """See Search.owner."""
        return await self._read(lambda transaction: history.owner(transaction, public_id))

    async def attempt(self, message_id: int, public_id: str) -> AttemptRow:
        """See Search.attempt."""
        return await self._read(
            lambda transaction: history.attempt(transaction, message_id, public_id)
        )

    async def deliveries(
        self,
        application_id: int,
        endpoint_id: int,
        which: MessageFilter,
        page: Page,
        *,
        states: frozenset[DeliveryState] | None = None,
    ) -> Slice[DeliveryRow]:
        """See Search.deliveries."""
        return await self._search(
            lambda search: search.deliveries(
                application_id, endpoint_id, which, page, states=states
            )
        )

    async def destinations(self, message_id: int) -> tuple[Destination, ...]:
        """See Search.destinations."""
        return await self._read(lambda transaction: history.destinations(transaction, message_id))

    async def messages_anywhere(
        self, organization: str, which: MessageFilter, page: Page
    ) -> Slice[Owned[Message]]:
        """See Search.messages_anywhere."""
        return await self._search(
            lambda search: search.messages_anywhere(organization, which, page)
        )

    async def attempts_anywhere(
        self, organization: str, which: AttemptFilter, page: Page
    ) -> Slice[Owned[AttemptRow]]:
        """See Search.attempts_anywhere."""
        return await self._search(
            lambda search: search.attempts_anywhere(organization, which, page)
        )

    async def messages_worded(
        self, application_id: int, words: tuple[str, ...], which: MessageFilter, page: Page
    ) -> Slice[Message]:
        """See Search.messages_worded."""
        budget_s = self._options.text_search_s
        return await self._read(
            lambda transaction: searcher(transaction, budget_s).messages_worded(
                application_id, words, which, page
            )
        )

    async def expunge_payload(self, application_id: int, ref: str, *, now: Instant) -> None:
        """See Search.expunge_payload."""
        await self._write(
            lambda transaction: expunging.expunge_payload(transaction, application_id, ref, now=now)
        )

    async def expunge_payloads(
        self,
        application_id: int,
        refs: tuple[str, ...],
        *,
        now: Instant,
        once: Once | None = None,
    ) -> dict[str, bool] | Repeated:
        """See Search.expunge_payloads."""
        return await self._write(
            lambda transaction: expunging.expunge_payloads(
                transaction, application_id, refs, now=now, mark=once
            )
        )

    async def expunge_response(self, message_id: int, public_id: str) -> None:
        """See Search.expunge_response."""
        await self._write(
            lambda transaction: expunging.expunge_response(transaction, message_id, public_id)
        )

    async def follow_clock(self, *, expected: Instant | None, now: Instant) -> None:
        """See Search.follow_clock."""
        if expected is None:
            expected = await self._read(setbacks.newest)
        high = expected
        if setbacks.is_setback(high, now):
            await self._write(
                lambda transaction: setbacks.note(transaction, now, high), bounded=False
            )

    async def follow_labels(self, *, messages_max: int) -> bool:
        """See Search.follow_labels."""
        if not await self._read(following.has_rows):
            return False
        return await self._write(
            lambda transaction: following.note_rows(transaction, messages_max), bounded=False
        )

    async def follow_texts(self, *, messages_max: int, bytes_max: int) -> bool:
        """See Search.follow_texts."""
        words = await self._read(
            lambda transaction: following.read_words(transaction, messages_max, bytes_max)
        )
        if words.begins == words.ends:
            return False
        return await self._write(
            lambda transaction: following.note_words(transaction, words), bounded=False
        )

    async def texts_since(self) -> Instant | None:
        """See Search.texts_since."""
        return await self._read(following.texts_since)

    # -- Statistics -------------------------------------------------------------------------

    async def endpoint_figures(
        self, endpoint_id: int, *, since: Instant, until: Instant
    ) -> EndpointFigures:
        """See Statistics.endpoint_figures."""
        return await self._read(
            lambda transaction: statistics.endpoint_figures(
                transaction, endpoint_id, since=since, until=until
            )
        )

    async def attempt_figures(
        self, endpoint_id: int, *, since: Instant, until: Instant
    ) -> AttemptFigures:
        """See Statistics.attempt_figures."""
        return await self._read(
            lambda transaction: statistics.attempt_figures(
                transaction, endpoint_id, since=since, until=until
            )
        )

    async def follow_figures(self, *, now: Instant, age: Millis, bytes_max: int) -> bool:
        """See Statistics.follow_figures; added up beside the writer, kept by it."""
        before = now - age
        sums = await self._read(
            lambda transaction: statistics.read_sums(transaction, before, bytes_max)
        )
        if not sums.keys and not sums.old:
            return False
        return await self._write(
            lambda transaction: statistics.keep_sums(transaction, sums, before), bounded=False
        )
