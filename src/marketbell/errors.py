"""
Every exception that Marketbell raises.

    MarketbellError
    ├── SettingsError            start-up refused: every fault of the settings in one report
    ├── InvalidError             what the user sent breaks a rule; names the field and the mend (422)
    │   ├── TooLargeError        more bytes than the limit (413)
    │   ├── HeadTooLargeError    more bytes of headers than the limit (431)
    │   ├── MalformedError       what came is not HTTP (400)
    │   └── TooSlowError         the request did not come whole in time (408)
    ├── AuthenticationError      no token, or not a good one (401)
    ├── SignatureError           a webhook that nobody we know signed, or too long ago
    ├── RateLimitedError         too many requests, or too many failed logins (429)
    ├── ForbiddenError           a good token that may not do this (403)
    ├── NotFoundError            no such thing, or not yours (404)
    ├── ConflictError            it exists already, or was used for something else (409)
    │   ├── ReusedKeyError       the idempotency key came before with another body
    │   ├── StaleError           the application changed under a publish: match again (never leaves)
    │   └── TakenError           another node has this row of the outbox (never leaves)
    ├── LimitReachedError        a count is full: endpoints, secrets (400)
    ├── MoveRefusedError         a marketplace's thing cannot make this move, or not for this actor (409)
    ├── GoneError                what it needs has been removed by retention (400)
    ├── StoreError               the store could not do it; nothing was changed
    │   ├── OverloadedError      too much waits already; try again later (503)
    │   ├── UnavailableError     away, full, read-only or too slow (503)
    │   ├── OutcomeUnknownError  the commit's answer was lost: done or not done (503)
    │   ├── LockedError          another process has the database file
    │   └── SchemaError          the schema is newer than this program, or not ours
    └── ReceiverError            how an exchange failed; becomes an attempt's reason, never escapes

A receiver's misbehaviour never raises out of the sender: it is an attempt with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence


class MarketbellError(Exception):
    """Base of all; `code` is the stable word that the API and the CLI show."""

    code = "error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class SettingsError(MarketbellError):
    """The settings have faults; all of them are in `faults`, one sentence each."""

    code = "settings"

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class InvalidError(MarketbellError):
    """A value that the user sent breaks a rule; `field` is its path, such as ("body", "url")."""

    code = "validation"

    def __init__(
        self, field: Sequence[str | int], detail: str, *, kind: str = "value_error"
    ) -> None:
        super().__init__(detail)
        self.field = tuple(field)
        self.kind = kind


class TooLargeError(InvalidError):
    """More bytes than the limit allows."""

    code = "payload_too_large"


class HeadTooLargeError(InvalidError):
    """More bytes of request line and headers than the limit allows."""

    code = "head_too_large"


class MalformedError(InvalidError):
    """What came cannot be read as HTTP/1.1."""

    code = "malformed_request"


class TooSlowError(InvalidError):
    """The request did not come whole within the time limit."""

    code = "request_timeout"


class AuthenticationError(MarketbellError):
    """No token, or one that is malformed, expired, revoked or wrongly signed."""

    code = "authentication_failed"


class SignatureError(MarketbellError):
    """A webhook's signature is missing, malformed, too old, or of no key that we know."""

    code = "signature"


class RateLimitedError(MarketbellError):
    """Too many requests of one token, or too many failed logins; may come again after `retry_after_s`."""

    code = "rate_limited"

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class ForbiddenError(MarketbellError):
    """The token is good but may not do this."""

    code = "insufficient_access"


class NotFoundError(MarketbellError):
    """There is no such thing, or it is another tenant's."""

    code = "not_found"


def no_such(
    what: str, ref: str, check: str = "id or uid, and the token's organization"
) -> NotFoundError:
    """
    The error for what is not there under this name, of which 64 characters are shown.

    `check` says what of it may be wrong. It is the same for what is another tenant's.
    """
    return NotFoundError(f"There is no {what} {ref[:64]!r}; check its {check}.")


class ConflictError(MarketbellError):
    """The uid, eventId or idempotency key is taken."""

    code = "conflict"


class ReusedKeyError(ConflictError):
    """The idempotency key came before with another body."""


class StaleError(ConflictError):
    """What this was decided by has changed since it was read: read it again and decide anew."""

    code = "stale"


class TakenError(ConflictError):
    """Another node publishes this row of the outbox, or has published it."""

    code = "taken"


class LimitReachedError(MarketbellError):
    """A bounded number of things is used up."""

    code = "limit_reached"


class MoveRefusedError(MarketbellError):
    """A life cycle has no such move from this state, or not for this actor; `detail` says why."""

    code = "move_refused"


class GoneError(MarketbellError):
    """What the request needs has been removed by retention."""

    code = "missing_payload"


class StoreError(MarketbellError):
    """
    The store could not do it; nothing was changed unless the subclass says so.

    `detail` may be told to whoever asked; `cause`, which only `str()` has beside it, are the
    database's own words: they name addresses, roles, tables and values, and are for the operator.
    """

    code = "store"

    def __init__(self, detail: str, cause: str = "") -> None:
        super().__init__(detail)
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.detail.rstrip('.')}: {self.cause}" if self.cause else self.detail


class OverloadedError(StoreError):
    """The bound on what may wait for the store is reached; nothing was kept."""

    code = "overloaded"


class UnavailableError(StoreError):
    """The database is away, full, read-only or slower than the bound; nothing was kept."""

    code = "unavailable"


class OutcomeUnknownError(StoreError):
    """The commit was sent and its answer was lost: it may have been kept."""

    code = "outcome_unknown"


class LockedError(StoreError):
    """Another process has this database file open for writing."""

    code = "locked"


class SchemaError(StoreError):
    """The database's schema is newer than this program, or not a Marketbell schema."""

    code = "schema"


class ReceiverError(MarketbellError):
    """How an exchange with a receiver failed; `reason` is the clause kept in the attempt."""

    code = "receiver"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
