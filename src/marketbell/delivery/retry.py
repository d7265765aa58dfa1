"""What follows from an attempt: delivered, due again at a time, or failed. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Self

import msgspec

from marketbell.dialects.base import Schedule, Signal
from marketbell.model import Attempt, Claim, DeliveryState, Instant, Millis, Outcome, Verdict

THROTTLING = frozenset({429, 502, 503, 504})
"""Answers that ask for less: Standard Webhooks, "Retries" (which names 429, 502 and 504)."""

GONE = 410

_SECONDS_MAX = 10**9

DELIVERED = Verdict(state=DeliveryState.DELIVERED)
"""What follows from every accepted attempt."""

_FAILED = Verdict(state=DeliveryState.FAILED)
_GONE = Verdict(state=DeliveryState.FAILED, disable_endpoint=True)


class Ended(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known once an attempt has ended."""

    outcome: Outcome
    status: int
    retry_after: str | None
    """The answer's header as it came."""
    ended_at: Instant
    born_at: Instant
    """When the delivery came into being."""
    attempt_count: int
    """Counted attempts of the delivery before this one."""

    @classmethod
    def of(cls, claim: Claim, attempt: Attempt, retry_after: str | None, ended_at: Instant) -> Self:
        """What is known of this attempt of a claim."""
        return cls(
            outcome=attempt.outcome,
            status=attempt.status_code,
            retry_after=retry_after,
            ended_at=ended_at,
            born_at=claim.born_at,
            attempt_count=claim.attempt_count,
        )


def decide(
    ended: Ended,
    *,
    schedule: Schedule,
    honours: frozenset[Signal],
    retry_after_max: Millis,
    spread: float,
) -> Verdict:
    """
    The delivery's next state after a counted attempt.

    The step of the schedule is chosen by `attempt_count` alone; a wait begins at the end of the
    failed attempt. `spread` is a random number in [0, 1) for the schedule's jitter. Where the
    dialect honours it, 410 ends the delivery and disables the endpoint, and a throttling answer
    lets the whole lane rest as long as its Retry-After says, up to `retry_after_max`.
    """
    if ended.outcome is Outcome.ACCEPTED:
        return DELIVERED
    if ended.status == GONE and Signal.GONE in honours:
        return _GONE
    due_at = next_due(
        schedule,
        failures=ended.attempt_count + 1,
        ended_at=ended.ended_at,
        born_at=ended.born_at,
        spread=spread,
    )
    hold_until = 0
    if ended.status in THROTTLING and Signal.RETRY_AFTER in honours:
        asked = parse_retry_after(ended.retry_after, ended.ended_at)
        if asked is not None:
            hold_until = ended.ended_at + min(asked, retry_after_max)
    if due_at is None:
        return msgspec.structs.replace(_FAILED, hold_until=hold_until) if hold_until else _FAILED
    return Verdict(
        state=DeliveryState.PENDING, due_at=max(due_at, hold_until), hold_until=hold_until
    )


def next_due(
    schedule: Schedule, *, failures: int, ended_at: Instant, born_at: Instant, spread: float = 0.5
) -> Instant | None:
    """When a delivery that has failed so many times (from 1) is tried again; None for never."""
    step = failures - 1
    if step < len(schedule.waits):
        wait = schedule.waits[step]
    elif schedule.repeat_last and schedule.waits:
        wait = schedule.waits[-1]
    else:
        return None
    if schedule.jitter:
        wait = round(wait * (1 + schedule.jitter * (2 * spread - 1)))
    due_at = ended_at + wait
    if schedule.horizon is not None and due_at > born_at + schedule.horizon:
        return None
    return due_at


def attempts_max(schedule: Schedule) -> int | None:
    """How many attempts a delivery may have; None where not their number ends them, but time."""
    if schedule.repeat_last or schedule.horizon is not None:
        return None
    return len(schedule.waits) + 1


def parse_retry_after(value: str | None, now: Instant) -> Millis | None:
    """
    A Retry-After header (RFC 9110, 10.2.3) as a wait from `now`; None if it says nothing usable.

    Both of its forms are understood, seconds and a date (in any of the three spellings of RFC
    9110, 5.6.7); a date that has passed is 0.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:20]), _SECONDS_MAX) * 1000
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000) - now)
