"""What can happen at Seller Center: buyers, couriers, feeds, quality control, figures."""

from __future__ import annotations

import random
from typing import ClassVar, Final, Literal

from marketbell.control.sellers import SELLER_CENTER
from marketbell.dialects.sellercenter import ItemStatus as S
from marketbell.errors import InvalidError, MoveRefusedError
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import feeds, products, runs, trade
from marketbell.marketplace.sellercenter.feeds import FeedStatus, Record
from marketbell.marketplace.sellercenter.items import ITEM, STATUSES, Line
from marketbell.marketplace.sellercenter.products import ProductStatus, QcStatus, state_of
from marketbell.sandbox import sample
from marketbell.sandbox.act import Act, Facts, Pick, found, some
from marketbell.sandbox.stage import Stage
from marketbell.store.base import Entity, EntityFilter

_OFFERED: Final = tuple(state_of(ProductStatus.ACTIVE, quality) for quality in QcStatus)
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
            offered = await found(stage, SELLER_CENTER, products.KIND, *_OFFERED)
            lines = [
                _line(some(offered, pick, "product on offer")) for _ in range(self.count)
            ]
        rng = random.Random(f"buyer {[line.sku for line in lines]}")  # noqa: S311 - to be reproduced
        number = await trade.place_order(stage.shop, lines, sample.shopper(rng))
        order = await trade.order_of(stage.shop, number)
        return {"order_id": number, "item_ids": [item.number for item in order.items]}


def _line(product: Entity) -> Line:
    body = products.body_of(product)
    return Line(
        sku=product.key, name=body.text("Name"), price=body.text("Price") or "0.00"
    )


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
        await trade.move_items(
            stage.shop, number, dict.fromkeys(chosen, self.target), self.actor
        )
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


class Feed(Act, frozen=True):
    """The seller posts a feed, which is queued until somebody finishes or fails it here."""

    marketplace = SELLER_CENTER
    name = "feed"
    action: Literal["ProductCreate", "ProductUpdate", "ProductRemove", "Image"] = "ProductCreate"
    skus: tuple[str, ...] | None = None
    count: int = 1
    """How many products, if none is named."""
    seed: int = 1
    """What new products are like, and what they are called if none is named."""
    feed: str | None = None
    """The feed's UUID; made up if left out."""

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        skus = self.skus
        if skus is None:
            if not 1 <= self.count <= ITEMS_MAX:
                raise InvalidError(
                    ("body", "count"), f"{self.count} is not between 1 and {ITEMS_MAX}"
                )
            skus = await self._skus(stage, pick)
        records = [self._record(sku) for sku in skus]
        feed = await runs.create_feed(stage.shop, self.action, records, feed_id=self.feed)
        stage.by_hand.add(feed)
        return {"feed": feed, "skus": list(skus)}

    async def _skus(self, stage: Stage, pick: Pick) -> tuple[str, ...]:
        if self.action == "ProductCreate":
            # It rises with every feed, so a second call makes other products, not errors.
            first = 1
            for kind in (products.KIND, feeds.KIND):
                counts = await stage.services.store.count_entities(
                    stage.shop.application.id, EntityFilter(kind=kind)
                )
                first += sum(counts.values())
            return tuple(f"SANDBOX-{first + place:03}" for place in range(self.count))
        offered = await found(stage, SELLER_CENTER, products.KIND, *_OFFERED)
        chosen: list[str] = []
        while len(chosen) < self.count:
            product = some(offered, pick, "product on offer" if not chosen else "other product")
            offered.remove(product)
            chosen.append(product.key)
        return tuple(chosen)

    def _record(self, sku: str) -> Record:
        rng = random.Random(f"record {self.seed} {sku}")  # noqa: S311 - to be reproduced
        full = sample.record(rng, sku)
        if self.action == "ProductCreate":
            return full
        if self.action == "ProductUpdate":
            changed = ("Price", "Quantity")
            return Record(sku, tuple(one for one in full.fields if one.name in changed))
        if self.action == "ProductRemove":
            return Record(sku)
        return Record(sku, (sample.image(rng, sku),))


class _FeedAct(Act, frozen=True):
    marketplace = SELLER_CENTER
    states: ClassVar[tuple[FeedStatus, ...]] = (FeedStatus.QUEUED, FeedStatus.PROCESSING)

    feed: str | None = None

    async def _chosen(self, stage: Stage, pick: Pick) -> str:
        if self.feed is not None:
            return self.feed
        there = await found(stage, SELLER_CENTER, feeds.KIND, *self.states)
        return some(there, pick, f"feed that is {' or '.join(self.states)}").key


class FeedStart(_FeedAct, frozen=True):
    """The platform takes a queued feed up. No event tells of it."""

    name = "feed-start"
    states = (FeedStatus.QUEUED,)

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        feed = await self._chosen(stage, pick)
        await runs.start_feed(stage.shop, feed)
        stage.by_hand.add(feed)
        return {"feed": feed}


class FeedFinish(_FeedAct, frozen=True):
    """The platform works a feed off: its products change, and then it is completed."""

    name = "feed-finish"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        feed = await self._chosen(stage, pick)
        body = await runs.run_feed(stage.shop, feed)
        stage.by_hand.discard(feed)
        return {"feed": feed, "processed": body.processed, "failed": body.failed}


class FeedFail(_FeedAct, frozen=True):
    """The platform cannot work a feed off; it ends in an error, and nobody is told."""

    name = "feed-fail"
    reason: str = "The feed could not be read"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        feed = await self._chosen(stage, pick)
        known = await stage.shop.by_key(feeds.KIND, feed)
        if known.state == FeedStatus.QUEUED:
            await runs.start_feed(stage.shop, feed)
        await runs.fail_feed(stage.shop, feed, self.reason)
        stage.by_hand.discard(feed)
        return {"feed": feed}


class FeedCancel(_FeedAct, frozen=True):
    """The seller cancels a queued feed; nobody is told."""

    name = "feed-cancel"
    states = (FeedStatus.QUEUED,)

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        feed = await self._chosen(stage, pick)
        await runs.cancel_feed(stage.shop, feed)
        stage.by_hand.discard(feed)
        return {"feed": feed}


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
            others = [
                state_of(ProductStatus.ACTIVE, one) for one in QcStatus if one is not quality
            ]
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
    Feed,
    FeedStart,
    FeedFinish,
    FeedFail,
    FeedCancel,
    Qc,
    Statistics,
    Metrics,
)
"""All of them, in the order of a sale's life."""
