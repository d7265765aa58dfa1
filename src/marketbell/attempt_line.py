"""The log line of one attempt: every fact, and nothing of the receiver's secrets."""

from __future__ import annotations

import functools
import logging
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec

from marketbell.logs import timestamp
from marketbell.model import (
    NEVER,
    Application,
    Attempt,
    Claim,
    DeliveryState,
    Endpoint,
    Instant,
    Millis,
    Outcome,
    Trigger,
    Verdict,
)

_INFO: Final = logging.INFO


class Passage(Protocol):
    """How a request went, beside what is kept of it."""

    @property
    def reused(self) -> bool:
        """Whether it went over a kept connection."""

    @property
    def connect(self) -> Millis:
        """For the connection with TLS; 0 for a kept one."""

    @property
    def first_byte(self) -> Millis:
        """From the request's beginning to the first byte of the answer; 0 if none came."""

    @property
    def truncated(self) -> bool:
        """Whether the answer was longer than what is read of it."""

    @property
    def location(self) -> str | None:
        """Where a redirect pointed; it is never followed."""


Observed: TypeAlias = tuple[
    Claim, Attempt, Verdict | None, Application, Endpoint, str, int, Passage
]
"""
One attempt and what follows from it, None if it leaves the delivery as it is; whose endpoint it
was, the name of its dialect, the size of the request's body, and how the request went.
"""


class AttemptLine(msgspec.Struct, frozen=True, gc=False):
    """
    The log line of one attempt; what is shown is this and nothing else.

    The host is all that is told of the URL: receivers keep tokens in paths and query strings.
    """

    time: str
    """When the attempt began."""
    level: str
    """`info` for an accepted one and for one on a kept connection that had died, else `warning`."""
    event: str
    """Always `attempt`."""
    outcome: Outcome
    status: int
    reason: str
    event_type: str
    host: str
    address: str
    duration_ms: int
    connect_ms: int
    first_byte_ms: int
    reused: bool
    truncated: bool
    location: str | None
    """Where a redirect pointed: scheme and host, empty within the same host; None without one."""
    late_ms: int
    number: int
    claim: int
    trigger: Trigger
    state: DeliveryState | None
    """What the delivery is now; None if the attempt left it as it was."""
    due: str | None
    """When it is tried next."""
    hold: str | None
    """Until when the whole endpoint rests."""
    disabled: bool
    """Whether the endpoint is disabled because its receiver asked so."""
    sent_bytes: int
    dialect: str
    organization: str
    application: str
    endpoint: str
    message: str
    attempt: str


def line_of(  # noqa: PLR0917 - in the order of `Observed`, on the hot path
    claim: Claim,
    attempt: Attempt,
    verdict: Verdict | None,
    application: Application,
    endpoint: Endpoint,
    dialect: str,
    level: int,
    late: int,
    sent_bytes: int,
    passage: Passage,
) -> AttemptLine:
    """The line of an attempt; of the log levels it knows INFO, and takes any other for WARNING."""
    message = claim.message
    return AttemptLine(
        timestamp(attempt.started_at),
        "info" if level == _INFO else "warning",
        "attempt",
        attempt.outcome,
        attempt.status_code,
        attempt.reason,
        message.event_type,
        _host(attempt.url),
        attempt.address,
        attempt.duration,
        passage.connect,
        passage.first_byte,
        passage.reused,
        passage.truncated,
        None if passage.location is None else _origin(passage.location),
        late,
        attempt.number,
        attempt.claim_number,
        attempt.trigger,
        verdict.state if verdict is not None else None,
        _until(verdict.due_at) if verdict is not None and verdict.due_at else None,
        _until(verdict.hold_until) if verdict is not None and verdict.hold_until else None,
        verdict is not None and verdict.disable_endpoint,
        sent_bytes,
        dialect,
        application.organization,
        application.public_id,
        endpoint.public_id,
        message.public_id,
        attempt.public_id,
    )


def _until(instant: Instant) -> str | None:
    return timestamp(instant) if 0 < instant < NEVER else None


@functools.lru_cache(maxsize=16_384)
def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _origin(location: str) -> str:
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    return f"{parts.scheme or 'https'}://{parts.hostname}" if parts.hostname else ""
