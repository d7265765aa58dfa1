"""What can happen to feeds at Seller Center: queued, taken up, worked off, failed, canceled."""

from __future__ import annotations

import random
from typing import ClassVar, Final, Literal

from marketbell.control.sellers import SELLER_CENTER
from marketbell.errors import InvalidError
from marketbell.marketplace.sellercenter import feeds, products, runs
from marketbell.marketplace.sellercenter.feeds import FeedStatus, Record
from marketbell.sandbox import sample
from marketbell.sandbox.act import Act, Facts, Pick, found, some
from marketbell.sandbox.sellercenter import ITEMS_MAX, OFFERED
from marketbell.sandbox.stage import Stage
from marketbell.store.base import EntityFilter


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
        offered = await found(stage, SELLER_CENTER, products.KIND, *OFFERED)
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


ACTS: Final[tuple[type[Act], ...]] = (Feed, FeedStart, FeedFinish, FeedFail, FeedCancel)
"""All of them, in the order of a feed's life."""
