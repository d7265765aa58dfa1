"""
The life of an Ovoko return: opened, joined by more parts, handed in, and settled part by part.

The document has the two events and that opening one changes no part. Of the status words only
`New` is public; the others are our choice.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from marketbell.dialects.ovoko import OrderReturnCreated, OrderReturnUpdated
from marketbell.dialects.ovoko import PartStatus as P
from marketbell.errors import MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, moves
from marketbell.marketplace.ovoko import parts
from marketbell.marketplace.ovoko.orders import Changes, Line, OrderStatus, order_of
from marketbell.store.base import Entity

KIND: Final = "return"


class ReturnStatus(enum.StrEnum):
    """Where a return stands."""

    NEW = "New"
    RECEIVED = "Received"
    ACCEPTED = "Accepted"
    CANCELLED = "Cancelled"


RETURNS: Final = Machine(
    "return",
    states=tuple(ReturnStatus),
    initial=(ReturnStatus.NEW,),
    final=(ReturnStatus.ACCEPTED, ReturnStatus.CANCELLED),
    moves=(
        *moves("join", (ReturnStatus.NEW,), ReturnStatus.NEW, Actor.BUYER),
        *moves("hand_in", (ReturnStatus.NEW,), ReturnStatus.RECEIVED, Actor.COURIER),
        *moves("cancel", (ReturnStatus.NEW,), ReturnStatus.CANCELLED, Actor.BUYER, Actor.SYSTEM),
        *moves("settle", (ReturnStatus.RECEIVED,), ReturnStatus.ACCEPTED, Actor.SELLER),
    ),
)


class ReturnLine(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a return."""

    id: int
    part_id: int
    name: str
    reason: str
    price: Decimal
    currency: str
    settled: bool = False
    """Whether the seller has taken it back or written it off."""


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """What Ovoko knows of a return beside its id, order and status."""

    lines: tuple[ReturnLine, ...]

    @property
    def part_ids(self) -> tuple[int, ...]:
        """Its parts in order."""
        return tuple(line.part_id for line in self.lines)


_DECODE: Final = msgspec.json.Decoder(Return).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def return_of(entity: Entity) -> Return:
    """What is known of a kept return."""
    return _DECODE(entity.body)


def opened(
    entity: Entity,
    order: Entity,
    before: Sequence[Entity],
    part_ids: Collection[int],
    *,
    reason: str,
    numbers: range,
) -> Changes:
    """
    The buyer's wish to give parts back: a new return, or more parts in the one that is open.

    No part changes. `entity` is a new return without a body, `before` are those of the order so
    far, `numbers` has one for each part. A part that is in a return already is no second wish:
    nothing happens if all are. MoveRefusedError for parts of another order, and before it is
    completed.
    """
    if order.state != OrderStatus.COMPLETED:
        raise MoveRefusedError(
            f"Parts of the order {order.number} cannot be returned: it is {order.state}, "
            "not COMPLETED."
        )
    lines = {line.part_id: line for line in order_of(order).lines}
    foreign = [number for number in part_ids if number not in lines]
    if foreign:
        raise MoveRefusedError(f"The part {foreign[0]} is not of the order {order.number}.")
    taken = {
        number
        for other in before
        if other.state != ReturnStatus.CANCELLED
        for number in return_of(other).part_ids
    }
    wanted = [number for number in dict.fromkeys(part_ids) if number not in taken]
    if not wanted:
        return (), ()
    added = tuple(
        _line(lines[part_id], number, reason)
        for part_id, number in zip(wanted, numbers, strict=False)
    )
    for other in before:
        if other.state == ReturnStatus.NEW:
            RETURNS.next(ReturnStatus.NEW, "join", Actor.BUYER)
            joined = _with(other, Return(lines=return_of(other).lines + added))
            return (joined,), (_updated(joined),)
    kept = _with(entity, Return(lines=added))
    return (kept,), (_created(kept),)


def handed_in(entity: Entity, sold: Sequence[Entity]) -> Changes:
    """
    The goods are with the seller: the return's own event, then one for each part, now `returned`.

    Nothing if they were handed in before. `sold` are the return's parts. MoveRefusedError.
    """
    status = RETURNS.next(ReturnStatus(entity.state), "hand_in", Actor.COURIER)
    if status == entity.state:
        return (), ()
    kept = msgspec.structs.replace(entity, state=status.value)
    changed: list[Entity] = []
    told: list[Event] = []
    for part in sold:
        noted = msgspec.structs.replace(parts.part_of(part), return_id=entity.number)
        moved, events = parts.moved(parts.with_part(part, noted), "bring_back", Actor.COURIER)
        changed.append(moved)
        told.extend(events)
    return (kept, *changed), (_updated(kept), *told)


def cancelled(entity: Entity, actor: Actor) -> Changes:
    """The buyer keeps the goods after all. Nothing if it was cancelled before. MoveRefusedError."""
    status = RETURNS.next(ReturnStatus(entity.state), "cancel", actor)
    if status == entity.state:
        return (), ()
    kept = msgspec.structs.replace(entity, state=status.value, over=True)
    return (kept,), (_updated(kept),)


def settled(entity: Entity, part: Entity, target: P) -> Changes:
    """
    What the seller decides of one part that came back: into the warehouse, or written off.

    The part's event comes first; with the last part the return is accepted and has its event.
    MoveRefusedError.
    """
    known = msgspec.structs.replace(parts.part_of(part), return_id=0, order_id=0)
    changed, told = parts.turned(parts.with_part(part, known), target, Actor.SELLER)
    if not told:
        return (), ()
    lines = tuple(
        msgspec.structs.replace(line, settled=True) if line.part_id == part.number else line
        for line in return_of(entity).lines
    )
    kept = _with(entity, Return(lines=lines))
    if not all(line.settled for line in lines):
        return (changed, kept), told
    status = RETURNS.next(ReturnStatus(entity.state), "settle", Actor.SELLER)
    kept = msgspec.structs.replace(kept, state=status.value, over=True)
    return (changed, kept), (*told, _updated(kept))


def _with(entity: Entity, known: Return) -> Entity:
    return msgspec.structs.replace(entity, body=_ENCODE(known))


def _line(line: Line, number: int, reason: str) -> ReturnLine:
    return ReturnLine(
        id=number,
        part_id=line.part_id,
        name=line.name,
        reason=reason,
        price=line.price,
        currency=line.currency,
    )


def _created(entity: Entity) -> Event:
    return Event(
        event_type="order.return.created",
        payload=OrderReturnCreated(return_id=str(entity.number), order_id=str(entity.parent)),
    )


def _updated(entity: Entity) -> Event:
    return Event(
        event_type="order.return.updated",
        payload=OrderReturnUpdated(return_id=str(entity.number), order_id=str(entity.parent)),
    )
