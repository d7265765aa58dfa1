"""What happens to orders: placed, made ready, shipped, returned; each step one transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from marketbell.dialects.sellercenter import ItemStatus
from marketbell.errors import InvalidError, NotFoundError
from marketbell.marketplace.decision import Decision
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import items
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.items import ITEM, ITEMS_MAX, ORDER, Buyer, Line, Order
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Instant
from marketbell.store.marketplace_plane import Entity, EntityFilter

_MONEY: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,2})?")


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What a seller says of a parcel that is ready; "" leaves it as it is."""

    shipment_provider: str = ""
    tracking_code: str = ""
    package_id: str = ""


async def place_order(seller: Seller, lines: Sequence[Line], buyer: Buyer | None = None) -> int:
    """
    A buyer's new order with an item for each line, all pending; its OrderId.

    InvalidError for none or more than 100 lines, and for a price that is no amount of money.
    """
    if not 1 <= len(lines) <= ITEMS_MAX:
        raise InvalidError(("lines",), f"An order has 1 to {ITEMS_MAX} items")
    for place, line in enumerate(lines):
        if not _MONEY.fullmatch(line.price):
            raise InvalidError(
                ("lines", place, "price"), f"The price {line.price!r} is no amount such as 9.90"
            )
    store = seller.services.store
    number = (await store.next_numbers(ORDER, 1))[0]
    item_numbers = await store.next_numbers(ITEM, len(lines))

    def decide(loaded: None, now: Instant) -> Decision[int]:
        del loaded
        order = items.placed(
            seller.application.id,
            number,
            item_numbers=item_numbers,
            lines=lines,
            buyer=buyer or Buyer(),
            now=now,
        )
        return Decision(changes=order.changes, events=order.events, answer=number)

    return await seller.ledger.act(seller.application, _nothing, decide)


async def order_of(seller: Seller, number: int) -> Order:
    """An order with all of its items. NotFoundError."""
    store = seller.services.store
    order = await store.entity(seller.application.id, ORDER, number)
    found = await store.entities(
        seller.application.id, EntityFilter(kind=ITEM, parent=number), limit=ITEMS_MAX
    )
    return Order(order, found)


async def move_items(
    seller: Seller, number: int, targets: Mapping[int, ItemStatus], actor: Actor
) -> tuple[int, ...]:
    """
    Bring items of one order to new statuses, as this actor may; the ids of those that changed.

    All of them move or none does. NotFoundError, MoveRefusedError.
    """

    def decide(order: Order, now: Instant) -> Decision[tuple[int, ...]]:
        del now
        unknown = set(targets) - {item.number for item in order.items}
        if unknown:
            raise NotFoundError(f"The order {number} has no item {min(unknown)}.")
        return _decided(items.moved(order, targets, actor))

    return await seller.ledger.act(seller.application, lambda: order_of(seller, number), decide)


async def move_order(
    seller: Seller, number: int, target: ItemStatus, actor: Actor
) -> tuple[int, ...]:
    """Bring every item of an order that has not ended to one status; see `move_items`."""

    def decide(order: Order, now: Instant) -> Decision[tuple[int, ...]]:
        del now
        live = [item for item in order.items if items.STATUSES[item.state] not in _ENDED]
        return _decided(items.moved(order, {item.number: target for item in live}, actor))

    return await seller.ledger.act(seller.application, lambda: order_of(seller, number), decide)


