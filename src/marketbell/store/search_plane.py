"""
What a store promises those who look for messages, deliveries and attempts: in prose.

Every search is bounded in time. One that ends before its page is full, though more may pass, gives
what it has found with `stopped`: the next page begins there. So a filter that hardly anything
passes costs no more than any other page, and a caller who goes on as long as a slice is not done
sees everything.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec

from marketbell.model import DeliveryState, Instant, Message
from marketbell.store.control_plane import (
    AttemptFilter,
    AttemptRow,
    MessageFilter,
    Once,
    Page,
    Repeated,
    Slice,
)

T = TypeVar("T")


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message with where its delivery to one endpoint stands."""

    message: Message
    state: DeliveryState
    next_at: Instant | None
    """When it is tried next; None if it is finished or waits for something else than time."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint with where the delivery of one message to it stands."""

    endpoint_public_id: str
    state: DeliveryState
    next_at: Instant | None


class Owned(msgspec.Struct, Generic[T], frozen=True):
    """Something of an organization, with the application that it belongs to."""

    application: str
    """The application's public id."""
    value: T


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose an endpoint, a message or an attempt is."""

    organization: str
    application: str
    """The application's public id."""
    message: str | None
    """The public id of the message that it is of, for an attempt."""
    deleted_at: Instant | None
    """When it was deleted, or its application."""


class Search(Protocol):
    """Beyond the lists of one application's messages and one endpoint's attempts."""

    async def owner(self, public_id: str) -> Owner:
        """Whose an endpoint, a message or an attempt is, by its public id alone. NotFoundError."""

    async def attempt(self, message_id: int, public_id: str) -> AttemptRow:
        """One attempt of a message. NotFoundError."""

    async def deliveries(
        self,
        application_id: int,
        endpoint_id: int,
        which: MessageFilter,
        page: Page,
        *,
        states: frozenset[DeliveryState] | None = None,
    ) -> Slice[DeliveryRow]:
        """
        The messages that have a delivery to an endpoint, newest first; pages name messages.

        `states` are those that the delivery may be in now; one that was finished and made due
        again is unfinished.
        """

    async def destinations(self, message_id: int) -> tuple[Destination, ...]:
        """Where the deliveries of a message stand, in order of the endpoints' creation."""

    async def messages_anywhere(
        self, organization: str, which: MessageFilter, page: Page
    ) -> Slice[Owned[Message]]:
        """The messages of all of an organization's applications, newest first."""

    async def attempts_anywhere(
        self, organization: str, which: AttemptFilter, page: Page
    ) -> Slice[Owned[AttemptRow]]:
        """The attempts of all of an organization's applications, newest first."""

    async def messages_worded(
        self, application_id: int, words: tuple[str, ...], which: MessageFilter, page: Page
    ) -> Slice[Message]:
        """
        The messages whose payload has all of these words, newest first.

        Words are as `texts.words_of` gives them. A payload is found once `follow_texts` has come
        past it, and until it is no longer kept.
        """

    async def expunge_payload(self, application_id: int, ref: str, *, now: Instant) -> None:
        """
        Remove a message's payload for good.

        Its deliveries that wait are cancelled; an attempt that is under way is made, but not
        again. Nothing happens if it is gone already. NotFoundError.
        """

    async def expunge_payloads(
        self,
        application_id: int,
        refs: tuple[str, ...],
        *,
        now: Instant,
        once: Once | None = None,
    ) -> dict[str, bool] | Repeated:
        """The same for many in one transaction; by name, whether there is such a message."""

    async def expunge_response(self, message_id: int, public_id: str) -> None:
        """Put `EXPUNGED` in the place of what an attempt's receiver answered. NotFoundError."""

    async def follow_clock(self, *, expected: Instant | None, now: Instant) -> None:
        """
        Note that the clock was set back, if it shows so much less than was expected of it.

        Rows are found by the order in which they were kept and by their time, which is the same
        order unless this happens; what asks for a time that was shown twice then finds all of it,
        only slower. With None the newest row says what was to be expected.
        """

    async def follow_labels(self, *, messages_max: int) -> bool:
        """
        Note the next messages and as many attempts for the lists; whether more wait.

        Messages stand there by application, event type, channel and tag, attempts by endpoint.
        What has not been noted is found all the same, only slower. After a crash it goes on where
        the last step that was kept has ended.
        """

    async def follow_texts(self, *, messages_max: int, bytes_max: int) -> bool:
        """
        Note the words of the next messages' payloads; whether more wait.

        Reads at most so many messages and about so many bytes. After a crash it goes on where the
        last step that was kept has ended, and notes nothing twice.
        """

    async def texts_since(self) -> Instant | None:
        """When the first message was accepted that `follow_texts` has yet to see; None if none."""
