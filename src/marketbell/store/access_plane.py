"""What a store promises of access: API keys, ended tokens, and which organizations' access has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from marketbell.model import Instant
from marketbell.store.control_plane import Once, Page, Repeated, Slice


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it is kept: all but its secret."""

    public_id: str
    """`mbk_` and 27 letters and digits; the first part of the key itself."""
    organization: str
    application: str | None
    """The public id of the one application that it is for; None for an operator's."""
    name: str
    scopes: tuple[str, ...] | None
    """None for everything that its kind may do."""
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    """To about a minute."""
    ends_at: Instant | None
    """From when on it is revoked; None if it is not."""


class ApiKeyDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a new API key is to be, already checked by control/."""

    public_id: str
    organization: str
    application: str | None
    name: str
    scopes: tuple[str, ...] | None
    expires_at: Instant | None
    digest: bytes
    """Of the secret; the secret itself never comes here."""


class KeyLogin(msgspec.Struct, frozen=True):
    """What is needed to judge a caller with an API key."""

    key: ApiKey
    digest: bytes
    ends_at: Instant | None
    """From when on it is refused, for its own sake or with all of its organization or application."""


class AccessChange(msgspec.Struct, frozen=True):
    """Somebody of this organization may do less than before; verdicts about it are to be made anew."""

    organization: str


class AccessControl(Protocol):
    """
    API keys and ended tokens.

    Whatever takes access away gives its organization a new revision in the same transaction.
    Revisions rise over all organizations in the order of the commits, so that one query tells a
    node what it has to look at again.
    """

    async def create_api_key(
        self, draft: ApiKeyDraft, *, now: Instant, keys_max: int, once: Once | None = None
    ) -> ApiKey | Repeated:
        """
        A new API key. LimitReachedError if the organization has `keys_max` live ones.

        The answer that a repetition gets, which has the key's secret in it, is kept sealed.
        Keys that ended 90 days ago or longer are removed on the way, a bounded number at a time.
        """

    async def api_key(self, organization: str, public_id: str) -> ApiKey:
        """One key. NotFoundError."""

    async def api_keys(self, organization: str, page: Page) -> Slice[ApiKey]:
        """A slice, in order of creation; ended ones are there for 90 days."""

    async def end_api_key(self, organization: str, public_id: str, *, ends_at: Instant) -> ApiKey:
        """Let a key end at that instant, or earlier if that was said before. NotFoundError."""

    async def key_login(self, public_id: str) -> KeyLogin | None:
        """What is known of a key of any organization; None if there is none."""

    async def note_keys_used(self, used: Mapping[str, Instant]) -> None:
        """Keep when keys were used, by public id; less than a minute after the last note nothing is written."""

    async def end_tokens(
        self,
        organization: str,
        application: str | None,
        *,
        issued_before: Instant,
        ends_at: Instant,
        now: Instant,
        once: Once | None = None,
    ) -> None:
        """
        Let every token and key that was made before an instant end at another, or earlier.

        Of one application by its public id, or with None of the whole organization, its
        applications among them. LimitReachedError for more than 100 overlapping ends.
        """

    async def end_token(
        self, organization: str, digest: bytes, *, expires_at: Instant, now: Instant
    ) -> None:
        """Let the one token with this digest end now; forgotten once it has expired by itself."""

    async def token_end(
        self, organization: str, application: str | None, digest: bytes, issued_at: Instant
    ) -> Instant | None:
        """From when on a token is refused though it has not expired; None if nobody ended it."""

    async def access_changes(self, after: int) -> tuple[int, tuple[str, ...]]:
        """The highest revision that there is, and the organizations whose own is above `after`."""

    def on_access_change(self, listener: Callable[[AccessChange], None]) -> None:
        """Call back on the event loop after each commit of this process that took access away."""
