"""Scenarios as data: what happens step by step, and what must be told of each step. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from marketbell.control.sellers import OVOKO, SELLER_CENTER
from marketbell.errors import NotFoundError

PartStatus = "part.status.changed"
Items = "onOrderItemsStatusChanged"


class Told(msgspec.Struct, frozen=True):
    """An event that must follow; `word` is its new status, where it has one."""

    event_type: str
    word: str | None = None

    def __str__(self) -> str:
        return self.event_type if self.word is None else f"{self.event_type} {self.word}"


class Step(msgspec.Struct, frozen=True):
    """One act, and exactly the events that must follow from it, in their order."""

    marketplace: str
    act: str
    fields: Mapping[str, object] = {}
    """What the act is given. `$order_id` is what an earlier step of this scenario came to."""
    told: tuple[Told, ...] = ()
    refused: bool = False
    """Whether the act must be refused, with nothing told."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A story with a name."""

    name: str
    title: str
    steps: tuple[Step, ...]


def _ovoko(act: str, *told: str | tuple[str, str], **fields: object) -> Step:
    return Step(OVOKO, act, fields, _events(told))


def _shop(act: str, *told: str | tuple[str, str], **fields: object) -> Step:
    return Step(SELLER_CENTER, act, fields, _events(told))


def _events(told: Iterable[str | tuple[str, str]]) -> tuple[Told, ...]:
    return tuple(Told(one) if isinstance(one, str) else Told(*one) for one in told)