async def make_ready(seller: Seller, numbers: Sequence[int], parcel: Parcel) -> tuple[Entity, ...]:
    """
    SetStatusToReadyToShip: the named items and all other pending ones of their order.

    The named items as they are then. ActionError: 20 an item that there is not, 29 items of
    several orders, 28 what Falabella sends itself, 73 an item neither pending nor ready.
    """

    def decide(order: Order, now: Instant) -> Decision[tuple[Entity, ...]]:
        del now
        named = [item for item in order.items if item.number in set(numbers)]
        _check_ready(named)
        pending = [
            item
            for item in order.items
            if item.state == ItemStatus.PENDING
            and items.item_body(item).line.shipping_type != items.OWN_WAREHOUSE
        ]
        moved = items.moved(
            order,
            {item.number: ItemStatus.READY_TO_SHIP for item in pending},
            Actor.SELLER,
            {item.number: _packed(item, parcel) for item in pending if item in named},
        )
        after = {item.number: item for item in moved.changes if item.kind == ITEM}
        return Decision(
            changes=moved.changes,
            events=moved.events,
            answer=tuple(after.get(item.number, item) for item in named),
        )

    return await seller.ledger.act(seller.application, lambda: _order_with(seller, numbers), decide)


async def cancel_item(seller: Seller, number: int, reason: str, reason_detail: str) -> None:
    """SetStatusToCanceled. ActionError: 20 no such item, 28 it is not pending any more."""

    def decide(order: Order, now: Instant) -> Decision[None]:
        del now
        item = next(item for item in order.items if item.number == number)
        body = items.item_body(item)
        own = body.line.shipping_type == items.OWN_WAREHOUSE
        if own or item.state != ItemStatus.PENDING:
            raise ActionError(28, ItemStatus.CANCELED)
        after = msgspec.structs.replace(body, reason=reason, reason_detail=reason_detail)
        moved = items.moved(order, {number: ItemStatus.CANCELED}, Actor.SELLER, {number: after})
        return Decision(changes=moved.changes, events=moved.events, answer=None)

    await seller.ledger.act(seller.application, lambda: _order_with(seller, [number]), decide)


async def settle_returns(seller: Seller) -> tuple[int, ...]:
    """Accept returns that the seller has not disputed for 72 hours; the ids of their items."""
    before = seller.services.clock.now() - items.RETURN_SILENCE
    which = EntityFilter(
        kind=ITEM, states=[ItemStatus.RETURN_WAITING_FOR_APPROVAL], updated_until=before + 1
    )
    found = await seller.services.store.entities(seller.application.id, which, limit=ITEMS_MAX)
    by_order: dict[int, dict[int, ItemStatus]] = {}
    for item in found:
        by_order.setdefault(item.parent, {})[item.number] = ItemStatus.RETURNED
    settled: list[int] = []
    for number, targets in by_order.items():
        settled += await move_items(seller, number, targets, Actor.SYSTEM)
    return tuple(settled)


_ENDED = items.ITEMS.final


def _decided(moved: items.Moved) -> Decision[tuple[int, ...]]:
    changed = tuple(item.number for item in moved.changes if item.kind == ITEM)
    return Decision(changes=moved.changes, events=moved.events, answer=changed)


async def _order_with(seller: Seller, numbers: Sequence[int]) -> Order:
    """The one order that all of these items belong to. ActionError 20, 29."""
    found = await seller.numbered(ITEM, numbers)
    for number in numbers:
        if number not in found:
            raise ActionError(20, str(number))
    orders = {item.parent for item in found.values()}
    if len(orders) > 1:
        raise ActionError(29)
    return await order_of(seller, orders.pop())


def _check_ready(named: Sequence[Entity]) -> None:
    if any(items.item_body(item).line.shipping_type == items.OWN_WAREHOUSE for item in named):
        raise ActionError(28, ItemStatus.READY_TO_SHIP)
    ready = (ItemStatus.PENDING, ItemStatus.READY_TO_SHIP)
    others = [str(item.number) for item in named if item.state not in ready]
    if others:
        raise ActionError(73, ", ".join(others))


def _packed(item: Entity, parcel: Parcel) -> items.ItemBody:
    body = items.item_body(item)
    return msgspec.structs.replace(
        body,
        shipment_provider=parcel.shipment_provider or body.shipment_provider,
        tracking_code=parcel.tracking_code or body.tracking_code,
        package_id=parcel.package_id or body.package_id,
    )


async def _nothing() -> None:
    return None
