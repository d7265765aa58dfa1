"""Products: what is posted becomes a feed, what there is can be read."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element as Posted

from marketbell.marketplace.sellercenter import products, runs
from marketbell.marketplace.sellercenter.actions.call import (
    GET,
    POST,
    Action,
    Call,
    Work,
    bracketed,
)
from marketbell.marketplace.sellercenter.envelope import Element, Success
from marketbell.marketplace.sellercenter.errors import FORMAT_ERROR, ActionError
from marketbell.marketplace.sellercenter.feeds import RECORDS_MAX, Record
from marketbell.marketplace.sellercenter.products import ProductBody, ProductStatus, QcStatus
from marketbell.marketplace.sellercenter.requests import child, text_of
from marketbell.marketplace.sellercenter.times import plain_time
from marketbell.store.marketplace_plane import Entity, EntityFilter

LIMIT: Final = 1_000
"""The most products in one answer, and the default."""
SCANNED_MAX: Final = 20_000
"""How many products are gone through for a filter that no index serves."""

_FILTERS: Final[dict[str, Callable[[ProductStatus, QcStatus], bool]]] = {
    "all": lambda status, quality: True,
    "live": lambda status, quality: status is ProductStatus.ACTIVE and quality is QcStatus.APPROVED,
    "inactive": lambda status, quality: status is ProductStatus.INACTIVE,
    "deleted": lambda status, quality: status is ProductStatus.DELETED,
    "pending": lambda status, quality: _there(status) and quality is QcStatus.PENDING,
    "rejected": lambda status, quality: _there(status) and quality is QcStatus.REJECTED,
    "image-missing": lambda status, quality: _there(status),
    "sold-out": lambda status, quality: _there(status),
}
_SHOWN_FIRST: Final = (
    "ShopSku",
    "Name",
    "Variation",
    "ParentSku",
    "Quantity",
    "Available",
    "Price",
    "SalePrice",
    "SaleStartDate",
    "SaleEndDate",
    "Status",
    "ProductId",
    "Url",
    "MainImage",
    "Images",
    "Description",
    "TaxClass",
    "Brand",
    "PrimaryCategory",
    "Categories",
    "BusinessUnits",
    "ProductData",
    "QCStatus",
)
"""The fields of a product in the order of the documents' samples; others follow."""


def feed_of(action: str, name: str) -> Work:
    """The work of an action that turns the `name` elements of a request into a feed."""

    async def work(call: Call) -> Success:
        posted = call.request.findall(name)
        if not posted:
            raise ActionError(1000, FORMAT_ERROR)
        if len(posted) > RECORDS_MAX:
            raise ActionError(11)
        records = [_record(one) for one in posted]
        made = await runs.create_feed(call.seller, action, records, throttled=True)
        return Success(request_id=made)

    return work


async def get_products(call: Call) -> Success:
    """Products by SKU, status, words and times, oldest first."""
    offset = call.count("Offset", 0, (0, 10**9), 14)
    limit = call.count("Limit", LIMIT, (1, LIMIT), 19)
    which = _which(call)
    word, search = call.text("Filter") or "all", call.text("Search").casefold()
    if word not in ("image-missing", "sold-out") and not search:
        found = await call.seller.services.store.entities(
            call.seller.application.id, which, offset=offset, limit=limit
        )
        return _listed(list(found), call.zone)
    matching: list[Entity] = []
    async for product in call.seller.all_of(which, most=SCANNED_MAX):
        if _matches(product, word, search):
            matching.append(product)
            if len(matching) == offset + limit:
                break
    return _listed(matching[offset:], call.zone)


ACTIONS: Final = (
    *(
        Action(
            name=name,
            methods=POST,
            work=feed_of(name, element),
            takes_body=True,
        )
        for name, element in (
            ("ProductCreate", "Product"),
            ("ProductUpdate", "Product"),
            ("ProductRemove", "Product"),
            ("Image", "ProductImage"),
        )
    ),
    Action(name="GetProducts", methods=GET, work=get_products),
)


def _there(status: ProductStatus) -> bool:
    return status is not ProductStatus.DELETED


def _record(posted: Posted) -> Record:
    return Record(
        text_of(child(posted, "SellerSku")),
        tuple(_copied(field) for field in posted if field.tag != "SellerSku"),
    )


def _copied(posted: Posted) -> Element:
    if len(posted):
        return Element(posted.tag, [_copied(below) for below in posted])
    return Element(posted.tag, text_of(posted))


def _which(call: Call) -> EntityFilter:
    passes = _FILTERS.get(call.text("Filter") or "all")
    if passes is None:
        raise ActionError(36)
    skus = None
    if call.text("SkuSellerList"):
        skus = bracketed(call.text("SkuSellerList"))
        if skus is None:
            raise ActionError(5)
    states = [
        products.state_of(status, quality)
        for status in ProductStatus
        for quality in QcStatus
        if passes(status, quality)
    ]
    return EntityFilter(
        kind=products.KIND,
        keys=skus,
        states=states if len(states) < len(ProductStatus) * len(QcStatus) else None,
        created_since=call.instant("CreatedAfter", 17),
        created_until=call.until("CreatedBefore", 17),
        updated_since=call.instant("UpdatedAfter", 17),
        updated_until=call.until("UpdatedBefore", 17),
    )


def _matches(product: Entity, word: str, search: str) -> bool:
    body = products.body_of(product)
    if word == "image-missing" and body.images:
        return False
    if word == "sold-out" and body.text("Quantity") not in ("", "0"):
        return False
    return search in f"{product.key}\n{body.text('Name')}\n{body.text('ShopSku')}".casefold()


def _listed(found: list[Entity], zone: datetime.tzinfo) -> Success:
    shown = [Element("Product", _shown(product, zone)) for product in found]
    return Success(response_type="Products", body=[Element("Products", shown)])


def _shown(product: Entity, zone: datetime.tzinfo) -> list[Element]:
    body = products.body_of(product)
    status, quality = products.states_of(product)
    fields = _fields(product, body)
    fields["Status"] = Element("Status", status)
    fields["QCStatus"] = Element("QCStatus", quality)
    fields["CreatedAt"] = Element("CreatedAt", plain_time(product.created_at, zone))
    fields["UpdatedAt"] = Element("UpdatedAt", plain_time(product.updated_at, zone))
    others = [name for name in fields if name not in _SHOWN_FIRST]
    return [
        Element("SellerSku", product.key),
        *(fields[name] for name in (*_SHOWN_FIRST, *others)),
    ]


def _fields(product: Entity, body: ProductBody) -> dict[str, Element]:
    fields = {name: Element(name) for name in _SHOWN_FIRST}
    fields["ShopSku"] = Element("ShopSku", f"SC{product.number:08}")
    fields |= {field.name: field for field in body.fields}
    quantity = body.text("Quantity")
    fields["Available"] = Element("Available", quantity)
    fields["Images"] = Element("Images", [Element("Image", url) for url in body.images])
    fields["MainImage"] = Element("MainImage", body.images[0] if body.images else "")
    return fields
