"""What a store promises of its own size: what goes at which age, and what it knows of the present."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from marketbell.model import Instant, Millis


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept, by default; milliseconds."""

    payloads: Millis
    attempts: Millis
    messages: Millis
    audit: Millis = 365 * 86_400_000
    ended: Mapping[str, Millis] = {}
    """Of marketplace things that have ended, by kind, after their last change; others stay."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of retention removed; `more` says that another step has work at once."""

    payloads: int = 0
    attempts: int = 0
    messages: int = 0
    cancelled: int = 0
    more: bool = False


class Retention(Protocol):
    """Keeping the store small."""

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        """
        Remove up to `limit` rows of each kind that are past their age, in short transactions.

        Nothing goes before its age. Where history stands in partitions by day, most of it goes
        when the whole day has come to its age; see `PostgresOptions.exact_below`.

        What lives on real time, as the portal's sessions do, is judged by `real_now`; None for
        the same as `now`.

        No payload that an unfinished delivery needs is removed, save those of disabled
        endpoints, whose deliveries are cancelled then. Deliveries of deleted endpoints are cancelled.
        """

    async def failing_since(self, before: Instant, limit: int) -> tuple[int, ...]:
        """Live endpoints that have done nothing but fail since before that instant."""

    async def gauges(self, *, now: Instant) -> Gauges:
        """What the store knows of the present, cheaply."""

    async def waiting(self, ages: Ages, *, now: Instant) -> Waiting:
        """What keeps payloads that are past their age; the first 10,000 of each are counted."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What needs payloads that are past their age."""

    deliveries: int
    """Unfinished deliveries of such messages."""
    keys: int
    """Order keys that wait for such a message."""
    since: Instant | None
    """When the oldest of these payloads came to its age; None if none waits."""


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """Present figures for metrics and `health`."""

    oldest_due: Instant | None
    """
    Since when the first delivery has been due that is not claimed, of the 1,000 lanes whose turn
    comes next. Lanes that rest are among them, after those that do not; paused ones are not.
    """
    parked: int
    file_bytes: int
    log_bytes: int
