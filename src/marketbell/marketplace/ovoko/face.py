"""Ovoko's API as its sellers call it: which path does what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.routing import Route

from marketbell.marketplace.ovoko import face_parts, face_sales
from marketbell.marketplace.ovoko.calls import Desk, Operation
from marketbell.marketplace.ovoko.market import Market
from marketbell.settings import Settings
from marketbell.store.base import Store

OPERATIONS: Final[Mapping[str, Operation]] = {
    "/crm/importPart": face_parts.import_part,
    "/crm/updatePart": face_parts.update_part,
    "/crm/changePartStatus": face_parts.change_part_status,
    "/crm/deletePart": face_parts.delete_part,
    "/get/part/{id}": face_parts.get_part,
    "/v2/get/parts": face_parts.list_parts,
    "/get/part_status": face_parts.list_statuses,
    "/crm/importPostData": face_sales.import_post_data,
    "/get/orders/{from}/{to}": face_sales.list_orders,
    "/v2/get/orders/{from}/{to}": face_sales.page_orders,
    "/get/order_returns": face_sales.list_returns,
    "/get/order_return/{id}": face_sales.get_return,
    "/get/logs/{from}/{to}": face_sales.list_logs,
}
"""Every path of the API; all are POST."""


def routes(market: Market, store: Store, settings: Settings) -> list[Route]:
    """The API's routes. Other methods are answered too, with R400: the HTTP status is always 200."""
    desk = Desk(market, store, settings)
    return [
        Route(path, desk.endpoint(operation), methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
        for path, operation in OPERATIONS.items()
    ]
