"""
The dialect `sellercenter`: callbacks of the Seller Center that Falabella and Linio run.

Sources: the payload definitions and the webhook introduction on developers.falabella.com,
and Jumia's Seller Center API 2.7.11, which has the same table of retries.
"""

from __future__ import annotations

from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from marketbell.dialects import headers
from marketbell.dialects.base import AttemptStart, Request, Schedule, Signal
from marketbell.dialects.catalogue import Catalogue, Described, EventType
from marketbell.model import Endpoint, Message

_MINUTE: Final = 60_000
_DAY: Final = 24 * 60 * _MINUTE

SCHEDULE: Final = Schedule(
    waits=tuple(minutes * _MINUTE for minutes in (1, 5, 10, 30, 60, 120, 300, 600, 1440)),
    repeat_last=True,
    horizon=30 * _DAY,
)
"""Eight short waits, then one a day until 30 days have passed: 37 retries, 38 attempts."""

E = TypeVar("E")
D = TypeVar("D")
Id = TypeVar("Id")


class ItemStatus(Described):
    """The eleven words for where an order's item stands, in the document's spelling."""

    SHIPPED = "shipped", "on its way to the buyer"
    RETURNED = "returned", "the return was accepted"
    RETURN_WAITING_FOR_APPROVAL = (
        "return_waiting_for_approval",
        "the seller has the return and must accept or dispute it",
    )
    RETURN_SHIPPED_BY_CUSTOMER = "return_shipped_by_customer", "the buyer handed the return in"
    RETURN_REJECTED = "return_rejected", "the seller won the dispute over the return"
    READY_TO_SHIP = "ready_to_ship", "packed and waiting for the carrier"
    PROCESSING = "processing", "taken up, not ready yet"
    PENDING = "pending", "new, to be made ready by the seller"
    FAILED = "failed", "could not be delivered"
    DELIVERED = "delivered", "with the buyer"
    CANCELED = "canceled", "will not be shipped"


Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""An id as a publisher gives it, and as it is sent unless ids go as strings."""

Text = Annotated[str, Meta(pattern="^[1-9][0-9]*$")]
"""The same id in digits."""

FeedId = Annotated[
    str,
    Meta(
        min_length=1,
        description="Id of the feed; FeedStatus tells more of it.",
    ),
]
SellerSkus = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...],
    Meta(min_length=1, description="The seller's SKUs, one or many: all that one run touched."),
]


class Feed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="pascal"):
    """The feed that it is about."""

    feed: FeedId


class Products(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="pascal"
):
    """The products that it is about."""

    seller_skus: SellerSkus


class OrderCreated(
    msgspec.Struct,
    Generic[Id],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="pascal",
):
    """The order that was placed."""

    order_id: Annotated[Id, Meta(description="Id of the order; GetOrder tells more of it.")]


class OrderItemsStatusChanged(
    msgspec.Struct,
    Generic[Id],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="pascal",
):
    """Items of one order, and the one status that they all have now."""

    order_id: Annotated[Id, Meta(description="Id of the order; GetOrder tells more of it.")]
    order_item_ids: Annotated[
        tuple[Id, ...],
        Meta(min_length=1, description="Only the items that changed; a list even for one."),
    ]
    new_status: Annotated[ItemStatus, ItemStatus.field("The items' new status.")]


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty object: that it happened is all there is to say."""


