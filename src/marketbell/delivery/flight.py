"""One exchange under way: where it goes, what it sends, and by when which step must be done."""

from __future__ import annotations

import abc
import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from marketbell.delivery import reasons
from marketbell.delivery.exchange import Exchange, Limits
from marketbell.delivery.netguard import Target
from marketbell.model import Millis

if TYPE_CHECKING:
    from marketbell.delivery.connection import Connection

Key: TypeAlias = tuple[str, str, int, bool]
"""What a kept connection may be used for again: host, checked address, port, TLS."""

_NOT_YET: Final = -math.inf


class Way:
    """What exchanges with one target have in common: how long each may take, and whom they call."""

    __slots__ = ("keys", "known_until", "limits", "target")

    def __init__(self, target: Target, limits: Limits) -> None:
        self.target = target
        self.limits = limits
        self.keys: tuple[Key, ...] = ()
        """One for each address behind the name, in the order in which they are to be tried."""
        self.known_until = _NOT_YET
        """Until when the name may be taken for these addresses, on the clock's monotonic axis."""


class Carrier(Protocol):
    """The connection that an exchange goes over."""

    def drop(self, reason: str) -> None:
        """End the exchange for this reason, and the connection with it."""


class Tower(Protocol):
    """The client that has an exchange under way."""

    def give_up(self, flight: Flight, reason: str) -> None:
        """End it for this reason; nothing happens if it is over."""


class Flight(abc.ABC):
    """One exchange under way."""

    __slots__ = (
        "body", "connect", "connection", "deadline", "end", "first_byte", "fresh", "head", "late",
        "over", "started", "task", "tower", "way",
    )  # fmt: skip

    def __init__(self, way: Way, now: float, *, fresh: bool = False) -> None:
        self.way = way
        self.fresh = fresh
        self.started = now
        self.end = self.deadline = now + way.limits.total_s
        self.late = reasons.RESOLVE_TIMED_OUT
        self.over = False
        self.head = b""
        self.body = b""
        self.tower: Tower | None = None
        self.connection: Carrier | None = None
        self.task: asyncio.Task[None] | None = None
        self.connect: Millis = 0
        self.first_byte: Millis = 0

    @abc.abstractmethod
    def landed(self, exchange: Exchange) -> None:
        """Told once, by the client: this came of it."""

    def phase(self, deadline: float, late: str) -> None:
        """From now on, `late` is the reason if it takes longer than until `deadline`."""
        self.deadline = min(self.end, deadline)
        self.late = late

    def cancel(self) -> None:
        """Give it up: it has landed when this returns, unless it was never sent."""
        if self.tower is not None:
            self.tower.give_up(self, reasons.CANCELLED)


class Owner(Protocol):
    """Whom a connection tells what became of its exchange and of itself."""

    def now(self) -> float:
        """Real seconds on the clock's monotonic axis."""

    def finish(self, flight: Flight, exchange: Exchange) -> None:
        """The exchange is over."""

    def keep(self, connection: Connection, now: float) -> None:
        """The connection is free again and may be used for another exchange."""

    def opened(self, connection: Connection) -> None:
        """The connection stands, over TLS after the handshake."""

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
