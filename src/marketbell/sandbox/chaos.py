"""
What goes wrong on a bad day, decided by a seed: lost, late, overtaken and repeated events. Pure.

Only what the marketplaces' documents leave open. What a seller can read - parts, orders, the
log - is always true; an event is never invented, never altered and never early; whatever is
sent at all is sent again on the documents' own clocks.
"""

from __future__ import annotations

import random
from typing import Final

import msgspec

from marketbell.model import Millis

_SECOND: Final = 1_000
_MINUTE: Final = 60_000


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """How likely each thing is, of an event; the first that is hit decides over the next two."""

    lost: float = 0.03
    """The seller never hears of it."""
    late: float = 0.05
    """It comes up to half an hour later."""
    overtaken: float = 0.15
    """It comes up to ten seconds later, so that younger ones may come first."""
    twice: float = 0.10
    """It comes once more after it was taken; also beside being late or overtaken."""


DEFAULT: Final = Odds()
LATE_MAX: Final[Millis] = 30 * _MINUTE
OVERTAKEN_MAX: Final[Millis] = 10 * _SECOND
AGAIN_MAX: Final[Millis] = 2 * _MINUTE


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one event."""

    lost: bool = False
    delay: Millis = 0
    """How much later its first attempt falls due."""
    again: Millis | None = None
    """How long after that it comes once more, if it was taken by then; None for not at all."""


GOOD: Final = Fate()
"""Nothing goes wrong."""


def fate(seed: int, number: int, odds: Odds = DEFAULT) -> Fate:
    """What becomes of the `number`-th event; always the same for the same seed."""
    rng = random.Random(f"fate {seed} {number}")  # noqa: S311 - to be reproduced
    luck, again, delay, wait = (rng.random() for _ in range(4))
    if luck < odds.lost:
        return Fate(lost=True)
    luck -= odds.lost
    put_off = 0
    if luck < odds.late:
        put_off = int(OVERTAKEN_MAX + delay * (LATE_MAX - OVERTAKEN_MAX))
    elif luck < odds.late + odds.overtaken:
        put_off = 1 + int(delay * (OVERTAKEN_MAX - 1))
    return Fate(delay=put_off, again=int(wait * AGAIN_MAX) if again < odds.twice else None)
