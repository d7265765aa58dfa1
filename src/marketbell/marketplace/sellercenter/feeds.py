"""The life cycle of a feed: what a seller posted, worked off later, record by record. Pure."""

from __future__ import annotations

import base64
import enum
from collections.abc import Iterable
from typing import Final

import msgspec

from marketbell.dialects.sellercenter import Feed as FeedPayload
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, moves
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.model import Instant, Millis
from marketbell.store.marketplace_plane import Entity

KIND: Final = "feed"

LISTED: Final[Millis] = 30 * 86_400_000
"""How far back lists and counts go, and how long a feed is kept that has ended."""

RECORDS_MAX: Final = 1_000
"""The most records of one feed."""


class FeedStatus(enum.StrEnum):
    """Where a feed stands, in the document's words."""

    QUEUED = "Queued"
    PROCESSING = "Processing"
    FINISHED = "Finished"
    """All of it was looked at; single records may have failed."""
    CANCELED = "Canceled"
    ERROR = "Error"
    """It could not be worked off as a whole."""


FEED: Final = Machine(
    "feed",
    states=tuple(FeedStatus),
    initial=[FeedStatus.QUEUED],
    final=[FeedStatus.FINISHED, FeedStatus.CANCELED, FeedStatus.ERROR],
    moves=[
        *moves("start", [FeedStatus.QUEUED], FeedStatus.PROCESSING, Actor.SYSTEM),
        *moves("cancel", [FeedStatus.QUEUED], FeedStatus.CANCELED, Actor.SELLER),
        *moves("finish", [FeedStatus.PROCESSING], FeedStatus.FINISHED, Actor.SYSTEM),
        *moves("fail", [FeedStatus.PROCESSING], FeedStatus.ERROR, Actor.SYSTEM),
    ],
)
"""Queued, Processing, then Finished or Error; a seller may cancel what is queued."""

ANNOUNCED: Final = frozenset({"ProductCreate", "ProductUpdate", "ProductRemove", "Image"})
"""The actions whose feeds fire events; stock and price feeds fire none."""


class Record(msgspec.Struct, frozen=True):
    """One thing that a feed asks for."""

    sku: str
    fields: tuple[Element, ...] = ()
    """As posted, without SellerSku."""


class RecordError(msgspec.Struct, frozen=True):
    """Why a record failed."""

    code: int
    message: str
    sku: str


class RecordWarning(msgspec.Struct, frozen=True):
    """What is to be known of a record that did not fail, or was left out."""

    message: str
    sku: str


class FeedBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a feed beside its status and times."""

    action: str
    source: str = "api"
    records: tuple[Record, ...] = ()
    """What is to be done; empty once it has been."""
    total: int
    processed: int = 0
    failed: int = 0
    errors: tuple[RecordError, ...] = ()
    warnings: tuple[RecordWarning, ...] = ()


def body_of(feed: Entity) -> FeedBody:
    """What a feed's row holds."""
    return msgspec.json.decode(feed.body, type=FeedBody)


def queued(
    application_id: int,
    number: int,
    *,
    uuid: str,
    action: str,
    records: Iterable[Record],
    now: Instant,
) -> tuple[Entity, tuple[Event, ...]]:
    """A new feed, and what is told of it."""
    asked = tuple(records)
    body = FeedBody(action=action, records=asked, total=len(asked))
    feed = Entity(
        application_id=application_id,
        kind=KIND,
        number=number,
        key=uuid,
        sole=True,
        state=FeedStatus.QUEUED,
        body=msgspec.json.encode(body),
        created_at=now,
        updated_at=now,
    )
    return feed, _told("onFeedCreated", feed, body)


def moved(
    feed: Entity, move: str, actor: Actor, body: FeedBody | None = None
) -> tuple[Entity | None, tuple[Event, ...]]:
    """
    The feed after a move, and what is told of it; None if it has been made before.

    Only a feed that finishes is told of: one that is canceled or ends in an error is silent.
    Raises MoveRefusedError.
    """
    status = FEED.next(FeedStatus(feed.state), move, actor)
    if status == feed.state:
        return None, ()
    kept = body_of(feed) if body is None else body
    after = msgspec.structs.replace(
        feed, state=status, over=status in FEED.final, body=msgspec.json.encode(kept)
    )
    if status is FeedStatus.FINISHED:
        return after, _told("onFeedCompleted", feed, kept)
    return after, ()


def report(body: FeedBody) -> str:
    """The failure report: a CSV of errors and warnings in base64, "" if there are none."""
    if not body.errors and not body.warnings:
        return ""
    rows = [("Error", "Warning", "SellerSku")]
    rows += [(error.message, "", error.sku) for error in body.errors]
    rows += [("", warning.message, warning.sku) for warning in body.warnings]
    lines = (";".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    return base64.b64encode("\n".join(lines).encode()).decode()


def _told(event_type: str, feed: Entity, body: FeedBody) -> tuple[Event, ...]:
    if body.action not in ANNOUNCED:
        return ()
    return (Event(event_type=event_type, payload=FeedPayload(feed=feed.key)),)
