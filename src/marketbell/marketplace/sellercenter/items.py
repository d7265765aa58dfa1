"""The life cycle of an order's items: eleven statuses, and who may cause which move. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from marketbell.dialects.sellercenter import ItemStatus, OrderCreated, OrderItemsStatusChanged
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, moves
from marketbell.model import Instant, Millis
from marketbell.store.marketplace_plane import Entity

ORDER: Final = "order"
ITEM: Final = "item"

ITEMS_MAX: Final = 100
"""The most items of one order."""

RETURN_SILENCE: Final[Millis] = 72 * 3_600_000
"""A return that the seller does not dispute for so long is accepted."""

OWN_WAREHOUSE: Final = "Own Warehouse"
"""The shipping type of what Falabella itself keeps and sends: not the seller's to move."""

STATUSES: Final[Mapping[str, ItemStatus]] = {status.value: status for status in ItemStatus}
"""The statuses by their words."""

_OTHER_WORDS: Final = {
    "return_ship_by_customer": "return_shipped_by_customer",
    "return_awaiting_for_approval": "return_waiting_for_approval",
    "returned_rejected": "return_rejected",
    "cancel": "canceled",
    "cancelled": "canceled",
    "failed_delivery": "failed",
}
"""Words of other pages of the documents for statuses, by which callers ask."""

_S = ItemStatus

ITEMS: Final = Machine(
    "order item",
    states=tuple(ItemStatus),
    initial=[_S.PENDING],
    final=[_S.CANCELED, _S.FAILED, _S.RETURNED, _S.RETURN_REJECTED],
    moves=[
        *moves("process", [_S.PENDING], _S.PROCESSING, Actor.SYSTEM),
        *moves("make_ready", [_S.PENDING], _S.READY_TO_SHIP, Actor.SELLER, Actor.SYSTEM),
        *moves("make_ready", [_S.PROCESSING], _S.READY_TO_SHIP, Actor.SYSTEM),
        *moves(
            "cancel",
            [_S.PENDING],
            _S.CANCELED,
            Actor.SELLER,
            Actor.BUYER,
            Actor.COURIER,
            Actor.SYSTEM,
        ),
        *moves("cancel", [_S.PROCESSING], _S.CANCELED, Actor.BUYER, Actor.COURIER, Actor.SYSTEM),
        *moves("cancel", [_S.READY_TO_SHIP], _S.CANCELED, Actor.COURIER, Actor.SYSTEM),
        *moves("ship", [_S.READY_TO_SHIP], _S.SHIPPED, Actor.COURIER),
        *moves("deliver", [_S.SHIPPED], _S.DELIVERED, Actor.COURIER),
        *moves("fail_delivery", [_S.SHIPPED], _S.FAILED, Actor.COURIER),
        *moves("hand_in", [_S.DELIVERED], _S.RETURN_SHIPPED_BY_CUSTOMER, Actor.BUYER),
        *moves(
            "bring_back",
            [_S.RETURN_SHIPPED_BY_CUSTOMER],
            _S.RETURN_WAITING_FOR_APPROVAL,
            Actor.COURIER,
        ),
        *moves(
            "accept_return",
            [_S.RETURN_WAITING_FOR_APPROVAL],
            _S.RETURNED,
            Actor.SELLER,
            Actor.SYSTEM,
        ),
        *moves("reject_return", [_S.RETURN_WAITING_FOR_APPROVAL], _S.RETURN_REJECTED, Actor.SYSTEM),
    ],
)
"""From pending to the buyer and back; the seller's API has two of the moves."""


OVER: Final = frozenset({*ITEMS.final, _S.DELIVERED})
"""Statuses of items that need not be kept for ever: nobody returns goods years later."""


def status_of(word: str) -> ItemStatus | None:
    """The status that a caller's word means, whatever its case; None for no status."""
    word = word.lower()
    return STATUSES.get(_OTHER_WORDS.get(word, word))


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One item that a buyer orders."""

    sku: str
    name: str = ""
    price: str = "0.00"
    """As money is written: `89900.00`."""
    shipping_type: str = "Dropshipping"


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """Who orders."""

    first_name: str = "Maria"
    last_name: str = "Perez"
    address: str = "Av. Providencia 1234"
    city: str = "Santiago"
    post_code: str = "7500000"
    country: str = "CL"


class OrderBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an order beside its items, statuses and times."""

    buyer: Buyer = Buyer()
    price: str = "0.00"
    currency: str = "CLP"
    items_count: int = 1
    payment_method: str = "ecommPay"
    shipping_type: str = "Dropshipping"


class ItemBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an item beside its order, status and times."""

    line: Line
    currency: str = "CLP"
    shipment_provider: str = ""
    tracking_code: str = ""
    package_id: str = ""
    reason: str = ""
    reason_detail: str = ""


class Order(msgspec.Struct, frozen=True):
    """An order with all of its items, as read."""

    order: Entity
    items: tuple[Entity, ...]


class Moved(msgspec.Struct, frozen=True):
    """What a move of some items comes to."""

    changes: tuple[Entity, ...]
    """The items that changed, and their order."""
    events: tuple[Event, ...]


def order_body(order: Entity) -> OrderBody:
    """What an order's row holds."""
    return msgspec.json.decode(order.body, type=OrderBody)


def item_body(item: Entity) -> ItemBody:
    """What an item's row holds."""
    return msgspec.json.decode(item.body, type=ItemBody)


def statuses_of(items: Iterable[Entity]) -> str:
    """The state of an order's row: each status that its items have, once, in alphabetical order."""
    return " ".join(sorted({item.state for item in items}))


def placed(
    application_id: int,
    number: int,
    *,
    item_numbers: Sequence[int],
    lines: Sequence[Line],
    buyer: Buyer,
    now: Instant,
) -> Moved:
    """A new order with all items pending; that it was created is all that is told."""
    items = tuple(
        Entity(
            application_id=application_id,
            kind=ITEM,
            number=item_number,
            key=line.sku,
            parent=number,
            state=ItemStatus.PENDING,
            body=msgspec.json.encode(ItemBody(line=line, package_id=f"PKG{item_number:010}")),
            created_at=now,
            updated_at=now,
        )
        for item_number, line in zip(item_numbers, lines, strict=True)
    )
    body = OrderBody(
        buyer=buyer,
        price=f"{sum(Decimal(line.price) for line in lines):.2f}",
        items_count=len(items),
        shipping_type=lines[0].shipping_type,
    )
    order = Entity(
        application_id=application_id,
        kind=ORDER,
        number=number,
        key=order_number(number),
        state=statuses_of(items),
        body=msgspec.json.encode(body),
        created_at=now,
        updated_at=now,
    )
    created = Event(event_type="onOrderCreated", payload=OrderCreated[int](order_id=number))
    return Moved((order, *items), (created,))


def moved(
    order: Order,
    targets: Mapping[int, ItemStatus],
    actor: Actor,
    bodies: Mapping[int, ItemBody] | None = None,
) -> Moved:
    """
    An order's items brought to their targets, each in one move that this actor may make.

    One event for each new status, in the order of `targets`, listing only the items that
    changed; an item that has its target already is left as it is. `bodies` are what the items
    are to hold from now on. Raises MoveRefusedError, and then nothing changes.
    """
    given = bodies or {}
    after: dict[int, Entity] = {}
    by_status: dict[ItemStatus, list[int]] = {}
    items = {item.number: item for item in order.items}
    for number, target in targets.items():
        item = items[number]
        if ITEMS.to(STATUSES[item.state], target, actor) == item.state:
            continue
        by_status.setdefault(target, []).append(number)
        body = msgspec.json.encode(given[number]) if number in given else item.body
        after[number] = msgspec.structs.replace(item, state=target, over=target in OVER, body=body)
    if not after:
        return Moved((), ())
    now_of_it = [after.get(item.number, item) for item in order.items]
    events = (
        Event(
            event_type="onOrderItemsStatusChanged",
            payload=OrderItemsStatusChanged[int](
                order_id=order.order.number,
                order_item_ids=tuple(sorted(numbers)),
                new_status=status,
            ),
        )
        for status, numbers in by_status.items()
    )
    changed = msgspec.structs.replace(
        order.order,
        state=statuses_of(now_of_it),
        over=all(item.over for item in now_of_it),
    )
    return Moved((changed, *after.values()), tuple(events))


def order_number(number: int) -> str:
    """The number that a buyer sees, from the order's id."""
    return str(2_000_000_000 + number)