class Body(msgspec.Struct, Generic[E, D], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the Seller Center posts for every event; it carries no id and no time."""

    event: Annotated[E, Meta(extra_json_schema={"type": "string"})]
    payload: D


_FEED: Final = (Feed(feed="829a8d2a-d370-4fa6-8613-8554f43d5fed"),)
_SKU: Final = "NI006ELAAGWDNAFAMZ-{}"

_FEEDS_AND_PRODUCTS: Final = (
    EventType(
        name="onFeedCreated",
        title="Feed created",
        subject="feed",
        description="A feed was queued.",
        fires="For feeds of four kinds only: products created, updated or removed, and images. "
        "Stock and price feeds fire nothing.",
        payload=Feed,
        body=Body[Literal["onFeedCreated"], Feed],
        examples=_FEED,
    ),
    EventType(
        name="onFeedCompleted",
        title="Feed completed",
        subject="feed",
        description="A feed was finished; single records in it may have failed.",
        fires="For the same four kinds, and only for a feed that finished. One that was canceled "
        "or ended in an error is silent: ask FeedStatus if nothing comes.",
        payload=Feed,
        body=Body[Literal["onFeedCompleted"], Feed],
        examples=_FEED,
    ),
    EventType(
        name="onProductCreated",
        title="Product created",
        subject="product",
        description="Products were created.",
        fires="Once for each feed run, with every SKU that it created.",
        payload=Products,
        body=Body[Literal["onProductCreated"], Products],
        examples=(Products(seller_skus=(_SKU.format(43340),)),),
    ),
    EventType(
        name="onProductUpdated",
        title="Product updated",
        subject="product",
        description="Products were changed.",
        fires="Once for each feed run, with every SKU that it changed.",
        payload=Products,
        body=Body[Literal["onProductUpdated"], Products],
        examples=(Products(seller_skus=tuple(_SKU.format(n) for n in range(43340, 43344))),),
    ),
    EventType(
        name="onProductQcStatusChanged",
        title="Product quality control status changed",
        subject="product",
        description="Quality control approved or rejected products.",
        fires="When the quality control status of products changes.",
        payload=Products,
        body=Body[Literal["onProductQcStatusChanged"], Products],
        examples=(Products(seller_skus=(_SKU.format(43341), _SKU.format(43342))),),
    ),
)

_METRICS_AND_STATISTICS: Final = (
    EventType(
        name="onMetricsUpdated",
        title="Metrics updated",
        subject="metrics",
        description="The seller's metrics were computed anew.",
        fires="Listed among the event aliases, and documented nowhere else; the payload is empty "
        "as in onStatisticsUpdated.",
        payload=Nothing,
        body=Body[Literal["onMetricsUpdated"], Nothing],
        examples=(Nothing(),),
    ),
    EventType(
        name="onStatisticsUpdated",
        title="Statistics updated",
        subject="statistics",
        description="The seller's statistics were computed anew.",
        fires="When the statistics change; ask the API for them.",
        payload=Nothing,
        body=Body[Literal["onStatisticsUpdated"], Nothing],
        examples=(Nothing(),),
    ),
)


def _orders(*, as_strings: bool) -> tuple[EventType, ...]:
    created: type[msgspec.Struct] = Body[Literal["onOrderCreated"], OrderCreated[Number]]
    changed: type[msgspec.Struct] = Body[
        Literal["onOrderItemsStatusChanged"], OrderItemsStatusChanged[Number]
    ]
    if as_strings:
        created = Body[Literal["onOrderCreated"], OrderCreated[Text]]
        changed = Body[Literal["onOrderItemsStatusChanged"], OrderItemsStatusChanged[Text]]
    return (
        EventType(
            name="onOrderCreated",
            title="Order created",
            subject="order",
            description="A buyer placed an order with the seller.",
            fires="Once for each new order.",
            payload=OrderCreated[Number],
            body=created,
            examples=(OrderCreated(order_id=190),),
        ),
        EventType(
            name="onOrderItemsStatusChanged",
            title="Order items' status changed",
            subject="order",
            description="Items of one order have a new status.",
            fires="Once for each order and new status, with only the items that changed; items of "
            "one order that go to different statuses make several events.",
            payload=OrderItemsStatusChanged[Number],
            body=changed,
            examples=(
                OrderItemsStatusChanged(
                    order_id=190, order_item_ids=(2, 3), new_status=ItemStatus.READY_TO_SHIP
                ),
            ),
        ),
    )


class SellerCenter:
    """
    `{event, payload}` to the endpoint, unsigned; only 200 is a success.

    `ids_as_strings` writes the ids of orders and items as JSON strings, as THE ICONIC's
    Seller Center does; publishers give numbers either way.
    """

    name = "sellercenter"
    schedule = SCHEDULE
    honours: frozenset[Signal] = frozenset()
    https_only = True

    def __init__(self, *, ids_as_strings: bool = False) -> None:
        self._ids_as_strings = ids_as_strings
        self._encode = msgspec.json.Encoder().encode
        self.catalogue = Catalogue(
            (
                *_FEEDS_AND_PRODUCTS,
                *_orders(as_strings=ids_as_strings),
                *_METRICS_AND_STATISTICS,
            )
        )

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """
        The request; byte for byte the same on every attempt.

        An event type of the catalogue is written anew from its typed definition, any other
        carries its payload's own bytes. Raises InvalidError if the payload of one in the
        catalogue does not fit, as one that was never checked against it may.
        """
        data = self.catalogue.decode(message.event_type, message.payload)
        if self._ids_as_strings:
            data = _with_text_ids(data)
        body = Body(
            event=message.event_type,
            payload=msgspec.Raw(message.payload) if data is None else data,
        )
        return Request(headers.with_own(headers.JSON, endpoint), self._encode(body))

    def accepted(self, status: int) -> bool:
        """200 and nothing else: the document names no other code."""
        return status == 200


def _with_text_ids(data: msgspec.Struct | None) -> msgspec.Struct | None:
    match data:
        case OrderCreated(order_id=order_id):
            return OrderCreated(order_id=str(order_id))
        case OrderItemsStatusChanged(order_id=order_id, order_item_ids=items, new_status=status):
            return OrderItemsStatusChanged(
                order_id=str(order_id),
                order_item_ids=tuple(str(item) for item in items),
                new_status=status,
            )
    return data
