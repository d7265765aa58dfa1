"""What a store promises of operational messages: what happened is noted with it, and told later."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from marketbell.model import Instant

HIDDEN: Final = "operational:"
"""What an organization's name is preceded by to name the owner of its hidden application; no token can name it."""
HIDDEN_UID: Final = "operational"
"""The uid of the hidden application, whose endpoints are the operator's own."""

ANNOUNCED_AFTER: Final = 4
"""The failure of a delivery that the operator is told of."""


class NoticeKind(enum.StrEnum):
    """What operators are told of; the words are the event types."""

    CREATED = "endpoint.created"
    UPDATED = "endpoint.updated"
    DELETED = "endpoint.deleted"
    ENABLED = "endpoint.enabled"
    DISABLED = "endpoint.disabled"
    FAILING = "message.attempt.failing"
    EXHAUSTED = "message.attempt.exhausted"
    RECOVERED = "message.attempt.recovered"


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that has happened to an endpoint, or to a delivery to it."""

    kind: NoticeKind
    application: str
    """Public ids; uids where there are any."""
    application_uid: str | None = None
    endpoint: str
    endpoint_uid: str | None = None
    failing_since: Instant | None = None
    """Of a disabled endpoint."""
    by_server: bool = False
    """Whether the server disabled it by itself."""
    message: str = ""
    event_id: str | None = None
    attempt: str = ""
    """The attempt that told, of a delivery."""
    status_code: int = 0
    attempted_at: Instant = 0


class WaitingNotice(msgspec.Struct, frozen=True):
    """A notice that is yet to be published."""

    id: int
    public_id: str
    """Names it for good: the eventId of its message."""
    organization: str
    notice: Notice


class Notices(Protocol):
    """
    Notices of every organization that has a live and enabled operational endpoint.

    A notice is kept in the transaction of what it tells of: a change of an endpoint, its
    disabling, or the recording of an attempt. Other organizations have none written, and
    nothing is told of operational endpoints themselves. The first failures of a delivery and
    its success at first try cost nothing.
    """

    async def notices(self, limit: int, *, but: Sequence[str] = ()) -> tuple[WaitingNotice, ...]:
        """Those that wait, oldest first, without those for the organizations `but`."""

    async def drop_notices(self, notices: Sequence[WaitingNotice]) -> None:
        """Forget notices that were published."""

    async def prune_announced(self, *, limit: int) -> int:
        """Forget up to `limit` announcements of messages that are no longer kept; how many."""
