"""One exchange under way: where it goes, what it sends, and by when which step must be done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from marketbell.delivery import reasons
from marketbell.delivery.exchange import Exchange, Limits
from marketbell.delivery.netguard import Target
from marketbell.model import Millis


class Carrier(Protocol):
    """The connection that an exchange goes over."""

    def drop(self, reason: str) -> None:
        """End the exchange for this reason, and the connection with it."""


class Flight:
    """One exchange under way; what `Client.send` gives back."""

    __slots__ = (
        "_give_up", "body", "connect", "connection", "deadline", "done", "end", "first_byte",
        "fresh", "head", "late", "limits", "over", "started", "target", "task",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        limits: Limits,
        done: Callable[[Exchange], None],
        give_up: Callable[[Flight, str], None],
        now: float,
    ) -> None:
        self.target = target
        self.limits = limits
        self.done = done
        self._give_up = give_up
        self.started = now
        self.end = now + limits.total_s
        self.deadline = self.end
        self.late = reasons.RESOLVE_TIMED_OUT
        self.over = False
        self.fresh = False
        self.head = b""
        self.body = b""
        self.connection: Carrier | None = None
        self.task: asyncio.Task[None] | None = None
        self.connect: Millis = 0
        self.first_byte: Millis = 0

    def phase(self, deadline: float, late: str) -> None:
        """From now on, `late` is the reason if it takes longer than until `deadline`."""
        self.deadline = min(self.end, deadline)
        self.late = late

    def cancel(self) -> None:
        """Give it up: `done` is called before this returns, unless it has been called already."""
        self._give_up(self, reasons.CANCELLED)
