"""How Ovoko's API shows parts, orders, returns and the log: ids as integers, amounts as numbers."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from marketbell.marketplace.ovoko import journal, orders, parts, returns
from marketbell.model import Instant
from marketbell.store.base import Entity

Record: TypeAlias = dict[str, object]

BUYERS_SHARE: Final = Decimal("1.10")
"""What a buyer pays for each unit that a seller gets. Our choice, so that the two differ."""


def part_record(entity: Entity, zone: ZoneInfo) -> Record:
    """A part as `/get/part` and `/v2/get/parts` show it."""
    part = parts.part_of(entity)
    return {
        "id": entity.number,
        "external_id": part.external_id,
        "id_bridge": part.id_bridge,
        "status": parts.NUMBER_OF[entity.state],
        "status_name": entity.state,
        "category_id": part.category_id,
        "car_id": part.car_id,
        "quality": part.quality,
        "price": part.price,
        "original_currency": part.original_currency,
        "sell_price": part.sell_price,
        "sell_date": part.sell_date,
        "position": part.position,
        "notes": part.notes,
        "place": part.place,
        "manufacturer_code": part.manufacturer_code,
        "visible_code": part.visible_code,
        "other_code": part.other_code,
        "optional_codes": part.optional_codes,
        "photo": part.photo,
        "photos": part.photos,
        "created_at": _local(entity.created_at, zone),
        "updated_at": _local(entity.updated_at, zone),
    }


def order_record(entity: Entity, zone: ZoneInfo) -> Record:
    """An order as both lists of orders show it."""
    order = orders.order_of(entity)
    buyer = order.buyer
    currency = order.lines[0].currency
    total = sum((line.price for line in order.lines), Decimal(0))
    return {
        "id": entity.number,
        "order_date": _local(entity.created_at, zone),
        "order_status": entity.state,
        "payment_method": order.payment_method,
        "payment_status": "PAID",
        "client_name": buyer.name,
        "client_email": buyer.email,
        "client_phone": buyer.phone,
        "client_address": buyer.address,
        "client_city": buyer.city,
        "client_post_code": buyer.post_code,
        "client_country": buyer.country,
        "shipping_price": _both(order.shipping_price, currency, same=True),
        "total_price": _both(total, currency),
        "item_list": [
            {
                "id": line.id,
                "part_id": line.part_id,
                "id_bridge": line.id_bridge,
                "external_id": line.external_id,
                "car_id": line.car_id,
                "name": line.name,
                "sell_price": _both(line.price, line.currency),
            }
            for line in order.lines
        ],
    }


def return_record(entity: Entity, order: Entity, zone: ZoneInfo) -> Record:
    """A return as `/get/order_returns` and `/get/order_return` show it."""
    known = returns.return_of(entity)
    buyer = orders.order_of(order).buyer
    total = sum((line.price for line in known.lines), Decimal(0))
    return {
        "id": entity.number,
        "order_id": entity.parent,
        "order_return_items": [
            {
                "id": line.id,
                "part_id": line.part_id,
                "name": line.name,
                "return_reason": line.reason,
                "price": line.price,
                "returnable_amount": line.price,
                "currency": line.currency,
                "price_in_seller_currency": line.price,
                "returnable_amount_in_seller_currency": line.price,
                "seller_currency": line.currency,
                "vat_rate": 0,
            }
            for line in known.lines
        ],
        "status": entity.state,
        "shipping_price": 0,
        "total_paid_price": total,
        "total_returnable_amount": total,
        "created_at": _offset(entity.created_at, zone),
        "customer": {
            "name": buyer.name,
            "email": buyer.email,
            "phone": buyer.phone,
            "country": buyer.country,
        },
        "refunds": [],
    }


def log_records(entity: Entity, zone: ZoneInfo) -> list[Record]:
    """The lines of the log that one change left."""
    return [
        {
            "action": row.action,
            "item_list": row.item_list,
            "date": _local(entity.created_at, zone),
            "user": row.user,
            "details": row.details,
        }
        for row in journal.rows_of(entity)
    ]


def _both(amount: Decimal, currency: str, *, same: bool = False) -> Record:
    paid = amount if same else (amount * BUYERS_SHARE).quantize(Decimal("0.01"))
    return {
        "buyer": {"amount": paid, "currency": currency},
        "seller": {"amount": amount, "currency": currency},
    }


def _local(instant: Instant, zone: ZoneInfo) -> str:
    at = datetime.datetime.fromtimestamp(instant // 1000, zone)
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _offset(instant: Instant, zone: ZoneInfo) -> str:
    return datetime.datetime.fromtimestamp(instant // 1000, zone).isoformat()
