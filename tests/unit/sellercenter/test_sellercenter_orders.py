"""Orders of Seller Center over the Action API: read, made ready, canceled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from marketbell.dialects.sellercenter import ItemStatus
from marketbell.errors import InvalidError, MoveRefusedError, NotFoundError
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import items, trade
from marketbell.marketplace.sellercenter.items import OWN_WAREHOUSE, Line
from marketbell.testing import FakeClock
from support.selling import Stall, neighbour

A, B = Line(sku="A-1", name="Lamp", price="10.00"), Line(sku="B-2", price="5.50")
S = ItemStatus


async def ids_of(shop: Stall, number: int) -> list[int]:
    return [item.number for item in (await trade.order_of(shop.seller, number)).items]


async def ready(shop: Stall, *numbers: int | str, **parameters: str) -> Any:
    listed = f"[{','.join(str(item) for item in numbers)}]"
    return await shop.call(
        "SetStatusToReadyToShip", method="POST", OrderItemIds=listed, **parameters
    )


async def changes(shop: Stall) -> list[tuple[list[int], str]]:
    return [
        (payload["OrderItemIds"], payload["NewStatus"])
        for name, payload in await shop.told()
        if name == "onOrderItemsStatusChanged"
    ]


def code(answer: Any) -> str:
    found: str = answer["Head"]["ErrorCode"]
    return found


async def test_an_order_is_told_of_and_can_be_read(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A, B])
    assert await shop.told() == [("onOrderCreated", {"OrderId": number})]
    answer = await shop.call("GetOrder", OrderId=str(number))
    order = answer["Body"]["Orders"]["Order"]
    assert (order["OrderId"], order["Price"]) == (str(number), "15.50")
    assert order["Statuses"] == {"Status": "pending"}
    items = (await shop.call("GetOrderItems", OrderId=str(number)))["Body"]["OrderItems"]
    assert [item["Sku"] for item in items["OrderItem"]] == ["A-1", "B-2"]


async def test_one_item_made_ready_makes_all_of_its_order_ready(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A, B, A])
    first, second, third = await ids_of(shop, number)
    await shop.call(
        "SetStatusToCanceled", method="POST", OrderItemId=str(third), Reason="out of stock"
    )
    answer = await ready(
        shop, first, ShippingProvider="Blue", TrackingNumber="T1", PackageId="PKG7"
    )
    assert answer["Body"]["OrderItems"]["OrderItem"] == {
        "OrderItemId": str(first),
        "PurchaseOrderId": str(number),
        "PurchaseOrderNumber": str(2_000_000_000 + number),
        "PackageId": "PKG7",
    }
    assert await changes(shop) == [([third], "canceled"), ([first, second], "ready_to_ship")]
    items = (await shop.call("GetOrderItems", OrderId=str(number)))["Body"]["OrderItems"]
    found = [(one["Status"], one["TrackingCode"], one["Reason"]) for one in items["OrderItem"]]
    assert found == [
        ("ready_to_ship", "T1", ""), ("ready_to_ship", "", ""), ("canceled", "", "out of stock")
    ]  # fmt: skip
    order = (await shop.call("GetOrder", OrderId=str(number)))["Body"]["Orders"]["Order"]
    assert order["Statuses"] == {"Status": ["canceled", "ready_to_ship"]}
    again = await ready(shop, second, first)
    assert len(again["Body"]["OrderItems"]["OrderItem"]) == 2
    assert len(await changes(shop)) == 2


async def test_calls_at_the_same_time_make_one_event(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A, B])
    first, second = await ids_of(shop, number)
    answers = await asyncio.gather(*(ready(shop, one) for one in (first, second) * 5))
    assert all("Body" in answer and "ErrorCode" not in answer["Head"] for answer in answers)
    assert await changes(shop) == [([first, second], "ready_to_ship")]


async def test_what_cannot_be_made_ready(shop: Stall) -> None:
    one = await ids_of(shop, await trade.place_order(shop.seller, [A]))
    two = await ids_of(shop, await trade.place_order(shop.seller, [A, B]))
    own = Line(sku="F", shipping_type=OWN_WAREHOUSE)
    falabellas = await ids_of(shop, await trade.place_order(shop.seller, [own]))
    await shop.call("SetStatusToCanceled", method="POST", OrderItemId=str(two[0]), Reason="x")
    assert code(await ready(shop, 999_999)) == "20"
    assert code(await ready(shop, '"x"')) == "20"
    assert code(await ready(shop, one[0], two[1])) == "29"
    assert code(await ready(shop, *falabellas)) == "28"
    answer = await ready(shop, *two)
    assert code(answer) == "73"
    assert f"({two[0]})" in answer["Head"]["ErrorMessage"]
    assert code(await ready(shop)) == "23"
    assert await shop.refused("SetStatusToReadyToShip", method="POST", OrderItemIds="7") == "23"
    assert await shop.refused("SetStatusToReadyToShip", method="POST") == "1"
    assert code(await ready(await neighbour(shop), *one)) == "20"
    assert await changes(shop) == [([two[0]], "canceled")]


async def test_what_cannot_be_canceled(shop: Stall) -> None:
    async def refused(**parameters: str) -> str:
        return await shop.refused("SetStatusToCanceled", method="POST", **parameters)

    (item,) = await ids_of(shop, await trade.place_order(shop.seller, [A]))
    assert await refused(Reason="x") == "1"
    assert await refused(OrderItemId=str(item)) == "1"
    assert await refused(OrderItemId=str(item), Reason=" ") == "22"
    assert await refused(OrderItemId=str(item), Reason="x" * 256) == "22"
    assert await refused(OrderItemId="x", Reason="x") == "20"
    assert await refused(OrderItemId="999999", Reason="x") == "20"
    own = Line(sku="F", shipping_type=OWN_WAREHOUSE)
    (falabellas,) = await ids_of(shop, await trade.place_order(shop.seller, [own]))
    assert await refused(OrderItemId=str(falabellas), Reason="x") == "28"
    await ready(shop, item)
    assert await refused(OrderItemId=str(item), Reason="x") == "28"


async def test_all_the_way_there_and_back(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A])
    (item,) = await ids_of(shop, number)
    await ready(shop, item)
    for target, actor in (
        (S.SHIPPED, Actor.COURIER),
        (S.DELIVERED, Actor.COURIER),
        (S.RETURN_SHIPPED_BY_CUSTOMER, Actor.BUYER),
        (S.RETURN_WAITING_FOR_APPROVAL, Actor.COURIER),
    ):
        assert await trade.move_order(shop.seller, number, target, actor) == (item,)
    clock = shop.plane.clock
    assert isinstance(clock, FakeClock)
    clock.advance(72 * 3_600_000 - 1)
    assert await trade.settle_returns(shop.seller) == ()
    clock.advance(1)
    assert await trade.settle_returns(shop.seller) == (item,)
    assert [status for _, status in await changes(shop)] == [
        "ready_to_ship", "shipped", "delivered", "return_shipped_by_customer",
        "return_waiting_for_approval", "returned",
    ]  # fmt: skip
    assert await trade.move_order(shop.seller, number, S.SHIPPED, Actor.COURIER) == ()


async def test_moves_are_refused_whole(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A, B])
    first, second = await ids_of(shop, number)
    with pytest.raises(MoveRefusedError):
        await trade.move_items(
            shop.seller, number, {first: S.CANCELED, second: S.SHIPPED}, Actor.COURIER
        )
    with pytest.raises(NotFoundError):
        await trade.move_items(shop.seller, number, {999_999: S.CANCELED}, Actor.BUYER)
    with pytest.raises(InvalidError):
        await trade.place_order(shop.seller, [])
    with pytest.raises(InvalidError, match="price"):
        await trade.place_order(shop.seller, [Line(sku="A", price="ten")])
    assert len(await shop.told()) == 1


async def listed(shop: Stall, **parameters: str) -> list[int]:
    answer = await shop.call("GetOrders", **parameters)
    orders = answer["Body"]["Orders"]
    found = orders["Order"] if orders else []
    rows = found if isinstance(found, list) else [found]
    assert int(answer["Head"]["TotalCount"]) >= len(rows)
    return [int(row["OrderId"]) for row in rows]


async def test_lists_of_orders(shop: Stall) -> None:
    clock = shop.plane.clock
    assert isinstance(clock, FakeClock)
    made = []
    for _ in range(4):
        made.append(await trade.place_order(shop.seller, [A, B]))
        clock.advance(60_000)
    (first, _) = await ids_of(shop, made[0])
    await trade.move_items(shop.seller, made[0], {first: S.CANCELED}, Actor.BUYER)
    since = {"CreatedAfter": "2026-01-01T00:00:00Z"}
    assert await listed(shop, **since) == made
    assert await listed(shop, **since, SortDirection="DESC", Limit="2") == made[:1:-1]
    assert await listed(shop, **since, SortBy="updated_at") == [*made[1:], made[0]]
    assert await listed(shop, **since, SortBy="updated_at", Offset="3") == [made[0]]
    assert await listed(shop, **since, Version="2.0") == [*made[1:], made[0]]
    assert await listed(shop, UpdatedAfter="2026-01-01T00:03:00Z") == [made[0], made[3]]
    assert await listed(
        shop, UpdatedAfter="2026-01-01T00:03:00Z", SortBy="updated_at", SortDirection="desc"
    ) == [made[0], made[3]]
    assert await listed(shop, CreatedAfter="2026-01-01T00:01:00Z") == made[1:]
    assert await listed(shop, **since, CreatedBefore="2026-01-01T00:01:00Z") == made[:2]
    assert await listed(shop, **since, Status="canceled") == made[:1]
    assert await listed(shop, **since, Status="pending") == made
    assert await listed(shop, **since, Status="shipped") == []
    answer = await shop.call("GetOrders", **since, Limit="1")
    assert answer["Head"]["TotalCount"] == "4"
    assert await listed(await neighbour(shop), **since) == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ready_To_Ship", "ready_to_ship"),
        ("Pending", "pending"),
        ("Cancel", "canceled"),
        ("cancelled", "canceled"),
        ("return_ship_by_customer", "return_shipped_by_customer"),
        ("return_awaiting_for_approval", "return_waiting_for_approval"),
        ("returned_rejected", "return_rejected"),
        ("failed_delivery", "failed"),
        ("lost", None),
        ("", None),
    ],
)
def test_statuses_have_other_words_on_other_pages(word: str, meant: str | None) -> None:
    assert items.status_of(word) == meant


async def test_a_filter_takes_the_other_words(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A])
    await trade.move_order(shop.seller, number, ItemStatus.CANCELED, Actor.BUYER)
    since = {"CreatedAfter": "2026-01-01T00:00:00Z"}
    assert await listed(shop, **since, Status="Cancel") == [number]
    assert await listed(shop, **since, Status="ready_To_Ship") == []


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ({}, "18"),
        ({"CreatedBefore": "2026-01-01"}, "18"),
        ({"CreatedAfter": "soon"}, "17"),
        ({"CreatedAfter": "2026-01-01", "Status": "sold"}, "36"),
        ({"CreatedAfter": "2026-01-01", "Limit": "0"}, "19"),
        ({"CreatedAfter": "2026-01-01", "Offset": "x"}, "14"),
        ({"CreatedAfter": "2026-01-01", "SortBy": "price"}, "75"),
        ({"CreatedAfter": "2026-01-01", "SortDirection": "up"}, "74"),
    ],
)
async def test_what_orders_cannot_be_asked_for(
    shop: Stall, parameters: dict[str, str], number: str
) -> None:
    assert await shop.refused("GetOrders", **parameters) == number


async def test_items_of_several_orders(shop: Stall) -> None:
    one = await trade.place_order(shop.seller, [A])
    two = await trade.place_order(shop.seller, [A, B])
    answer = await shop.call("GetMultipleOrderItems", OrderIdList=f"[{two},{one}]")
    orders = answer["Body"]["Orders"]["Order"]
    assert [order["OrderId"] for order in orders] == [str(two), str(one)]
    assert orders[1]["OrderItems"]["OrderItem"]["OrderId"] == str(one)

    async def refused(text: str) -> str:
        return await shop.refused("GetMultipleOrderItems", OrderIdList=text)

    assert await refused(f"{one},{two}") == "56"
    assert await refused("[]") == "56"
    assert await refused("[999999]") == "39"
    assert await refused(f"[{one},999999]") == "37"
    assert await refused(f'[{one},"x"]') == "37"
    assert await refused(str(list(range(1, 102))).replace(" ", "")) == "38"


async def test_unknown_orders(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A])
    for action in ("GetOrder", "GetOrderItems"):
        assert await shop.refused(action) == "1"
        assert await shop.refused(action, OrderId="x") == "16"
        assert await shop.refused(action, OrderId="999999") == "16"
        assert await (await neighbour(shop)).refused(action, OrderId=str(number)) == "16"
