"""What a store promises those who ask for figures: counters that are exact, in prose."""

from __future__ import annotations

from typing import Protocol

import msgspec

from marketbell.model import Instant, Millis


class EndpointFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Where the deliveries of a time stand now."""

    delivered: int
    pending: int
    sending: int
    failed: int
    cancelled: int


class AttemptFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the attempts of a time; those with outcome `closed` or `unknown` do not count."""

    accepted: int
    refused: int


class Statistics(Protocol):
    """
    Figures of endpoints by hour.

    They change in the transactions that they count, so that a crash loses none and counts none
    twice, and no question reads the rows that they are about.
    """

    async def endpoint_figures(
        self, endpoint_id: int, *, since: Instant, until: Instant
    ) -> EndpointFigures:
        """
        Where the deliveries of the messages accepted in these hours stand now.

        `since` is taken down and `until` up to the full hour. A delivery that has ended and is made
        due again is pending again.
        """

    async def attempt_figures(
        self, endpoint_id: int, *, since: Instant, until: Instant
    ) -> AttemptFigures:
        """What became of the attempts that were begun in these hours."""

    async def follow_figures(self, *, now: Instant, age: Millis, bytes_max: int) -> bool:
        """
        Add up what the last transactions have counted; whether more waits.

        Figures of hours older than `age` go. What has not been added up counts in every answer
        all the same.
        """