_SOLD: Final = (
    _ovoko("buy", "order.created", (PartStatus, "sold")),
    _ovoko("deliver", order_id="$order_id"),
)
_BACK: Final = (
    _ovoko("return", "order.return.created", order_id="$order_id"),
    _ovoko(
        "receive",
        "order.return.updated",
        (PartStatus, "returned"),
        return_id="$return_id",
    ),
)
_SHIPPED: Final = (
    _shop("buy", "onOrderCreated", count=2),
    _shop("ready", (Items, "ready_to_ship"), order_id="$order_id"),
    _shop("ship", (Items, "shipped"), order_id="$order_id"),
)
_DELIVERED: Final = (*_SHIPPED, _shop("deliver", (Items, "delivered"), order_id="$order_id"))
_SENT_BACK: Final = (
    *_DELIVERED,
    _shop("return", (Items, "return_shipped_by_customer"), order_id="$order_id"),
    _shop("receive", (Items, "return_waiting_for_approval"), order_id="$order_id"),
)
_FED: Final = (
    _shop("feed", "onFeedCreated", action="ProductCreate", count=2),
    _shop("feed-finish", "onProductCreated", "onFeedCompleted", feed="$feed"),
)

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(
        name="sold-and-returned",
        title="Ovoko: a part is sold, comes back and is for sale again",
        steps=(
            *_SOLD,
            *_BACK,
            _ovoko(
                "part",
                (PartStatus, "in_warehouse"),
                "order.return.updated",
                move="accept",
                part_id="$part_id",
            ),
        ),
    ),
    Scenario(
        name="order-cancelled",
        title="Ovoko: a buyer cancels, and the part is for sale again",
        steps=(
            _SOLD[0],
            _ovoko("cancel", "order.cancelled", (PartStatus, "in_warehouse"), order_id="$order_id"),
        ),
    ),
    Scenario(
        name="return-of-two-parts",
        title="Ovoko: a second part joins the return that is open",
        steps=(
            _ovoko("buy", "order.created", (PartStatus, "sold"), (PartStatus, "sold"), count=2),
            _ovoko("deliver", order_id="$order_id"),
            _ovoko("return", "order.return.created", order_id="$order_id"),
            _ovoko("return", "order.return.updated", order_id="$order_id"),
            _ovoko(
                "receive",
                "order.return.updated",
                (PartStatus, "returned"),
                (PartStatus, "returned"),
                return_id="$return_id",
            ),
        ),
    ),
    Scenario(
        name="written-off",
        title="Ovoko: a part comes back broken and is written off for good",
        steps=(
            *_SOLD,
            *_BACK,
            _ovoko(
                "part",
                (PartStatus, "written_off"),
                "order.return.updated",
                move="write-off",
                part_id="$part_id",
            ),
            Step(OVOKO, "part", {"move": "reserve", "part_id": "$part_id"}, refused=True),
        ),
    ),
    Scenario(
        name="reserved-and-released",
        title="Ovoko: a part is set aside and let go again",
        steps=(
            _ovoko("part", (PartStatus, "reserved"), move="reserve"),
            _ovoko("part", (PartStatus, "in_warehouse"), move="release", part_id="$part_id"),
        ),
    ),
    Scenario(
        name="sold-elsewhere",
        title="Ovoko: its integrations sell at eBay and Allegro, and lose track of a part",
        steps=(
            _ovoko("part", (PartStatus, "sold_in_ebay"), move="sell-in-ebay"),
            _ovoko("part", (PartStatus, "sold_in_allegro"), move="sell-in-allegro"),
            _ovoko("part", (PartStatus, "unknown_stock_status"), move="lose-track"),
            _ovoko("part", (PartStatus, "in_warehouse"), move="find", part_id="$part_id"),
        ),
    ),
    Scenario(
        name="feed-finished",
        title="Seller Center: a feed creates products and is completed; quality control approves one",
        steps=(
            *_FED,
            _shop("qc", "onProductQcStatusChanged", status="approved", skus="$skus"),
        ),
    ),
    Scenario(
        name="feed-failed",
        title="Seller Center: a feed ends in an error, which nobody is told of",
        steps=(
            _shop("feed", "onFeedCreated", action="ProductUpdate"),
            _shop("feed-fail", feed="$feed"),
        ),
    ),
    Scenario(
        name="delivered",
        title="Seller Center: an order of two items reaches its buyer",
        steps=_DELIVERED,
    ),
    Scenario(
        name="delivery-failed",
        title="Seller Center: the courier gives up",
        steps=(*_SHIPPED, _shop("fail-delivery", (Items, "failed"), order_id="$order_id")),
    ),
    Scenario(
        name="canceled-before-shipping",
        title="Seller Center: the buyer cancels what is still pending",
        steps=(
            _SHIPPED[0],
            _shop("cancel", (Items, "canceled"), order_id="$order_id"),
            Step(SELLER_CENTER, "ship", {"order_id": "$order_id"}, refused=True),
        ),
    ),
    Scenario(
        name="returned-and-accepted",
        title="Seller Center: an order comes back and is accepted",
        steps=(*_SENT_BACK, _shop("accept", (Items, "returned"), order_id="$order_id")),
    ),
    Scenario(
        name="returned-and-rejected",
        title="Seller Center: an order comes back, and the return is rejected",
        steps=(*_SENT_BACK, _shop("reject", (Items, "return_rejected"), order_id="$order_id")),
    ),
    Scenario(
        name="all-events",
        title="Both: each of the fourteen event types at least once",
        steps=(
            _ovoko("buy", "order.created", (PartStatus, "sold"), (PartStatus, "sold"), count=2),
            _ovoko("deliver", order_id="$order_id"),
            _ovoko("return", "order.return.created", order_id="$order_id"),
            _ovoko("return", "order.return.updated", order_id="$order_id"),
            _SOLD[0],
            _ovoko("cancel", "order.cancelled", (PartStatus, "in_warehouse"), order_id="$order_id"),
            *_FED,
            _shop("qc", "onProductQcStatusChanged", status="approved", skus="$skus"),
            _shop("feed", "onFeedCreated", action="ProductUpdate", skus="$skus"),
            _shop("feed-finish", "onProductUpdated", "onFeedCompleted", feed="$feed"),
            *_SHIPPED,
            _shop("statistics", "onStatisticsUpdated"),
            _shop("metrics", "onMetricsUpdated"),
        ),
    ),
)


def scenario(name: str) -> Scenario:
    """The scenario of this name. NotFoundError lists those that there are."""
    for one in SCENARIOS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in SCENARIOS)
    raise NotFoundError(f"There is no scenario {name[:64]!r}; there are: {names}.")
