"""What an attempt says of its endpoint's health: window, breaker, rest. No I/O."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.delivery.lane import Lane
from marketbell.delivery.retry import THROTTLING
from marketbell.dialects.base import Signal
from marketbell.model import Instant, Outcome, Verdict


class Lesson(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is to be done about an endpoint after an attempt."""

    rest_until: Instant = 0
    """The whole lane rests until then; 0 for not."""
    health_changed: bool = False
    """Whether `lane.failing_since` is another now."""
    keep: int | None = None
    """How many claims that wait it may keep; None for all."""


NOTHING: Final = Lesson()
"""Learnt from nearly every success."""
_ACCEPTED: Final = Outcome.ACCEPTED
_RECOVERED = Lesson(health_changed=True)


def learn(
    lane: Lane,
    outcome: Outcome,
    status: int,
    verdict: Verdict,
    *,
    honours: frozenset[Signal],
    now: Instant,
) -> Lesson:
    """
    Change the lane's window, breaker and health, and say what follows.

    An open breaker always narrows the endpoint to one request at a time; only where the dialect
    honours it does the lane rest as well, so that no document's clock is bent.
    """
    if outcome is _ACCEPTED:
        window, breaker = lane.window, lane.breaker
        if window.size < window.cap or not window.proven:
            window.succeed()
        if breaker.run or breaker.opened:
            breaker.succeed()
        if lane.failing_since is None:
            return NOTHING
        lane.failing_since = None
        return _RECOVERED
    if outcome is Outcome.REJECTED:
        lane.window.answer()
        if status in THROTTLING and Signal.RETRY_AFTER in honours:
            lane.window.narrow()
    else:
        lane.window.fall_silent()
    changed = lane.failing_since is None and Signal.AUTO_DISABLE in honours
    if changed:
        lane.failing_since = now
    rest_until = verdict.hold_until
    opened_until = lane.breaker.fail(now)
    if opened_until:
        lane.window.narrow()
        if Signal.BREAKER in honours:
            rest_until = max(rest_until, opened_until)
    keep: int | None = None
    if rest_until or verdict.disable_endpoint:
        keep = 0
    elif outcome is Outcome.NO_ANSWER:
        keep = 1
    return Lesson(rest_until=rest_until, health_changed=changed, keep=keep)
