"""What can happen at Seller Center: buyers, couriers, feeds, quality control, figures."""

from __future__ import annotations

import random
from typing import ClassVar, Final, Literal

from marketbell.control.sellers import SELLER_CENTER
from marketbell.dialects.sellercenter import ItemStatus as S
from marketbell.errors import InvalidError, MoveRefusedError
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import products, runs, trade
from marketbell.marketplace.sellercenter.items import ITEM, STATUSES, Line
from marketbell.marketplace.sellercenter.products import ProductStatus, QcStatus, state_of
from marketbell.sandbox import sample
from marketbell.sandbox.act import Act, Facts, Pick, found, some
from marketbell.sandbox.stage import Stage
from marketbell.store.base import Entity

OFFERED: Final = tuple(state_of(ProductStatus.ACTIVE, quality) for quality in QcStatus)
"""The states of a product that is offered."""

ITEMS_MAX: Final = 10


class Buy(Act, frozen=True):
    """A buyer orders products, one item of each."""

    marketplace = SELLER_CENTER
    name = "buy"
    skus: tuple[str, ...] | None = None
    count: int = 1
    """How many items, if no product is named."""

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        if self.skus is not None:
            known = await stage.shop.keyed(products.KIND, self.skus)
            lines = [_line(known[sku]) if sku in known else Line(sku=sku) for sku in self.skus]
        else:
            if not 1 <= self.count <= ITEMS_MAX:
                raise InvalidError(
                    ("body", "count"), f"{self.count} is not between 1 and {ITEMS_MAX}"
                )
            offered = await found(stage, SELLER_CENTER, products.KIND, *OFFERED)
            lines = [_line(some(offered, pick, "product on offer")) for _ in range(self.count)]
        rng = random.Random(f"buyer {[line.sku for line in lines]}")  # noqa: S311 - to be reproduced
        number = await trade.place_order(stage.shop, lines, sample.shopper(rng))
        order = await trade.order_of(stage.shop, number)
        return {"order_id": number, "item_ids": [item.number for item in order.items]}


def _line(product: Entity) -> Line:
    body = products.body_of(product)
    return Line(sku=product.key, name=body.text("Name"), price=body.text("Price") or "0.00")


class _ItemsAct(Act, frozen=True):
    """All items of an order that can make this move, or those that are named."""

    marketplace = SELLER_CENTER
    target: ClassVar[S]
    actor: ClassVar[Actor]
    sources: ClassVar[tuple[S, ...]]

    order_id: int | None = None
    item_ids: tuple[int, ...] | None = None

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        number = self.order_id
        if number is None:
            there = await found(stage, SELLER_CENTER, ITEM, *self.sources)
            number = some(there, pick, f"item that is {' or '.join(self.sources)}").parent
        order = await trade.order_of(stage.shop, number)
        chosen = self.item_ids
        if chosen is None:
            movable = [one for one in order.items if STATUSES[one.state] in self.sources]
            chosen = tuple(one.number for one in movable or order.items)
        await trade.move_items(stage.shop, number, dict.fromkeys(chosen, self.target), self.actor)
        return {"order_id": number, "item_ids": list(chosen)}


class Process(_ItemsAct, frozen=True):
    """The platform takes an order into its hands before it is ready."""

    name = "process"
    target, actor, sources = S.PROCESSING, Actor.SYSTEM, (S.PENDING,)


class Ready(_ItemsAct, frozen=True):
    """Items are ready to ship: by the seller, or by the platform if they are being processed."""

    name = "ready"
    target, actor, sources = S.READY_TO_SHIP, Actor.SYSTEM, (S.PENDING, S.PROCESSING)


class Cancel(_ItemsAct, frozen=True):
    """The buyer cancels what has not been made ready yet."""

    name = "cancel"
    target, actor, sources = S.CANCELED, Actor.BUYER, (S.PENDING, S.PROCESSING)


class Ship(_ItemsAct, frozen=True):
    """The courier fetches what is ready."""

    name = "ship"
    target, actor, sources = S.SHIPPED, Actor.COURIER, (S.READY_TO_SHIP,)


class Deliver(_ItemsAct, frozen=True):
    """The courier brings what was shipped to the buyer."""

    name = "deliver"
    target, actor, sources = S.DELIVERED, Actor.COURIER, (S.SHIPPED,)


class FailDelivery(_ItemsAct, frozen=True):
    """The courier gives up on what was shipped."""

    name = "fail-delivery"
    target, actor, sources = S.FAILED, Actor.COURIER, (S.SHIPPED,)


class Return(_ItemsAct, frozen=True):
    """The buyer hands in what he sends back."""

    name = "return"
    target, actor, sources = S.RETURN_SHIPPED_BY_CUSTOMER, Actor.BUYER, (S.DELIVERED,)


class Receive(_ItemsAct, frozen=True):
    """What comes back reaches the seller, who has 72 hours for a word."""

    name = "receive"
    target, actor = S.RETURN_WAITING_FOR_APPROVAL, Actor.COURIER
    sources = (S.RETURN_SHIPPED_BY_CUSTOMER,)


class Accept(_ItemsAct, frozen=True):
    """The seller accepts what came back."""

    name = "accept"
    target, actor, sources = S.RETURNED, Actor.SELLER, (S.RETURN_WAITING_FOR_APPROVAL,)


class Reject(_ItemsAct, frozen=True):
    """The platform rejects a return that the seller disputed."""

    name = "reject"
    target, actor, sources = S.RETURN_REJECTED, Actor.SYSTEM, (S.RETURN_WAITING_FOR_APPROVAL,)


class Qc(Act, frozen=True):
    """Quality control has a new word for products."""

    marketplace = SELLER_CENTER
    name = "qc"
    status: Literal["approved", "rejected", "pending"] = "approved"
    skus: tuple[str, ...] | None = None

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        quality = QcStatus(self.status)
        skus = self.skus
        if skus is None:
            others = [state_of(ProductStatus.ACTIVE, one) for one in QcStatus if one is not quality]
            there = await found(stage, SELLER_CENTER, products.KIND, *others)
            skus = (some(there, pick, f"product on offer that is not {quality}").key,)
        if not skus:
            raise MoveRefusedError("Name a product, or leave skus out.")
        changed = await runs.judge_products(stage.shop, skus, quality)
        return {"skus": list(changed)}


class Statistics(Act, frozen=True):
    """The platform has computed the seller's statistics anew."""

    marketplace = SELLER_CENTER
    name = "statistics"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        del pick
        await runs.update_statistics(stage.shop)
        return {}


class Metrics(Act, frozen=True):
    """The platform has computed the seller's metrics anew."""

    marketplace = SELLER_CENTER
    name = "metrics"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        del pick
        await runs.update_metrics(stage.shop)
        return {}


ACTS: Final[tuple[type[Act], ...]] = (
    Buy,
    Process,
    Ready,
    Cancel,
    Ship,
    Deliver,
    FailDelivery,
    Return,
    Receive,
    Accept,
    Reject,
    Qc,
    Statistics,
    Metrics,
)
"""All of them, in the order of a sale's life."""
