"""Orders and their items: read, made ready to ship, canceled."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

import msgspec

from marketbell.errors import NotFoundError
from marketbell.marketplace.sellercenter import items, trade
from marketbell.marketplace.sellercenter.actions.call import (
    GET,
    POST,
    Action,
    Call,
    bracketed,
    whole,
)
from marketbell.marketplace.sellercenter.envelope import Element, Success, record
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.items import ITEMS_MAX, ORDER, Order
from marketbell.marketplace.sellercenter.times import plain_time
from marketbell.marketplace.sellercenter.trade import Parcel
from marketbell.store.marketplace_plane import Entity, EntityFilter

LIMIT: Final = 100
LIMIT_MAX: Final = 1_000
"""Orders in one answer: by default, and at most."""
SORTED_MAX: Final = 20_000
"""How many orders are gone through for an order of rows that no index serves."""
ORDERS_MAX: Final = 100
"""The most orders that GetMultipleOrderItems takes."""
REASON_MAX: Final = 255

_BOTH: Final = ("1.0", "2.0")


async def get_orders(call: Call) -> Success:
    """Orders by times and by the status of any of their items."""
    which = await _which(call)
    offset = call.count("Offset", 0, (0, 10**9), 14)
    limit = call.count("Limit", LIMIT, (1, LIMIT_MAX), 19)
    by_update, descending = _sorting(call)
    store, application = call.seller.services.store, call.seller.application.id
    counts = {} if which is None else await store.count_entities(application, which)
    if which is None:
        found: tuple[Entity, ...] = ()
    elif by_update == (which.created_since is None and which.created_until is None):
        found = await store.entities(
            application, which, offset=offset, limit=limit, descending=descending
        )
    else:
        rows = [order async for order in call.seller.all_of(which, most=SORTED_MAX)]
        rows.sort(
            key=lambda row: (row.updated_at if by_update else row.created_at, row.number),
            reverse=descending,
        )
        found = tuple(rows[offset : offset + limit])
    return Success(
        response_type="Orders",
        total_count=sum(counts.values()),
        body=[Element("Orders", [_order(order, call.zone) for order in found])],
    )


async def get_order(call: Call) -> Success:
    """One order."""
    order = await _asked_order(call)
    return Success(
        response_type="Order",
        body=[Element("Orders", [_order(order.order, call.zone)])],
    )


async def get_order_items(call: Call) -> Success:
    """The items of one order."""
    order = await _asked_order(call)
    return Success(response_type="OrderItems", body=[_items(order.items, call.zone)])


async def get_multiple_order_items(call: Call) -> Success:
    """The items of several orders, in the order in which they were asked for."""
    ids = bracketed(call.needed("OrderIdList"))
    if not ids:
        raise ActionError(56)
    numbers = [whole(one) for one in ids]
    asked = tuple(dict.fromkeys(number for number in numbers if number is not None))
    if len(asked) > ORDERS_MAX:
        raise ActionError(38)
    found = await call.seller.numbered(ORDER, asked)
    if not found:
        raise ActionError(39)
    if None in numbers or len(found) < len(asked):
        raise ActionError(37)
    body = []
    for number in asked:
        order = await trade.order_of(call.seller, number)
        body.append(
            Element(
                "Order",
                [
                    Element("OrderId", str(number)),
                    Element("OrderNumber", order.order.key),
                    _items(order.items, call.zone),
                ],
            )
        )
    return Success(response_type="OrderItems", body=[Element("Orders", body)])


async def set_status_to_ready_to_ship(call: Call) -> Success:
    """Make items ready, and with them all pending ones of their order."""
    ids = bracketed(call.needed("OrderItemIds"))
    if not ids or len(ids) > ITEMS_MAX:
        raise ActionError(23, call.text("OrderItemIds")[:64])
    numbers = [_item_number(one) for one in ids]
    parcel = Parcel(
        shipment_provider=call.text("ShippingProvider"),
        tracking_code=call.text("TrackingNumber"),
        package_id=call.text("PackageId"),
    )
    ready = await trade.make_ready(call.seller, numbers, parcel)
    body = [
        record(
            "OrderItem",
            {
                "OrderItemId": str(item.number),
                "PurchaseOrderId": str(item.parent),
                "PurchaseOrderNumber": items.order_number(item.parent),
                "PackageId": items.item_body(item).package_id,
            },
        )
        for item in ready
    ]
    return Success(response_type="OrderItems", body=[Element("OrderItems", body)])


async def set_status_to_canceled(call: Call) -> Success:
    """Cancel one item."""
    number = _item_number(call.needed("OrderItemId"))
    if "Reason" not in call.parameters:
        raise ActionError(1, "Reason")
    reason, detail = call.text("Reason"), call.text("ReasonDetail")
    if not reason or len(reason) > REASON_MAX or len(detail) > REASON_MAX:
        raise ActionError(22, reason[:64])
    await trade.cancel_item(call.seller, number, reason, detail)
    return Success()


ACTIONS: Final = (
    Action(name="GetOrders", methods=GET, work=get_orders, versions=_BOTH),
    Action(name="GetOrder", methods=GET, work=get_order, versions=_BOTH),
    Action(name="GetOrderItems", methods=GET, work=get_order_items),
    Action(name="GetMultipleOrderItems", methods=GET, work=get_multiple_order_items),
    Action(name="SetStatusToReadyToShip", methods=POST, work=set_status_to_ready_to_ship),
    Action(name="SetStatusToCanceled", methods=POST, work=set_status_to_canceled),
)


async def _which(call: Call) -> EntityFilter | None:
    """Which orders are asked for; None if there can be none."""
    which = EntityFilter(
        kind=ORDER,
        created_since=call.instant("CreatedAfter", 17),
        created_until=call.until("CreatedBefore", 17),
        updated_since=call.instant("UpdatedAfter", 17),
        updated_until=call.until("UpdatedBefore", 17),
    )
    if which.created_since is None and which.updated_since is None:
        raise ActionError(18)
    word = call.text("Status")
    if not word:
        return which
    status = items.status_of(word)
    if status is None:
        raise ActionError(36)
    # An order's state is all statuses of its items; those with this one among them are few.
    counts = await call.seller.services.store.count_entities(call.seller.application.id, which)
    states = [state for state in counts if status in state.split(" ")]
    return msgspec.structs.replace(which, states=states) if states else None


def _sorting(call: Call) -> tuple[bool, bool]:
    """Whether by time of update, and whether the latest comes first."""
    column = call.text("SortBy") or "created_at"
    if column not in ("created_at", "updated_at"):
        raise ActionError(75)
    direction = call.text("SortDirection").upper() or "ASC"
    if direction not in ("ASC", "DESC"):
        raise ActionError(74)
    by_update = column == "updated_at" or call.text("Version") == "2.0"
    return by_update, direction == "DESC"


async def _asked_order(call: Call) -> Order:
    text = call.needed("OrderId")
    number = whole(text)
    try:
        if number is None:
            raise NotFoundError("There is no such order.")
        return await trade.order_of(call.seller, number)
    except NotFoundError:
        raise ActionError(16, text[:64]) from None


def _item_number(text: str) -> int:
    number = whole(text)
    if number is None:
        raise ActionError(20, text[:64])
    return number


def _order(order: Entity, zone: datetime.tzinfo) -> Element:
    body = items.order_body(order)
    created = plain_time(order.created_at, zone)
    buyer = body.buyer
    address = {
        "FirstName": buyer.first_name,
        "LastName": buyer.last_name,
        "Phone": "",
        "Phone2": "",
        "Address1": buyer.address,
        "Address2": "",
        "Address3": "",
        "Address4": "",
        "Address5": "",
        "CustomerEmail": "",
        "City": buyer.city,
        "Ward": "",
        "Region": "",
        "PostCode": buyer.post_code,
        "Country": buyer.country,
    }
    first = {
        "OrderId": str(order.number),
        "CustomerFirstName": buyer.first_name,
        "CustomerLastName": buyer.last_name,
        "OrderNumber": order.key,
        "PaymentMethod": body.payment_method,
        "Remarks": "",
        "DeliveryInfo": "",
        "Price": body.price,
        "GiftOption": "0",
        "GiftMessage": "",
        "VoucherCode": "",
        "CreatedAt": created,
        "UpdatedAt": plain_time(order.updated_at, zone),
        "AddressUpdatedAt": created,
    }
    last = {
        "NationalRegistrationNumber": "",
        "ItemsCount": str(body.items_count),
        "PromisedShippingTime": plain_time(order.created_at + 86_400_000, zone),
        "ExtraAttributes": "",
        "InvoiceRequired": "false",
        "ShippingType": body.shipping_type,
    }
    statuses = [Element("Status", word) for word in order.state.split(" ")]
    return Element(
        "Order",
        [
            *(Element(name, text) for name, text in first.items()),
            record("AddressBilling", address),
            record("AddressShipping", address),
            *(Element(name, text) for name, text in last.items()),
            Element("Statuses", statuses),
        ],
    )


def _items(found: Sequence[Entity], zone: datetime.tzinfo) -> Element:
    return Element("OrderItems", [_item(item, zone) for item in found])


def _item(item: Entity, zone: datetime.tzinfo) -> Element:
    body = items.item_body(item)
    line = body.line
    return record(
        "OrderItem",
        {
            "OrderItemId": str(item.number),
            "ShopId": str(item.number),
            "OrderId": str(item.parent),
            "Name": line.name,
            "Sku": line.sku,
            "Variation": "",
            "ShopSku": "",
            "ShippingType": line.shipping_type,
            "ItemPrice": line.price,
            "PaidPrice": line.price,
            "Currency": body.currency,
            "WalletCredits": "0.00",
            "TaxAmount": "0.00",
            "CodCollectableAmount": "",
            "ShippingAmount": "0.00",
            "ShippingServiceCost": "0.00",
            "VoucherAmount": "0.00",
            "VoucherCode": "",
            "Status": item.state,
            "IsProcessable": "1",
            "ShipmentProvider": body.shipment_provider,
            "IsDigital": "0",
            "DigitalDeliveryInfo": "",
            "TrackingCode": body.tracking_code,
            "TrackingCodePre": "",
            "Reason": body.reason,
            "ReasonDetail": body.reason_detail,
            "PurchaseOrderId": str(item.parent),
            "PurchaseOrderNumber": items.order_number(item.parent),
            "PackageId": body.package_id,
            "PromisedShippingTime": plain_time(item.created_at + 86_400_000, zone),
            "ExtraAttributes": "",
            "ShippingProviderType": "regular",
            "CreatedAt": plain_time(item.created_at, zone),
            "UpdatedAt": plain_time(item.updated_at, zone),
            "ReturnStatus": "",
        },
    )
