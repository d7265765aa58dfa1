"""The bounds of the dispatcher itself, and of what a node takes on."""

from __future__ import annotations

import msgspec

from marketbell.model import Millis


class DispatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The dispatcher's own bounds."""

    lease: Millis
    """Real milliseconds."""
    retry_after_max: Millis
    lost_claims_max: int = 20
    """After so many lost claims in a row a delivery is parked."""
    unrecorded_max: int = 10_000
    """Results that wait to be stored; nothing new is begun above it."""
    look: Millis = 30_000
    """How long, in real time, the store is at most not asked; a hint that was lost costs no more."""


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one node."""

    at_work: int = 128
    """Requests begun within the last `young` milliseconds and not ended."""
    sockets: int = 4096
    """Requests that have not ended, however old."""
    unproven_share: float = 0.5
    """The part of `sockets` that endpoints without a recent success share."""
    stock: int = 4096
    """Claims in memory, waiting and at work."""
    stock_bytes: int = 64_000_000
    young: Millis = 50

    @property
    def for_births(self) -> int:
        """Places that no claim of what waits in the store may take."""
        return self.stock // 8

    def share(self, free: int, *, slow: bool) -> int:
        """
        How much of the memory one lane may have while so many places are free.

        The more are taken, the less that is: there is always some for another. Slow lanes leave a
        quarter to the others, however many they are; but one claim each may always have.
        """
        return (free - self.stock // 4) // 8 if slow else free // 4
