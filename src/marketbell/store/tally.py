"""What one transaction changes in the figures of endpoints, put together as one short row. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from marketbell.model import DeliveryState, Instant, Millis

HOUR_MS: Final[Millis] = 3_600_000

BORN: Final = 0
DELIVERED: Final = 1
FAILED: Final = 2
CANCELLED: Final = 3
ACCEPTED: Final = 4
REFUSED: Final = 5
"""Places of the figures in a count: deliveries by the hour of their message, attempts by their own."""

ENDED: Final = {
    DeliveryState.DELIVERED.value: DELIVERED,
    DeliveryState.FAILED.value: FAILED,
    DeliveryState.CANCELLED.value: CANCELLED,
}

Count: TypeAlias = list[int]
"""One figure for each place."""

_KEPT: Final = msgspec.json.Decoder(list[tuple[int, int, int, int, int, int, int, int]])
_ENCODE: Final = msgspec.json.Encoder()


class Tally:
    """Counts by endpoint and hour; empty it is false."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], Count] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, endpoint_id: int, at: Instant, place: int, number: int = 1) -> None:
        """So many more of one figure, in the hour of that instant."""
        key = (at // HOUR_MS, endpoint_id)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = [0, 0, 0, 0, 0, 0]
        count[place] += number

    def add_each(self, pairs: Sequence[tuple[int, Instant]], place: int) -> None:
        """One more of one figure for each endpoint and instant: a fifth of what `add` costs."""
        hours = [(at // HOUR_MS, endpoint_id) for endpoint_id, at in pairs]
        for key, number in Counter(hours).items():
            count = self._counts.get(key)
            if count is None:
                count = self._counts[key] = [0, 0, 0, 0, 0, 0]
            count[place] += number

    def take(self, rows: Iterable[str]) -> None:
        """Add up what `text` wrote."""
        counts = self._counts
        for row in rows:
            for hour, endpoint_id, *numbers in _KEPT.decode(row):
                count = counts.setdefault((hour, endpoint_id), [0, 0, 0, 0, 0, 0])
                for place, number in enumerate(numbers):
                    count[place] += number

    def rows(self) -> list[tuple[int, ...]]:
        """Hour, endpoint and the figures, in order of hours."""
        return [(*key, *count) for key, count in sorted(self._counts.items())]

    def text(self) -> str:
        """The same as JSON."""
        return _ENCODE.encode([(*key, *count) for key, count in self._counts.items()]).decode()
