"""
The life of an Ovoko order: created, completed or cancelled, and what that does to its parts.

The document names the two events. The status words are those seen in the wild (NEW, COMPLETED)
with CANCELLED as our choice; so is that a cancelled order puts its parts back into the warehouse.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from marketbell.dialects.ovoko import OrderCancelled, OrderCreated
from marketbell.dialects.ovoko import PartStatus as P
from marketbell.errors import MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, moves
from marketbell.marketplace.ovoko import parts
from marketbell.store.base import Entity

KIND: Final = "order"


class OrderStatus(enum.StrEnum):
    """Where an order stands."""

    NEW = "NEW"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


ORDERS: Final = Machine(
    "order",
    states=tuple(OrderStatus),
    initial=(OrderStatus.NEW,),
    final=(OrderStatus.COMPLETED, OrderStatus.CANCELLED),
    moves=(
        *moves("complete", (OrderStatus.NEW,), OrderStatus.COMPLETED, Actor.COURIER, Actor.SYSTEM),
        *moves(
            "cancel",
            (OrderStatus.NEW,),
            OrderStatus.CANCELLED,
            Actor.BUYER,
            Actor.SELLER,
            Actor.SYSTEM,
        ),
    ),
)


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """Who bought, as the seller is told."""

    name: str = "Jonas Petraitis"
    email: str = "jonas@buyers.example"
    phone: str = "+37060000000"
    address: str = "Gedimino pr. 1"
    city: str = "Vilnius"
    post_code: str = "01103"
    country: str = "LT"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an order as it was sold."""

    id: int
    part_id: int
    name: str
    price: Decimal
    currency: str
    car_id: int
    external_id: str | None = None
    id_bridge: str | None = None


class PostData(msgspec.Struct, frozen=True, kw_only=True):
    """What the seller says of the parcel; a later record takes the place of an earlier one."""

    weight: int
    """Grams."""
    height: int
    """Centimetres, as the two after it."""
    length: int
    width: int
    packing_type: int
    """1 box, 2 pallet, 3 envelope."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What Ovoko knows of an order beside its id and status."""

    buyer: Buyer
    lines: tuple[Line, ...]
    shipping_price: Decimal = Decimal(0)
    payment_method: str = "card"
    post_data: PostData | None = None

    @property
    def part_ids(self) -> tuple[int, ...]:
        """Its parts in order."""
        return tuple(line.part_id for line in self.lines)


Changes = tuple[tuple[Entity, ...], tuple[Event, ...]]
"""Entities as they are to be kept, and the events that tell of it, in their order."""

_DECODE: Final = msgspec.json.Decoder(Order).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def order_of(entity: Entity) -> Order:
    """What is known of a kept order."""
    return _DECODE(entity.body)


def with_order(entity: Entity, order: Order) -> Entity:
    """The same order, known otherwise."""
    return msgspec.structs.replace(entity, body=_ENCODE(order))


def with_post_data(entity: Entity, data: PostData) -> Entity:
    """The same order with what its parcel is."""
    return with_order(entity, msgspec.structs.replace(order_of(entity), post_data=data))


def placed(entity: Entity, buyer: Buyer, bought: Sequence[Entity], lines: range) -> Changes:
    """
    A new order for these parts, in this order of events: the order's own, then each part's.

    `entity` is the order without a body, `lines` has a number for each part. MoveRefusedError if
    one of the parts is not for sale.
    """
    for part in bought:
        if not parts.for_sale(part):
            raise MoveRefusedError(
                f"The part {part.number} is not for sale: it is {part.state}"
                + (" and has no price." if part.state == P.IN_WAREHOUSE else ".")
            )
    kept = with_order(
        entity,
        Order(
            buyer=buyer,
            lines=tuple(_line(part, line) for part, line in zip(bought, lines, strict=True)),
        ),
    )
    changed, told = _each(bought, "sell", Actor.BUYER, order_id=entity.number)
    return (kept, *changed), (_created(kept), *told)


def cancelled(entity: Entity, sold: Mapping[int, Entity], actor: Actor) -> Changes:
    """
    The order cancelled and its parts for sale again; nothing if it was cancelled before.

    Its own event comes first. `sold` are its parts by number; one that is sold no longer, or with
    another order, stays as it is. MoveRefusedError.
    """
    status = ORDERS.next(OrderStatus(entity.state), "cancel", actor)
    if status == entity.state:
        return (), ()
    kept = msgspec.structs.replace(entity, state=status.value, over=True)
    own = [
        part
        for number in order_of(entity).part_ids
        if (part := sold.get(number)) is not None
        and part.state == P.SOLD
        and parts.part_of(part).order_id == entity.number
    ]
    changed, told = _each(own, "cancel_sale", Actor.SYSTEM, order_id=0)
    return (kept, *changed), (_cancelled(kept), *told)


def completed(entity: Entity, actor: Actor) -> Changes:
    """The order in the buyer's hands. No event: the document has none for it. MoveRefusedError."""
    status = ORDERS.next(OrderStatus(entity.state), "complete", actor)
    if status == entity.state:
        return (), ()
    return (msgspec.structs.replace(entity, state=status.value, over=True),), ()


def _each(
    entities: Sequence[Entity], move: str, actor: Actor, *, order_id: int
) -> tuple[list[Entity], list[Event]]:
    changed: list[Entity] = []
    told: list[Event] = []
    for entity in entities:
        part = msgspec.structs.replace(parts.part_of(entity), order_id=order_id)
        kept, events = parts.moved(parts.with_part(entity, part), move, actor)
        changed.append(kept)
        told.extend(events)
    return changed, told


def _line(entity: Entity, number: int) -> Line:
    part = parts.part_of(entity)
    return Line(
        id=number,
        part_id=entity.number,
        name=part.manufacturer_code or f"Part {entity.number}",
        price=part.price or Decimal(0),
        currency=part.original_currency,
        car_id=part.car_id,
        external_id=part.external_id,
        id_bridge=part.id_bridge,
    )


def _created(entity: Entity) -> Event:
    return Event(event_type="order.created", payload=OrderCreated(order_id=str(entity.number)))


def _cancelled(entity: Entity) -> Event:
    return Event(event_type="order.cancelled", payload=OrderCancelled(order_id=str(entity.number)))
