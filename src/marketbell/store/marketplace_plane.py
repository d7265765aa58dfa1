"""What a store promises the marketplaces: their parts, orders and products, and who may log in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from marketbell.model import Application, Instant
from marketbell.store.control_plane import Once, Repeated
from marketbell.store.data_plane import Publication, Published


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """One thing of a marketplace that has a life cycle, as it was read or is to be kept."""

    application_id: int
    kind: str
    """`part`, `order`, `return`, `feed`, `product`, `item`; the store knows no more of it."""
    number: int
    """The marketplace's own integer id, from `next_numbers`; unique per kind in the whole store."""
    key: str = ""
    """A name that it is also found by: external id, feed UUID, SellerSku."""
    sole: bool = False
    """Whether no other sole one of its application and kind may have its key."""
    parent: int = 0
    """The number of what it belongs to: an item's or a return's order. 0 for none."""
    state: str
    over: bool = False
    """Whether it has ended, and may go once nothing has happened to it for long enough."""
    revision: int = 0
    """The one it was read at; 0 if it is not kept yet. Rises by 1 with every change."""
    body: bytes
    """All else, as the JSON of the kind's own type."""
    created_at: Instant
    updated_at: Instant


class EntityFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entities of one kind; None does not ask. `since` is within, `until` is not."""

    kind: str
    numbers: Sequence[int] | None = None
    keys: Sequence[str] | None = None
    states: Sequence[str] | None = None
    parent: int | None = None
    created_since: Instant | None = None
    created_until: Instant | None = None
    updated_since: Instant | None = None
    updated_until: Instant | None = None


CREDENTIALS_MAX: Final = 100
"""Users of one application, of all marketplaces together."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A user name of a marketplace's API, and the seller it stands for."""

    public_id: str
    application: Application
    marketplace: str
    user: str
    secret: bytes
    """What proves it: an API key, or the JSON of several secrets."""
    created_at: Instant

    def __repr__(self) -> str:
        """Without the secret, so that no log line can hold it."""
        return f"Credential(marketplace={self.marketplace!r}, user={self.user!r})"


class Entities(Protocol):
    """The things of the marketplaces, and the one way to change them."""

    async def entity(self, application_id: int, kind: str, number: int) -> Entity:
        """One of this application's. Raises NotFoundError."""

    async def entities(
        self,
        application_id: int,
        which: EntityFilter,
        *,
        offset: int = 0,
        limit: int = 100,
        descending: bool = False,
    ) -> tuple[Entity, ...]:
        """
        Those that pass every condition, in order of (created_at, number), deleted ones included.

        With a condition on updates and none on creation, numbers, keys or parent they come in
        order of (updated_at, number). An index serves each; the cost grows with the offset.
        """

    async def count_entities(self, application_id: int, which: EntityFilter) -> dict[str, int]:
        """How many pass, by state; states of none are left out."""

    async def next_numbers(self, kind: str, count: int) -> range:
        """
        So many numbers that nobody else gets, rising from 1.

        A transaction of its own: numbers that are not used leave gaps.
        """

    async def change_entities(
        self,
        application_id: int,
        changes: Sequence[Entity],
        publications: Sequence[Publication],
        *,
        now: Instant,
    ) -> tuple[Published, ...]:
        """
        Keep entities and the messages that tell of them, or nothing at all.

        One transaction, on disk when this returns. Each entity carries the revision that it was
        read at and is kept with the next one; its `updated_at` becomes `now`, a new one's
        `created_at` stands as given. No entity may stand in `changes` twice.

        Raises StaleError if another revision is kept of one of them, if something else has the key
        of a sole one, or if the application has changed since the publications were matched: read,
        decide and match again. NotFoundError if the application is gone. ConflictError if an eventId
        is taken. Also OverloadedError, UnavailableError or OutcomeUnknownError, as Queue.publish;
        after the last, all of it or nothing was kept. In every other case nothing was.
        """


class Credentials(Protocol):
    """Who may use a marketplace's own API. Secrets are sealed at rest, as those of endpoints are."""

    async def create_credential(
        self,
        application_id: int,
        marketplace: str,
        user: str,
        secret: bytes,
        *,
        now: Instant,
        once: Once | None = None,
    ) -> Credential | Repeated:
        """
        A new one.

        The answer that a repetition gets, which has the secret in it, is kept sealed.
        ConflictError if the user name is taken; NotFoundError for the application;
        LimitReachedError if that has CREDENTIALS_MAX.
        """

    async def credential(self, marketplace: str, user: str) -> Credential:
        """Who logs in with that user name. NotFoundError, also if the application is gone."""

    async def credential_of(self, application_id: int, public_id: str) -> Credential:
        """One of an application's. NotFoundError."""

    async def credentials(self, application_id: int) -> tuple[Credential, ...]:
        """All of one application's, by marketplace and user name."""

    async def delete_credential(self, application_id: int, public_id: str) -> None:
        """Let one of an application's log in no more. NotFoundError."""
