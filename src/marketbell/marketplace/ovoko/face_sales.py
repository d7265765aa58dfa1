"""The operations on what was sold: orders, parcels, returns, and the log to catch up with."""

from __future__ import annotations

from collections.abc import Sequence
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
from marketbell.store.base import Entity, EntityFilter

ROWS_MAX: Final = 1_000
"""How many rows one answer has at most, of an operation that Ovoko has no pages for."""

_PACKINGS: Final = (1, 2, 3)
_WEIGHT_MAX: Final = 1_000_000
_LENGTH_MAX: Final = 1_000


async def list_orders(call: Call) -> Answer:
    """POST /get/orders/{from}/{to}: all of these days, oldest first; by page for who asks so."""
    found, pages = await _all_or_page(call, orders.KIND)
    return {"list": [order_record(entity, call.zone) for entity in found], **pages}


async def page_orders(call: Call) -> Answer:
    """POST /v2/get/orders/{from}/{to}: the same by page."""
    which = _of_days(call, orders.KIND)
    found, pages = await _page(call, which, *page_of(call.form))
    return {"list": [order_record(entity, call.zone) for entity in found], **pages}


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
    """POST /get/logs/{from}/{to}: what was done on these days; as `list_orders`, by change."""
    found, pages = await _all_or_page(call, journal.KIND)
    records = [record for entity in found for record in log_records(entity, call.zone)]
    return {"list": records, **pages}


async def _all_or_page(call: Call, kind: str) -> tuple[Sequence[Entity], Answer]:
    """
    Everything of these days, or the page that `page` or `limit` asks for, with how many there are.

    InvalidError if everything is more than one answer has: a list that ends without a word would
    be taken for the whole by those who catch up with it.
    """
    which = _of_days(call, kind)
    if "page" in call.form or "limit" in call.form:
        return await _page(call, which, *page_of(call.form, ROWS_MAX))
    found = await call.store.entities(call.application.id, which, limit=ROWS_MAX + 1)
    if len(found) > ROWS_MAX:
        raise InvalidError(
            ("to",),
            f"There are more than {ROWS_MAX} rows from {call.path['from']} to {call.path['to']}; "
            "ask for fewer days, or by page and limit",
        )
    return found, {}


async def _page(
    call: Call, which: EntityFilter, limit: int, page: int
) -> tuple[Sequence[Entity], Answer]:
    counts = await call.store.count_entities(call.application.id, which)
    found = await call.store.entities(
        call.application.id, which, offset=(page - 1) * limit, limit=limit
    )
    total = sum(counts.values())
    return found, {"pagination": {"page": page, "limit": limit, "total_count": total}}


def _of_days(call: Call, kind: str) -> EntityFilter:
    since, until = call.days(call.path["from"], call.path["to"])
    return EntityFilter(kind=kind, created_since=since, created_until=until)


def _within(call: Call, name: str, greatest: int) -> int:
    number = call.form.required(name, 1)
    if number > greatest:
        raise InvalidError((name,), f"{name} is more than {greatest}")
    return number
