"""What a dialect is: how one marketplace talks. Pure: no HTTP, no store, no clock."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, Protocol, cast

import msgspec

from marketbell.dialects.catalogue import Catalogue
from marketbell.model import Endpoint, Instant, Message, Millis

DEFAULT_DIALECT: Final = "standard"
"""What an endpoint speaks if neither it nor its application says."""


class Signal(enum.StrEnum):
    """What a receiver can say besides yes and no; a dialect honours it or goes by its clock."""

    GONE = "gone"
    """410 disables the endpoint."""
    RETRY_AFTER = "retry_after"
    """429, 502, 503, 504 and `Retry-After` let the endpoint rest."""
    AUTO_DISABLE = "auto_disable"
    """Days of failure disable the endpoint."""
    BREAKER = "breaker"
    """An open breaker may delay an attempt."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed delivery is tried again."""

    waits: tuple[Millis, ...]
    """One wait per resend, each counted from the end of the failed attempt."""
    repeat_last: bool = False
    """Whether the last wait is repeated until the horizon."""
    horizon: Millis | None = None
    """No attempt falls due later than this after the delivery's birth."""
    jitter: float = 0.0
    """Each wait is spread evenly over wait * (1 ± jitter); 0 for exact."""


class AttemptStart(msgspec.Struct, frozen=True, gc=False):
    """What only the moment of sending knows."""

    at: Instant
    number: int
    """Counted from 1."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One rendered request; the sender adds Host, Content-Length and Connection."""

    headers: tuple[tuple[str, str], ...]
    """In the order of the wire, names as they are written; values latin-1 without CR, LF or NUL."""
    body: bytes


class Dialect(Protocol):
    """
    How one marketplace talks. A new one is one file.

    A third party ships one as an entry point in the group `marketbell.dialects`: the name
    of the entry point is the dialect's, its object an instance or a callable that makes one.
    """

    name: str
    catalogue: Catalogue
    """Event types with schema and examples; in force without being loaded."""
    schedule: Schedule
    honours: frozenset[Signal]
    https_only: bool
    """Whether an endpoint outside of the allowed networks must be https."""

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """
        The request of one attempt, to the byte.

        A pure function of its arguments: a resend of the same message differs only in
        what the dialect puts in from `start`.
        """

    def accepted(self, status: int) -> bool:
        """Whether this HTTP status means that the receiver has the message."""


class Form(msgspec.Struct, frozen=True):
    """The requests to one endpoint as far as they are alike: the payload as it is, under these headers."""

    headers: tuple[tuple[str, str | None], ...]
    """As in Request; None where every attempt has a value of its own."""
    fill: Callable[[Message, Instant], tuple[str, ...]]
    """Those values, in their order, for an attempt at that instant; pure as `render` is."""


class Formed(Protocol):
    """
    What a dialect may offer besides, so that most of its requests are not rendered from nothing.

    Of every message that has no headers of its own the request must be what `render` makes, to
    the byte; only dialects that send payloads as they are can promise that.
    """

    def request_form(self, endpoint: Endpoint) -> Form:
        """What requests to this revision of the endpoint have in common; asked for once it has had some."""


def form_of(dialect: Dialect, endpoint: Endpoint) -> Form | None:
    """
    The form that a dialect's own class offers.

    None where it inherits one: a class that builds on another may well render otherwise.
    """
    if "request_form" not in vars(type(dialect)):
        return None
    return cast("Formed", dialect).request_form(endpoint)
