"""`publish`: a message is checked and put into the outbox, on the caller's own connection."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, overload

from marketbell.errors import InvalidError, TooLargeError
from marketbell.outbox.connections import (
    AsyncConnection,
    AsyncpgConnection,
    Insertion,
    SyncConnection,
    insert,
)
from marketbell.outbox.draft import Draft, row_of

MESSAGES_MAX: Final = 10_000
"""Messages of one `publish_many`."""
BYTES_MAX: Final = 64_000_000
"""Their bytes in all."""
BODY_MAX: Final = 1_000_000
"""Bytes of one message, as the server's setting `body_max` is unless it is changed."""
DB_SCHEMA: Final = "marketbell"
"""Where Marketbell's tables stand, as the server's setting `db_schema` is unless it is changed."""

_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Outbox:
    """
    The outbox of one Marketbell, where its settings are not the usual ones.

    `db_schema` and `body_max` are the server's settings of the same names; `organization` is that
    of messages that name none. It holds no connection and may be shared by threads and tasks.
    """

    def __init__(
        self,
        *,
        db_schema: str = DB_SCHEMA,
        organization: str | None = None,
        body_max: int = BODY_MAX,
    ) -> None:
        if not _SCHEMA.fullmatch(db_schema):
            raise InvalidError(
                ("db_schema",), "A schema is 1 to 63 letters, digits and _, no digit first"
            )
        self._schema = db_schema
        self._organization = organization
        self._body_max = body_max

    @overload
    def publish(
        self,
        connection: SyncConnection,
        *,
        application: str,
        event_type: str,
        payload: object,
        organization: str | None = ...,
        event_id: str | None = ...,
        channels: Sequence[str] | None = ...,
        tags: Sequence[str] | None = ...,
        timestamp: datetime | None = ...,
        deliver_at: datetime | None = ...,
        payload_retention_hours: int | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> None: ...

    @overload
    def publish(
        self,
        connection: AsyncConnection | AsyncpgConnection,
        *,
        application: str,
        event_type: str,
        payload: object,
        organization: str | None = ...,
        event_id: str | None = ...,
        channels: Sequence[str] | None = ...,
        tags: Sequence[str] | None = ...,
        timestamp: datetime | None = ...,
        deliver_at: datetime | None = ...,
        payload_retention_hours: int | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Coroutine[Any, Any, None]: ...

    def publish(
        self,
        connection: SyncConnection | AsyncConnection | AsyncpgConnection,
        *,
        application: str,
        event_type: str,
        payload: object,
        organization: str | None = None,
        event_id: str | None = None,
        channels: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        timestamp: datetime | None = None,
        deliver_at: datetime | None = None,
        payload_retention_hours: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Coroutine[Any, Any, None] | None:
        """
        Put one message into the outbox; it is sent if and only if the transaction commits.

        The fields are those of `Draft`. Nothing comes back: the message gets its id when it is
        accepted, which is within 100 ms of the commit while a server runs. One whose application
        or schema refuses it is kept as rejected, with the reason; see `GET /api/v1/outbox/rejected`.

        Raises InvalidError naming the argument before anything is sent to the database - also for
        a connection that would commit by itself - TypeError for what is no connection, and
        whatever the driver raises.
        """
        draft = Draft(
            application=application,
            event_type=event_type,
            payload=payload,
            organization=organization,
            event_id=event_id,
            channels=channels,
            tags=tags,
            timestamp=timestamp,
            deliver_at=deliver_at,
            payload_retention_hours=payload_retention_hours,
            headers=headers,
        )
        return insert(connection, self._insertion([draft], many=False))

    @overload
    def publish_many(self, connection: SyncConnection, drafts: Sequence[Draft]) -> None: ...

    @overload
    def publish_many(
        self, connection: AsyncConnection | AsyncpgConnection, drafts: Sequence[Draft]
    ) -> Coroutine[Any, Any, None]: ...

    def publish_many(
        self,
        connection: SyncConnection | AsyncConnection | AsyncpgConnection,
        drafts: Sequence[Draft],
    ) -> Coroutine[Any, Any, None] | None:
        """
        Put up to 10,000 messages into the outbox with one statement, in this order: all or none.

        As `publish`; an InvalidError's field begins with the place of the message.
        """
        return insert(connection, self._insertion(drafts, many=True))

    def _insertion(self, drafts: Sequence[Draft], *, many: bool) -> Insertion:
        """The rows of these messages, checked."""
        if len(drafts) > MESSAGES_MAX:
            raise TooLargeError(
                ("drafts",), f"{len(drafts)} messages; at most {MESSAGES_MAX} at a time"
            )
        rows = []
        for place, draft in enumerate(drafts):
            try:
                rows.append(row_of(draft, body_max=self._body_max))
            except InvalidError as fault:
                if many:
                    fault.field = (place, *fault.field)
                raise
        if sum(len(row.body) for row in rows) > BYTES_MAX:
            raise TooLargeError(("drafts",), f"More than {BYTES_MAX} bytes at a time")
        return Insertion(
            schema=self._schema,
            organizations=[row.organization or self._organization for row in rows],
            applications=[row.application for row in rows],
            bodies=[row.body for row in rows],
        )


_USUAL: Final = Outbox()

publish = _USUAL.publish
publish_many = _USUAL.publish_many
