"""What PostgreSQL's errors mean: who may try again, who is to blame, and what a caller is told."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from marketbell.errors import StoreError, UnavailableError

LOST: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection says that was ended by the server's last words
    asyncpg.PostgresConnectionError,
    OSError,
    TimeoutError,
)
"""The connection is gone, or does not answer."""

AGAIN: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.ForeignKeyViolationError,
)
"""
Another transaction was in the way; the same one will do when it is run again. Where two make the
same thing at once, the second finds what the first made, or that it has deleted it.
"""

ONCE: Final = (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError)
"""Those among them that are the transaction's own fault when they come twice."""

DATA_FAULTS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    TypeError,
    ValueError,
    OverflowError,
)
"""A row was refused: one of the works is to blame."""


def refused(error: asyncpg.PostgresError) -> bool:
    """
    Whether the server says with this that a commit was not kept.

    With its last words before it ends a connection it does not, nor does a pooler in between.
    """
    fields: Any = error
    plain: bool = (fields.severity_en or fields.severity or "ERROR") == "ERROR"
    return plain and not isinstance(
        error, (asyncpg.PostgresConnectionError, asyncpg.PostgresSystemError)
    )


_MEANINGS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (asyncpg.DiskFullError, "The database's disk is full; nothing was kept."),
    (asyncpg.TooManyConnectionsError, "The database has no connection left; nothing was kept."),
    (asyncpg.CannotConnectNowError, "The database is starting or stopping; nothing was kept."),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "The database is read-only, perhaps a replica; nothing was kept.",
    ),
    (asyncpg.QueryCanceledError, "The database took too long; nothing was kept."),
    (asyncpg.LockNotAvailableError, "The database took too long; nothing was kept."),
)


def store_error(error: BaseException) -> StoreError:
    """What a database error means to a caller."""
    for kind, meaning in _MEANINGS:
        if isinstance(error, kind):
            return UnavailableError(meaning)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return UnavailableError("The database does not let us in.", said(error))
    if isinstance(error, LOST):
        return UnavailableError("The database cannot be reached.", said(error))
    if isinstance(error, asyncpg.UndefinedTableError):
        return UnavailableError(
            "The database has not this schema's tables, or its role may not use them.", said(error)
        )
    return UnavailableError("The database failed.", said(error))


def said(error: BaseException) -> str:
    """An error's own words as a sentence, or its kind if it has none."""
    words = str(error).partition("\n")[0] or type(error).__name__
    return f"{words.rstrip('.')}."
