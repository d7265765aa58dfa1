"""How every error is answered: one table from our exceptions to statuses, codes and bodies."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from marketbell.api.answers import Answer
from marketbell.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    GoneError,
    HeadTooLargeError,
    InvalidError,
    LimitReachedError,
    MalformedError,
    MarketbellError,
    MoveRefusedError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    RateLimitedError,
    ReceiverError,
    SettingsError,
    SignatureError,
    StoreError,
    TooLargeError,
    TooSlowError,
    UnavailableError,
)

COME_AGAIN: Final = ((b"retry-after", b"1"),)
"""What a 503 asks for, as headers."""

STATUSES: Final[tuple[tuple[type[MarketbellError], int], ...]] = (
    (TooLargeError, 413),
    (HeadTooLargeError, 431),
    (MalformedError, 400),
    (TooSlowError, 408),
    (InvalidError, 422),
    (AuthenticationError, 401),
    (RateLimitedError, 429),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (MoveRefusedError, 409),
    (LimitReachedError, 400),
    (GoneError, 400),
    (OverloadedError, 503),
    (UnavailableError, 503),
    (OutcomeUnknownError, 503),
    (StoreError, 500),
    (SettingsError, 500),
    (SignatureError, 500),
    (ReceiverError, 500),
    (MarketbellError, 500),
)
"""The first class that fits decides."""

SERVER_ERROR: Final = "server_error"
METHOD_NOT_ALLOWED: Final = "method_not_allowed"

_VALIDATION: Final = 422


class Problem(msgspec.Struct, frozen=True):
    """The body of most errors."""

    code: str
    detail: str


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one field."""

    loc: tuple[str, ...]
    msg: str
    type: str


class Faults(msgspec.Struct, frozen=True):
    """The body of a 422: a list, as the SDKs read it."""

    detail: tuple[Fault, ...]


def status_of(error: MarketbellError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def body_of(error: MarketbellError) -> Problem | Faults:
    """
    What is said of an error, to be encoded as JSON.

    What is this server's own doing is not told in detail.
    """
    status = status_of(error)
    if isinstance(error, InvalidError) and status == _VALIDATION:
        loc = tuple(str(part) for part in error.field)
        return Faults((Fault(loc, error.detail, error.kind),))
    if status == 500:
        return Problem(SERVER_ERROR, "The server made an error; its log has the request id.")
    return Problem(error.code, error.detail)


def problem(error: MarketbellError) -> Answer:
    """The whole answer to an error."""
    status = status_of(error)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if status == 503:
        headers = COME_AGAIN
    elif isinstance(error, RateLimitedError):
        headers = ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))),)
    elif status == 401:
        headers = ((b"www-authenticate", b"Bearer"),)
    elif status in {408, 413, 431} or isinstance(error, MalformedError):
        headers = ((b"connection", b"close"),)
    return Answer(status, msgspec.json.encode(body_of(error)), headers)


def not_allowed(methods: tuple[str, ...]) -> Answer:
    """The answer to a method that a path does not have."""
    allowed = ", ".join(methods)
    detail = Problem(METHOD_NOT_ALLOWED, f"This path takes {allowed}.")
    return Answer(405, msgspec.json.encode(detail), ((b"allow", allowed.encode()),))


def server_error() -> Answer:
    """The answer to an error of our own."""
    return problem(MarketbellError("unexpected"))
