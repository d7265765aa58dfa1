"""What a test may set of a data plane, who it tells of its attempts, and a receiver's diary."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from marketbell.clock import Clock
from marketbell.delivery.dialer import tls_context
from marketbell.delivery.fairness import Places
from marketbell.model import Attempt, Millis
from marketbell.observe import Observed, Observer
from marketbell.store.base import Ages
from marketbell.testing import OK, Answer, Received

LOOPBACK: Final = ("127.0.0.0/8",)
DAY: Final[Millis] = 86_400_000

trusting = functools.cache(tls_context)
"""The roots of the system and a file beside them: read once for a process, not for each of its planes."""


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """What a test may set of the node; the rest is as a server has it."""

    places: Places = Places()
    networks: Sequence[str] = LOOPBACK
    names: Mapping[str, Sequence[str]] = {}
    """Host names and their addresses; looked up anew at every question."""
    names_ttl_s: float = 30.0
    extra_ca: Path | None = None
    """An authority's certificate that is trusted beside the system's."""
    timeout: Millis = 20_000
    timeout_max: Millis = 0
    """Zero: what the lease has room for."""
    max_in_flight: int = 64
    lease: Millis = 60_000
    look: Millis = 7 * DAY
    """So that a due time which is not waited for by itself shows as one that is missed."""
    retry_after_max: Millis = 3_600_000
    breaker_failures: int = 10
    breaker_rest: Millis = 30_000
    auto_disable_after: Millis = 5 * DAY
    ages: Ages = Ages(payloads=90 * DAY, attempts=90 * DAY, messages=90 * DAY)
    idle_s: float = 1.5
    busy_ms: int = 100
    """How long the store waits for a lock of another program."""
    wait_s: float = 20.0
    """How long the store lets what is to be written wait."""


AS_A_SERVER: Final = Knobs()


class Told(Observer):
    """An observer that keeps every attempt it is told of."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []
        self.lost = 0
        self._ring = ring

    def attempted(self, run: Iterable[Observed]) -> None:
        """See Observer.attempted."""
        ended = list(run)
        super().attempted(ended)
        self.attempts += [one[1] for one in ended]
        self._ring()

    def lost_claims(self, count: int) -> None:
        """See Observer.lost_claims."""
        super().lost_claims(count)
        self.lost += count


class Diary:
    """A receiver's script that notes when, on a clock, each request came; times from its making."""

    def __init__(self, clock: Clock, answers: Sequence[Answer] = (OK,)) -> None:
        self.clock = clock
        self.start = clock.now()
        self.times: list[Millis] = []
        self._answers = answers

    def __call__(self, request: Received) -> Answer:
        self.times.append(self.clock.now() - self.start)
        return self._answers[min(len(self.times), len(self._answers)) - 1]
