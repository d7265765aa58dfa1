"""The log of what was done, which a seller can read to catch up on events that never arrived."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.marketplace.decision import Event
from marketbell.model import Instant
from marketbell.store.base import Entity

KIND: Final = "log"

_DETAILS_MAX: Final = 1_000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    action: str
    """An event type, or what was done where no event tells of it."""
    item_list: tuple[int, ...]
    """The ids that it is about: of parts, of orders or of returns, as the action says."""
    user: str
    details: str
    """The event's data as JSON; empty where no event tells of it."""


_DECODE: Final = msgspec.json.Decoder(tuple[Row, ...]).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def rows_of(entity: Entity) -> tuple[Row, ...]:
    """The lines that one change left."""
    return _DECODE(entity.body)


def entry(
    application_id: int,
    number: int,
    *,
    action: str,
    items: tuple[int, ...],
    events: tuple[Event, ...],
    user: str,
    now: Instant,
) -> Entity:
    """A line for each event, or one for the action if no event tells of it."""
    rows = tuple(_row(event, user) for event in events) or (
        Row(action=action, item_list=items, user=user, details=""),
    )
    return Entity(
        application_id=application_id,
        kind=KIND,
        number=number,
        state="kept",
        over=True,
        body=_ENCODE(rows),
        created_at=now,
        updated_at=now,
    )


def _row(event: Event, user: str) -> Row:
    data = msgspec.to_builtins(event.payload)
    about = data.get("part_id") or data.get("return_id") or data.get("order_id")
    return Row(
        action=event.event_type,
        item_list=(int(about),),
        user=user,
        details=_ENCODE(data).decode()[:_DETAILS_MAX],
    )
