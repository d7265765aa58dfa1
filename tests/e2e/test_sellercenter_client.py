"""A client that others wrote, PyPI's FalabellaAPIClient, drives every action of a real server."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest
from FalabellaAPIClient import FalabellaClient  # type: ignore[import-untyped]

from e2e.conftest import LiveNode, live_node
from marketbell.control.sellers import create_seller
from marketbell.control.tokens import Principal
from marketbell.marketplace.sellercenter import runs, trade
from marketbell.marketplace.sellercenter.actions.table import ACTIONS
from marketbell.marketplace.sellercenter.items import Line
from marketbell.marketplace.sellercenter.seller import Seller

T = TypeVar("T")

WEBHOOK = (
    "<Request><Webhook><CallbackUrl>{}</CallbackUrl><Events><Event>onOrderCreated</Event>"
    "<Event>onFeedCompleted</Event></Events></Webhook></Request>"
)
PRODUCT = "<Request><Product><SellerSku>A-1</SellerSku>{}</Product></Request>"
IMAGE = (
    "<Request><ProductImage><SellerSku>A-1</SellerSku><Images><Image>https://img.example/1.png"
    "</Image></Images></ProductImage></Request>"
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node"), marketplaces=True) as node:
        yield node


class Caller:
    """One seller with that client; remembers which actions it did well."""

    def __init__(self, live: LiveNode, organization: str) -> None:
        self.live = live
        market = live.node.marketplaces
        made = live.run(
            create_seller(market.services, Principal(organization), "sellercenter", "Shop")
        )
        self.application = made.application
        self.seller = Seller(
            services=market.services, ledger=market.ledger, application=made.application
        )
        self.client = FalabellaClient(made.login["UserID"], made.login["ApiKey"])
        self.client.url = live.node.marketplace_url
        self.done: set[str] = set()

    def query(self, method: str, action: str, payload: str | None = None, **more: Any) -> Any:
        """The client's one way for any action; see `of`."""
        return self.of(self.client.query(method, {"Action": action, **more}, payload=payload))

    def of(self, answer: dict[str, Any]) -> Any:
        """Head and Body of a success, else the ErrorCode."""
        if "ErrorResponse" in answer:
            return answer["ErrorResponse"]["Head"]["ErrorCode"]
        success = answer["SuccessResponse"]
        self.done.add(success["Head"]["RequestAction"])
        return success

    def feed(self, answer: dict[str, Any]) -> str:
        """Work off the feed that an answer names; its UUID."""
        feed: str = self.of(answer)["Head"]["RequestId"]
        self.run(runs.run_feed(self.seller, feed))
        return feed

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.live.run(work)


@pytest.fixture
def caller(live: LiveNode, organization: str) -> Iterator[Caller]:
    made = Caller(live, organization)
    with made.client.session:
        yield made


def test_every_action(live: LiveNode, caller: Caller, api: httpx.Client) -> None:
    products, orders, client = caller.client.products, caller.client.orders, caller.client
    receiver = live.receiver()
    made = caller.query("post", "CreateWebhook", WEBHOOK.format(receiver.url))
    webhook = made["Body"]["Webhook"]["WebhookId"]
    listed = caller.query("get", "GetWebhooks", WebhookIds=f'["{webhook}"]')
    assert listed["Body"]["Webhooks"]["Webhook"]["CallbackUrl"] == receiver.url
    caller.query("get", "GetWebhookEntities")
    path = f"/app/{caller.application.public_id}/endpoint"
    (endpoint,) = api.get(path).raise_for_status().json()["data"]
    assert (endpoint["url"], endpoint["filterTypes"]) == (
        receiver.url,
        ["onFeedCompleted", "onOrderCreated"],
    )

    feed = caller.feed(products.create(PRODUCT.format("<Name>Lamp</Name>")))
    status = caller.query("get", "FeedStatus", FeedID=feed)
    assert status["Body"]["FeedDetail"]["Status"] == "Finished"
    caller.feed(products.update(PRODUCT.format("<Price>3.00</Price>")))
    caller.feed(client.query("post", {"Action": "Image"}, payload=IMAGE))
    caller.feed(products.remove(PRODUCT.format("")))
    found = caller.of(products.get())["Body"]["Products"]["Product"]
    assert (found["Status"], found["Price"]) == ("deleted", "3.00")
    late = caller.of(products.remove(PRODUCT.format("")))["Head"]["RequestId"]
    caller.query("post", "FeedCancel", FeedID=late)
    assert len(caller.query("get", "FeedList")["Body"]["Feed"]) == 5
    page = caller.query("get", "FeedOffsetList", Status="Canceled")
    assert page["Body"]["Feed"]["Feed"] == late
    assert caller.query("get", "FeedCount")["Body"]["FeedCount"]["Finished"] == "4"

    number = caller.run(trade.place_order(caller.seller, [Line(sku="A-1"), Line(sku="A-1")]))
    items = caller.of(orders.items(number))["Body"]["OrderItems"]["OrderItem"]
    first, second = (item["OrderItemId"] for item in items)
    caller.query("post", "SetStatusToCanceled", OrderItemId=second, Reason="out-of-stock")
    caller.of(orders.set_status_to_ready_to_ship(f"[{first}]", "Blue", "T-1", "dropship"))
    order = caller.of(orders.get(number))["Body"]["Orders"]["Order"]
    assert order["Statuses"]["Status"] == ["canceled", "ready_to_ship"]
    since = caller.of(orders.list(CreatedAfter="2020-01-01", Version="2.0"))
    assert since["Head"]["TotalCount"] == "1"
    several = caller.of(orders.multiple_order_items(f"[{number}]"))
    assert several["Body"]["Orders"]["Order"]["OrderId"] == str(number)

    live.run(receiver.wait_for(5))
    caller.query("post", "DeleteWebhook", f"<Request><Webhook>{webhook}</Webhook></Request>")
    assert api.get(path).json()["data"] == []
    assert caller.done == set(ACTIONS)


def test_an_endpoint_of_the_management_api_is_a_webhook(caller: Caller, api: httpx.Client) -> None:
    url = "https://seller.example/hook?token=a&company=7"
    path = f"/app/{caller.application.public_id}/endpoint"
    api.post(path, json={"url": url, "filterTypes": ["onFeedCreated"]}).raise_for_status()
    webhook = caller.query("get", "GetWebhooks")["Body"]["Webhooks"]["Webhook"]
    assert (webhook["CallbackUrl"], webhook["WebhookSource"]) == (url, "web")


def test_its_space_is_e007_as_upstream(caller: Caller) -> None:
    """It signs `+` where the document says `%20`; `[1, 2]` of its own making has a space too."""
    orders = caller.client.orders
    assert caller.query("get", "GetProducts", Search="a b") == "7"
    assert caller.of(orders.multiple_order_items([1, 2])) == "7"
    assert caller.of(orders.multiple_order_items([1])) == "39"


def test_its_words_that_the_document_does_not_have(caller: Caller) -> None:
    assert caller.of(caller.client.orders.set_status_to_cancelled("[1]", "x")) == "8"
    assert caller.of(caller.client.products.brands()) == "8"


def test_a_wrong_key(caller: Caller) -> None:
    caller.client.key = "0" * 40
    assert caller.query("get", "GetWebhooks") == "7"
