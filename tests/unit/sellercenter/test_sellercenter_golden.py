"""
Every request and answer of the Action API to the byte, XML and JSON, with none, one and many elements.

The files are in tests/golden/sellercenter. `WRITE_GOLDEN=1 pytest THIS_FILE` writes them anew; read the
difference before you keep it. UUIDs and signatures stand in them as words, in order of coming.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from marketbell.dialects.sellercenter import ItemStatus
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import runs, signature, trade
from marketbell.marketplace.sellercenter.actions.table import ACTIONS
from marketbell.marketplace.sellercenter.actions.webhooks import webhook_id, webhooks_of
from marketbell.marketplace.sellercenter.items import Line
from marketbell.testing import FakeClock
from support.selling import Stall, stall

FOLDER: Final = Path(__file__).parents[2] / "golden" / "sellercenter"
SUFFIX: Final = {"XML": "xml", "JSON": "json"}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

URL = "http://127.0.0.1:9999/hook?token=a&amp;company=7"
LAMP = Line(sku="LAMP-1", name="Lamp & shade", price="24990.00")
SHADE = Line(sku="SHADE-2", name="Shade", price="9990.00")


def webhook(*events: str) -> str:
    inner = "".join(f"<Event>{event}</Event>" for event in events)
    return (
        f"<Request><Webhook><CallbackUrl>{URL}</CallbackUrl><Events>{inner}</Events>"
        "</Webhook></Request>"
    )


def product(sku: str, inner: str = "") -> str:
    return f"<Product><SellerSku>{sku}</SellerSku>{inner}</Product>"


class Script:
    """One pass over all calls in one format; each gives its name, its request and its answer."""

    def __init__(self, shop: Stall, form: str) -> None:
        self.shop = shop
        self.form = form
        self.names: dict[str, str] = {}
        self.pages: dict[str, tuple[str, str]] = {}

    async def call(
        self, name: str, action: str, body: str = "", *, method: str = "", **parameters: str
    ) -> str:
        """Make a call and keep it; the first UUID of the answer."""
        verb = method or ("POST" if body else "GET")
        signed = self.shop.signed(action, Format=self.form, **parameters)
        answer = await self.shop.send(verb, signed, body)
        query = signature.canonical(signed)
        asked = f"{verb} /?{query}&Signature=SIGNATURE HTTP/1.1\n\n{body}"
        assert name not in self.pages
        self.pages[name] = (self.told(asked), self.told(answer.text))
        found = _UUID.search(answer.text)
        return found[0] if found else ""

    def told(self, text: str) -> str:
        """With UUIDs as words, in order of coming; quoted dashes of a query are the same."""
        return _UUID.sub(
            lambda found: self.names.setdefault(found[0], f"UUID-{len(self.names) + 1}"), text
        )

    async def play(self) -> None:
        for part in (self.webhooks, self.feeds, self.products, self.orders, self.errors):
            await part()

    async def webhooks(self) -> None:
        await self.call("get-webhooks-none", "GetWebhooks")
        await self.call("create-webhook-one-event", "CreateWebhook", webhook("onOrderCreated"))
        await self.call("get-webhooks-one", "GetWebhooks")
        events = webhook("onFeedCompleted", "onOrderItemsStatusChanged")
        made = await self.call("create-webhook-many-events", "CreateWebhook", events)
        await self.call("get-webhooks-many", "GetWebhooks")
        await self.call("get-webhooks-by-id", "GetWebhooks", WebhookIds=f'["{made}"]')
        await self.call("get-webhook-entities", "GetWebhookEntities")
        await self.call(
            "delete-webhook", "DeleteWebhook", f"<Request><Webhook>{made}</Webhook></Request>"
        )

    async def feeds(self) -> None:
        seller = self.shop.seller
        await self.call("feed-list-none", "FeedList")
        one = f"<Request>{product('LAMP-1', '<Name>Lamp &amp; shade</Name>')}</Request>"
        feed = await self.call("product-create-one", "ProductCreate", one)
        await self.call("feed-list-one", "FeedList")
        await self.call("feed-status-queued", "FeedStatus", FeedID=feed)
        await runs.run_feed(seller, feed)
        await self.call("feed-status-finished", "FeedStatus", FeedID=feed)
        shade = (
            "<Name>Shade</Name><Quantity>3</Quantity><ProductData><Color>red</Color></ProductData>"
        )
        many = product("SHADE-2", shade) + product("LAMP-1", "<Name>Again</Name>")
        many += product("BARE-3") + product("SHADE-2", shade)
        feed = await self.call("product-create-many", "ProductCreate", f"<Request>{many}</Request>")
        await runs.run_feed(seller, feed)
        await self.call("feed-status-with-errors", "FeedStatus", FeedID=feed)
        await self.call("feed-list-many", "FeedList")
        await self.call("feed-offset-list", "FeedOffsetList", Offset="1", PageSize="1")
        feed = await self.call(
            "product-remove", "ProductRemove", f"<Request>{product('LAMP-1')}</Request>"
        )
        await self.call("feed-cancel", "FeedCancel", method="POST", FeedID=feed)
        await self.call("feed-count", "FeedCount")

    async def products(self) -> None:
        seller = self.shop.seller
        await self.call("get-products-none", "GetProducts", Search="nothing")
        await self.call("get-products-one", "GetProducts", SkuSellerList='["LAMP-1"]')
        feed = await self.call(
            "product-update",
            "ProductUpdate",
            f"<Request>{product('LAMP-1', '<Price>19.90</Price>')}</Request>",
        )
        await runs.run_feed(seller, feed)
        images = "".join(f"<Image>https://img.example/{one}.png</Image>" for one in "ab")
        feed = await self.call(
            "image",
            "Image",
            "<Request><ProductImage><SellerSku>SHADE-2</SellerSku>"
            f"<Images>{images}</Images></ProductImage></Request>",
        )
        await runs.run_feed(seller, feed)
        await self.call("get-products-many", "GetProducts")

    async def orders(self) -> None:
        seller, since = self.shop.seller, {"CreatedAfter": "2026-01-01T00:00:00Z"}
        await self.call("get-orders-none", "GetOrders", **since)
        first = await trade.place_order(seller, [LAMP])
        await self.call("get-orders-one", "GetOrders", **since)
        await self.call("get-order-items-one", "GetOrderItems", OrderId=str(first))
        second = await trade.place_order(seller, [LAMP, SHADE, SHADE])
        one, two, three = (item.number for item in (await trade.order_of(seller, second)).items)
        await self.call(
            "set-status-to-canceled",
            "SetStatusToCanceled",
            method="POST",
            OrderItemId=str(three),
            Reason="out of stock",
        )
        ready = {"DeliveryType": "dropship", "ShippingProvider": "Blue", "TrackingNumber": "T-1"}
        for name, ids in (("one", f"[{one}]"), ("many", f"[{one},{two}]")):
            await self.call(
                f"set-status-to-ready-to-ship-{name}",
                "SetStatusToReadyToShip",
                method="POST",
                OrderItemIds=ids,
                **ready,
            )
        await trade.move_order(seller, second, ItemStatus.SHIPPED, Actor.COURIER)
        await self.call("get-order", "GetOrder", OrderId=str(second))
        await self.call("get-order-items-many", "GetOrderItems", OrderId=str(second))
        await self.call("get-orders-many", "GetOrders", Version="2.0", **since)
        for name, ids in (("one", f"[{first}]"), ("many", f"[{first},{second}]")):
            await self.call(
                f"get-multiple-order-items-{name}", "GetMultipleOrderItems", OrderIdList=ids
            )

    async def errors(self) -> None:
        await self.call("error-e001", "GetOrder")
        await self.call("error-e007", "FeedList", Signature="0" * 64)
        await self.call("error-e008", "FeedLost")
        await self.call("error-e012", "FeedStatus", FeedID="7")
        bad = webhook("onOrderCreated").replace("http://127.0.0.1:9999", "https://10.0.0.1")
        await self.call("error-e098", "CreateWebhook", bad)
        await self.call("error-e099", "CreateWebhook", webhook("onSale"))


@pytest.fixture(params=["XML", "JSON"])
async def script(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Script]:
    async with stall(tmp_path, FakeClock()) as shop:
        played = Script(shop, request.param)
        await played.play()
        yield played


async def test_every_request_and_answer_is_as_in_its_file(script: Script) -> None:
    suffix = SUFFIX[script.form]
    for name, (asked, answer) in script.pages.items():
        for path, text in (
            (FOLDER / f"{name}.{suffix}.request", asked),
            (FOLDER / f"{name}.{suffix}", answer),
        ):
            if os.environ.get("WRITE_GOLDEN"):
                path.write_text(text)
            assert text == path.read_text(), path.name


async def test_every_action_and_every_file_is_used(script: Script) -> None:
    called = {asked.partition("Action=")[2].partition("&")[0] for asked, _ in script.pages.values()}
    assert set(ACTIONS) <= called
    suffix = SUFFIX[script.form]
    names = {f"{name}.{suffix}{end}" for name in script.pages for end in ("", ".request")}
    assert {path.name for path in FOLDER.glob(f"*.{suffix}*")} == names


async def test_the_ids_that_words_stand_for_are_those_of_endpoints(script: Script) -> None:
    (endpoint,) = await webhooks_of(script.shop.seller)
    assert webhook_id(endpoint.public_id) in script.names
