"""The operations on what was sold: orders, parcels, returns, and the log to catch up with."""

from __future__ import annotations

from typing import Final

from marketbell.errors import InvalidError, NotFoundError
from marketbell.marketplace.ovoko import journal, orders, returns
from marketbell.marketplace.ovoko.calls import Answer, Call
from marketbell.marketplace.ovoko.face_parts import page_of
from marketbell.marketplace.ovoko.orders import PostData
from marketbell.marketplace.ovoko.records import (
    log_records,
    order_record,
    return_record,
)
from marketbell.store.base import EntityFilter

ROWS_MAX: Final = 1_000
"""How many rows come at most where the API has no pages; the oldest ones."""

_PACKINGS: Final = (1, 2, 3)
_WEIGHT_MAX: Final = 1_000_000
_LENGTH_MAX: Final = 1_000


async def list_orders(call: Call) -> Answer:
    """POST /get/orders/{from}/{to}: of these days, oldest first, without pages."""
    which = _of_days(call, orders.KIND)
    found = await call.store.entities(call.application.id, which, limit=ROWS_MAX)
    return {"list": [order_record(entity, call.zone) for entity in found]}


async def page_orders(call: Call) -> Answer:
    """POST /v2/get/orders/{from}/{to}: the same by page."""
    limit, page = page_of(call.form)
    which = _of_days(call, orders.KIND)
    counts = await call.store.count_entities(call.application.id, which)
    found = await call.store.entities(
        call.application.id, which, offset=(page - 1) * limit, limit=limit
    )
    return {
        "list": [order_record(entity, call.zone) for entity in found],
        "pagination": {"page": page, "limit": limit, "total_count": sum(counts.values())},
    }


async def import_post_data(call: Call) -> Answer:
    """POST /crm/importPostData: one record per order; a later one takes its place."""
    form = call.form
    number = form.required("order_id", 1)
    packing_type = form.required("packing_type")
    if packing_type not in _PACKINGS:
        raise InvalidError(("packing_type",), "packing_type is not 1 box, 2 pallet or 3 envelope")
    data = PostData(
        weight=_within(call, "weight", _WEIGHT_MAX),
        height=_within(call, "height", _LENGTH_MAX),
        length=_within(call, "length", _LENGTH_MAX),
        width=_within(call, "width", _LENGTH_MAX),
        packing_type=packing_type,
    )
    try:
        await call.market.add_post_data(call.application, number, data, user=call.user)
    except NotFoundError:
        raise NotFoundError("Order not found") from None
    return {"order_id": number}


async def list_returns(call: Call) -> Answer:
    """POST /get/order_returns: oldest first, a hundred to a page; both dates may be left out."""
    form = call.form
    _limit, page = page_of(form)
    since = call.day(text, "date_from") if (text := form.text("date_from")) else None
    until = call.day(text, "date_to", after=1) if (text := form.text("date_to")) else None
    which = EntityFilter(kind=returns.KIND, created_since=since, created_until=until)
    found = await call.store.entities(
        call.application.id, which, offset=(page - 1) * _limit, limit=_limit
    )
    sold = await call.store.entities(
        call.application.id,
        EntityFilter(kind=orders.KIND, numbers=[entity.parent for entity in found]),
        limit=_limit,
    )
    by_number = {order.number: order for order in sold}
    return {
        "list": [return_record(entity, by_number[entity.parent], call.zone) for entity in found]
    }


async def get_return(call: Call) -> Answer:
    """POST /get/order_return/{id}: the record at list[0][0]."""
    try:
        entity = await call.store.entity(call.application.id, returns.KIND, call.number("id"))
    except NotFoundError:
        raise NotFoundError("Order return not found") from None
    order = await call.store.entity(call.application.id, orders.KIND, entity.parent)
    return {"list": [[return_record(entity, order, call.zone)]]}


async def list_logs(call: Call) -> Answer:
    """POST /get/logs/{from}/{to}: what was done on these days, oldest first."""
    which = _of_days(call, journal.KIND)
    found = await call.store.entities(call.application.id, which, limit=ROWS_MAX)
    return {"list": [record for entity in found for record in log_records(entity, call.zone)]}


def _of_days(call: Call, kind: str) -> EntityFilter:
    since, until = call.days(call.path["from"], call.path["to"])
    return EntityFilter(kind=kind, created_since=since, created_until=until)


def _within(call: Call, name: str, greatest: int) -> int:
    number = call.form.required(name, 1)
    if number > greatest:
        raise InvalidError((name,), f"{name} is more than {greatest}")
    return number
