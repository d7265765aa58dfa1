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

LATE_SHARE: Final = 0.5
"""Of its wait: how late an attempt may be at most, however late the machine is."""

_TIMES: Final = 3
"""
How often the machine's lateness may add up in one wait: when the end of an attempt is recorded,
when the next one is claimed, and when it is begun.
"""

_ARRIVES: Final = tuple(step for step in SCRIPT if step is not Step.REFUSE)
"""What the receiver gets to see."""

SAID: Final = {Step.HANG: reasons.ANSWER_TIMED_OUT, Step.REFUSE: reasons.CONNECT_REFUSED}
"""How the attempts without an answer must read."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one errand so far."""

    errand: Errand
    speed: float
    """How much faster than real time its server's clock runs."""
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
    return LATE_MAX + _TIMES * lateness


def judge(progress: Progress, received: Sequence[Received], lateness: Millis = 0) -> Finding:
    """
    The verdict on one errand, from what the API recorded and what the receiver got.

    `lateness` is the machine's own, in real milliseconds, measured in the same run.
    """
    errand = progress.errand
    waits = waits_of(progress.attempts, progress.speed)
    faults = [
        *_judge_attempts(progress),
        *_judge_waits(waits, errand.seller.waits, progress.speed, lateness),
        *_judge_received(errand, received),
        *_judge_times(progress, received, lateness),
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
    waits: Sequence[Millis], document: Sequence[Millis], speed: float, lateness: Millis
) -> Iterator[str]:
    for number, (wait, asked) in enumerate(zip(waits, document, strict=False), start=2):
        late = wait - asked
        if late < -EARLY_MAX * speed:
            yield f"attempt {number} came {show_duration(-late)} too early"
        elif late > late_allowed(lateness) * speed:
            yield f"attempt {number} came {show_duration(late)} too late"
        elif late > max(LATE_MAX * speed, LATE_SHARE * asked):
            yield f"attempt {number} came {show_duration(late)} late: {_too_busy(lateness)}"


def _too_busy(lateness: Millis) -> str:
    return (
        f"this machine's own timers were up to {lateness} ms late, so it is too busy to judge;"
        " run it again, or with a lower --speed"
    )


def _judge_times(
    progress: Progress, received: Sequence[Received], lateness: Millis
) -> Iterator[str]:
    """Whether the requests came as far apart, by the receiver's clock, as they are on record."""
    sent = [one for step, one in zip(SCRIPT, progress.attempts, strict=False) if step in _ARRIVES]
    pairs = itertools.pairwise(zip(sent, received, strict=False))
    for number, ((earlier, first), (later, second)) in enumerate(pairs, start=2):
        recorded = (later.started_at - earlier.started_at) / progress.speed
        off = abs((second.at - first.at) * 1000 - recorded)
        if off > 2 * late_allowed(lateness):  # either may have been on its way so long
            yield (
                f"request {number} came {show_duration(round(off * progress.speed))} apart from"
                " what is on record"
            )


def _judge_received(errand: Errand, received: Sequence[Received]) -> Iterator[str]:
    if len(received) != len(_ARRIVES):
        yield f"the receiver got {len(received)} requests and not {len(_ARRIVES)}"
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
