"""Whether what was recorded and received is what the marketplaces' documents ask for. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from marketbell.delivery import reasons
from marketbell.demo.client import Recorded
from marketbell.demo.receiver import TARGET
from marketbell.demo.script import SCRIPT, Errand, Step
from marketbell.model import Millis
from marketbell.settings import show_duration
from marketbell.testing.receiver import Received

EARLY_MAX: Final[Millis] = 2
"""Real milliseconds that a wait may seem too short: durations are recorded in whole ones."""

LATE_MAX: Final[Millis] = 100
"""Real milliseconds that an attempt may be late, beside the machine's own lateness."""

LATENESS_MAX: Final[Millis] = 1_000
"""Real milliseconds of the machine's own lateness that are allowed for; more is too busy to judge."""

_TIMES: Final = 3
"""
How often the machine's lateness may add up in one wait: when the end of an attempt is recorded,
when the next one is claimed, and when it is begun.
"""

SAID: Final = {Step.HANG: reasons.ANSWER_TIMED_OUT, Step.REFUSE: reasons.CONNECT_REFUSED}
"""How the attempts without an answer must read."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one errand so far."""

    errand: Errand
    endpoint: str
    message: str | None = None
    """Its id once it was accepted."""
    attempts: tuple[Recorded, ...] = ()
    """As listed by message, oldest first."""
    at_endpoint: tuple[Recorded, ...] = ()
    """As listed by endpoint, once all is over."""

    @property
    def delivered(self) -> bool:
        """Whether an attempt has succeeded."""
        return any(attempt.succeeded for attempt in self.attempts)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one event type."""

    seller: str
    event_type: str
    accepted: bool
    delivered: bool
    attempts: int
    waits: tuple[Millis, ...]
    """As measured, on the scaled axis."""
    document_waits: tuple[Millis, ...]
    faults: tuple[str, ...]
    """Everything that is not as the document says; empty if all is."""


def waits_of(attempts: Sequence[Recorded], speed: float) -> tuple[Millis, ...]:
    """From the end of each attempt to the start of the next, on the scaled axis."""
    return tuple(
        round(later.started_at - (earlier.started_at + earlier.duration * speed))
        for earlier, later in itertools.pairwise(attempts)
    )


def late_allowed(lateness: Millis) -> Millis:
    """Real milliseconds that an attempt may be late on a machine whose plain timers are so late."""
    return LATE_MAX + _TIMES * min(lateness, LATENESS_MAX)


def judge(
    progress: Progress, received: Sequence[Received], speed: float, lateness: Millis = 0
) -> Finding:
    """
    The verdict on one errand, from what the API recorded and what the receiver got.

    `lateness` is the machine's own, in real milliseconds, measured in the same run.
    """
    errand = progress.errand
    waits = waits_of(progress.attempts, speed)
    faults = [
        *_judge_attempts(progress),
        *_judge_waits(waits, errand.seller.waits, speed, late_allowed(lateness)),
        *_judge_received(errand, received),
    ]
    if progress.message is None:
        faults.insert(0, "was not accepted")
    return Finding(
        seller=errand.seller.title,
        event_type=errand.event_type,
        accepted=progress.message is not None,
        delivered=progress.delivered,
        attempts=len(progress.attempts),
        waits=waits,
        document_waits=errand.seller.waits,
        faults=tuple(faults),
    )


def _judge_attempts(progress: Progress) -> Iterator[str]:
    attempts, errand = progress.attempts, progress.errand
    if len(attempts) != errand.attempts:
        yield f"{len(attempts)} attempts are on record and not {errand.attempts}"
    for number, (step, attempt) in enumerate(zip(SCRIPT, attempts, strict=False), start=1):
        expected = {Step.ERROR: 500, Step.GOOD: errand.seller.good_status}.get(step, 0)
        if attempt.status_code != expected:
            yield f"attempt {number} has the status {attempt.status_code} and not {expected}"
        if attempt.succeeded != (step is Step.GOOD):
            verdict = "a success" if attempt.succeeded else "a failure"
            yield f"attempt {number} ({step}) is on record as {verdict}"
        if step in SAID and not attempt.response.startswith(SAID[step]):
            yield f"attempt {number} ({step}) says {attempt.response!r}"
        if attempt.endpoint != progress.endpoint:
            yield f"attempt {number} went to another endpoint"
    if [one.id for one in attempts] != [one.id for one in progress.at_endpoint]:
        yield "the lists by message and by endpoint differ"


def _judge_waits(
    waits: Sequence[Millis], document: Sequence[Millis], speed: float, late: Millis
) -> Iterator[str]:
    for number, (wait, asked) in enumerate(zip(waits, document, strict=False), start=2):
        if wait < asked - EARLY_MAX * speed:
            yield f"attempt {number} came {show_duration(asked - wait)} too early"
        if wait > asked + late * speed:
            yield f"attempt {number} came {show_duration(wait - asked)} too late"


def _judge_received(errand: Errand, received: Sequence[Received]) -> Iterator[str]:
    met = [step for step in SCRIPT if step is not Step.REFUSE]
    if len(received) != len(met):
        yield f"the receiver got {len(received)} requests and not {len(met)}"
    for number, request in enumerate(received, start=1):
        if request.body != errand.body:
            yield f"request {number} had the body {request.body!r} and not {errand.body!r}"
        if request.target != TARGET:
            yield f"request {number} went to {request.target} and not {TARGET}"
        for name, value in errand.seller.headers.items():
            if request.header(name) != value:
                yield f"request {number} lacked the header {name}: {value}"
        if request.header("content-type") != "application/json":
            yield f"request {number} was not sent as application/json"
