"""
The life of an Ovoko part: eight statuses, who may change them, and the event that tells of it.

Source: the events page of Ovoko's API (api.rrr.lt/docs). What it leaves open is marked as our
choice here and in docs/marketplaces/ovoko.md.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from marketbell.dialects.ovoko import PartStatus, PartStatusChanged
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, moves
from marketbell.store.base import Entity

KIND: Final = "part"

S, B, C, I, Y = Actor.SELLER, Actor.BUYER, Actor.COURIER, Actor.INTEGRATION, Actor.SYSTEM  # noqa: E741
P = PartStatus

PARTS: Final = Machine(
    "part",
    states=tuple(PartStatus),
    initial=(P.IN_WAREHOUSE, P.RESERVED, P.SOLD),
    # The document lets nothing leave these; sales elsewhere come back outside of Ovoko.
    final=(P.WRITTEN_OFF, P.SOLD_IN_EBAY, P.SOLD_IN_ALLEGRO),
    moves=(
        *moves("reserve", (P.IN_WAREHOUSE,), P.RESERVED, S, Y),
        *moves("release", (P.RESERVED,), P.IN_WAREHOUSE, S, Y),
        *moves("sell", (P.IN_WAREHOUSE, P.RESERVED, P.UNKNOWN_STOCK_STATUS), P.SOLD, S, B),
        *moves("sell_in_ebay", (P.IN_WAREHOUSE, P.RESERVED), P.SOLD_IN_EBAY, I),
        *moves(
            "sell_in_allegro",
            (P.IN_WAREHOUSE, P.RESERVED, P.UNKNOWN_STOCK_STATUS),
            P.SOLD_IN_ALLEGRO,
            I,
        ),
        *moves("lose_track", (P.IN_WAREHOUSE,), P.UNKNOWN_STOCK_STATUS, I, Y),
        *moves("find", (P.UNKNOWN_STOCK_STATUS,), P.IN_WAREHOUSE, S, I, Y),
        *moves("cancel_sale", (P.SOLD,), P.IN_WAREHOUSE, Y),
        *moves("bring_back", (P.SOLD,), P.RETURNED, C),
        *moves("accept", (P.RETURNED,), P.IN_WAREHOUSE, S),
        *moves(
            "write_off",
            (P.IN_WAREHOUSE, P.RESERVED, P.RETURNED, P.UNKNOWN_STOCK_STATUS),
            P.WRITTEN_OFF,
            S,
        ),
    ),
)

NUMBERS: Final = {
    0: (P.IN_WAREHOUSE, "In stock"),
    1: (P.RESERVED, "Reserved"),
    2: (P.SOLD, "Sold out"),
    3: (P.RETURNED, "Returned"),
    4: (P.WRITTEN_OFF, "Written off"),
}
"""What the API calls by number, with its label; the webhook's other words have none."""

NUMBER_OF: Final[dict[str, int | None]] = {
    **{status: number for number, (status, _label) in NUMBERS.items()},
    P.SOLD_IN_EBAY: 2,
    P.SOLD_IN_ALLEGRO: 2,
    P.UNKNOWN_STOCK_STATUS: None,
}
"""How the API shows each word. Our choice for the last three: sold is sold, unknown is null."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What Ovoko knows of a part beside its id and status."""

    category_id: int
    car_id: int
    quality: int
    external_id: str | None = None
    """The seller's own id; null in events if there is none, never empty."""
    id_bridge: str | None = None
    """Deprecated; given with the import, never changed later."""
    price: Decimal | None = None
    original_currency: str = "EUR"
    sell_price: Decimal | None = None
    sell_date: str = ""
    position: str = ""
    notes: str = ""
    place: str = ""
    manufacturer_code: str = ""
    visible_code: str = ""
    other_code: str = ""
    optional_codes: tuple[str, ...] = ()
    photo: str = ""
    photos: tuple[str, ...] = ()
    order_id: int = 0
    """The order that it was sold with; 0 if it was not sold on Ovoko."""
    return_id: int = 0
    """The return that brought it back, until the seller has decided; else 0."""


_STATUSES: Final[dict[str, PartStatus]] = {status.value: status for status in PartStatus}
_DECODE: Final = msgspec.json.Decoder(Part).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def part_of(entity: Entity) -> Part:
    """What is known of a kept part."""
    return _DECODE(entity.body)


def with_part(entity: Entity, part: Part) -> Entity:
    """The same part, known otherwise; found by its external id."""
    return msgspec.structs.replace(entity, key=part.external_id or "", body=_ENCODE(part))


def status_of(entity: Entity) -> PartStatus:
    """Where a kept part stands."""
    return _STATUSES[entity.state]


def for_sale(entity: Entity) -> bool:
    """Whether a buyer can have it: in the warehouse, and with a price."""
    price = part_of(entity).price
    return entity.state == P.IN_WAREHOUSE and price is not None and price > 0


def moved(entity: Entity, move: str, actor: Actor) -> tuple[Entity, tuple[Event, ...]]:
    """The part after a move, and the event if its status has changed. MoveRefusedError."""
    return _changed(entity, PARTS.next(status_of(entity), move, actor))


def turned(entity: Entity, target: PartStatus, actor: Actor) -> tuple[Entity, tuple[Event, ...]]:
    """The same by status: the part as `target`, and the event if that is another. MoveRefusedError."""
    return _changed(entity, PARTS.to(status_of(entity), target, actor))


def _changed(entity: Entity, target: PartStatus) -> tuple[Entity, tuple[Event, ...]]:
    if target == entity.state:
        return entity, ()
    changed = msgspec.structs.replace(entity, state=target.value)
    return changed, (status_changed(changed),)


def status_changed(entity: Entity) -> Event:
    """`part.status.changed` of a part as it is now."""
    part = part_of(entity)
    return Event(
        event_type="part.status.changed",
        payload=PartStatusChanged(
            part_id=str(entity.number),
            status=status_of(entity),
            id_bridge=part.id_bridge,
            external_id=part.external_id,
        ),
    )
