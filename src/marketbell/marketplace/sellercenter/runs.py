"""What happens to feeds and products: made, worked off, canceled, judged; each step one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import msgspec

from marketbell.errors import ConflictError, NotFoundError
from marketbell.marketplace.decision import Decision, Event
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import feeds, products, throttle
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.feeds import FeedBody, FeedStatus, Record, RecordError
from marketbell.marketplace.sellercenter.products import QcStatus
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Instant
from marketbell.store.marketplace_plane import Entity, EntityFilter


class _Work(msgspec.Struct, frozen=True):
    """What finishing a feed is decided on."""

    feed: Entity
    known: dict[str, Entity]
    numbers: range


async def create_feed(
    seller: Seller,
    action: str,
    records: Sequence[Record],
    *,
    feed_id: str | None = None,
    throttled: bool = False,
) -> str:
    """
    A new feed, queued; its UUID. `feed_id` is one that the caller made.

    With `throttled` it counts against the seller's feeds. ActionError 429 if there may be none
    now; ConflictError if there is a feed with that UUID.
    """
    store = seller.services.store
    key = (feed_id or str(uuid.uuid4())).lower()
    numbers = await store.next_numbers(feeds.KIND, 1)

    async def load() -> tuple[Entity | None, int]:
        if feed_id is not None and await seller.keyed(feeds.KIND, [key]):
            raise ConflictError(f"There is a feed {key} already.")
        if not throttled:
            return None, 0
        kept = (await seller.keyed(throttle.KIND, [throttle.KEY])).get(throttle.KEY)
        number = 0 if kept else (await store.next_numbers(throttle.KIND, 1))[0]
        return kept, number

    def decide(loaded: tuple[Entity | None, int], now: Instant) -> Decision[str]:
        kept, number = loaded
        counted: tuple[Entity, ...] = ()
        if throttled:
            after = throttle.counted(kept, seller.application.id, number, now)
            if after is None:
                raise ActionError(429)
            counted = (after,)
        feed, events = feeds.queued(
            seller.application.id,
            numbers[0],
            uuid=key,
            action=action,
            records=records,
            now=now,
        )
        return Decision(changes=(*counted, feed), events=events, answer=key)

    return await seller.ledger.act(seller.application, load, decide)


async def start_feed(seller: Seller, feed_id: str) -> None:
    """Take a queued feed up. NotFoundError, MoveRefusedError."""
    await _move(seller, feed_id, "start", Actor.SYSTEM)


async def cancel_feed(seller: Seller, feed_id: str) -> None:
    """Cancel a queued feed, as its seller may; nobody is told. NotFoundError, MoveRefusedError."""
    await _move(seller, feed_id, "cancel", Actor.SELLER)


async def fail_feed(seller: Seller, feed_id: str, reason: str) -> None:
    """End a feed that is being processed in an error; nobody is told. MoveRefusedError."""

    async def load() -> Entity:
        return await seller.by_key(feeds.KIND, feed_id)

    def decide(feed: Entity, now: Instant) -> Decision[None]:
        del now
        before = feeds.body_of(feed)
        body = msgspec.structs.replace(
            before, records=(), errors=(*before.errors, RecordError(1000, reason, ""))
        )
        after, events = feeds.moved(feed, "fail", Actor.SYSTEM, body)
        return Decision(changes=(after,) if after else (), events=events, answer=None)

    await seller.ledger.act(seller.application, load, decide)


async def finish_feed(seller: Seller, feed_id: str) -> FeedBody:
    """
    Work off a feed that is being processed: all that its records do to products, and what came of it.

    The products, the feed and their events - products first, then onFeedCompleted - are one
    transaction. NotFoundError, MoveRefusedError.
    """

    async def load() -> _Work:
        feed = await seller.by_key(feeds.KIND, feed_id)
        skus = [record.sku for record in feeds.body_of(feed).records if record.sku]
        known = await seller.keyed(products.KIND, skus)
        new = len(set(skus) - known.keys())
        numbers = await seller.services.store.next_numbers(products.KIND, new) if new else range(0)
        return _Work(feed, known, numbers)

    def decide(work: _Work, now: Instant) -> Decision[FeedBody]:
        body = feeds.body_of(work.feed)
        run = products.run(
            body, work.known, work.numbers, application_id=seller.application.id, now=now
        )
        after, events = feeds.moved(work.feed, "finish", Actor.SYSTEM, run.body)
        if after is None:
            return Decision(answer=body)
        return Decision(
            changes=(*run.changes, after), events=(*run.events, *events), answer=run.body
        )

    return await seller.ledger.act(seller.application, load, decide)


async def run_feed(seller: Seller, feed_id: str) -> FeedBody:
    """Start and finish a feed; one that was left half way is taken up again."""
    await start_feed(seller, feed_id)
    return await finish_feed(seller, feed_id)


async def unfinished_feeds(seller: Seller, *, limit: int = 100) -> tuple[str, ...]:
    """The UUIDs of feeds that are queued or being processed, oldest first."""
    which = EntityFilter(kind=feeds.KIND, states=[FeedStatus.QUEUED, FeedStatus.PROCESSING])
    found = await seller.services.store.entities(seller.application.id, which, limit=limit)
    return tuple(feed.key for feed in found)


async def judge_products(seller: Seller, skus: Iterable[str], quality: QcStatus) -> tuple[str, ...]:
    """
    Let quality control say this of products; the SKUs for which it is new.

    One event lists them all. NotFoundError for a SKU that there is not.
    """
    wanted = tuple(dict.fromkeys(skus))

    async def load() -> tuple[Entity, ...]:
        known = await seller.keyed(products.KIND, wanted)
        missing = [sku for sku in wanted if sku not in known]
        if missing:
            raise NotFoundError(f"There is no product with the SellerSku {missing[0]!r}.")
        return tuple(known[sku] for sku in wanted)

    def decide(loaded: tuple[Entity, ...], now: Instant) -> Decision[tuple[str, ...]]:
        del now
        changes, events = products.judged(loaded, quality)
        return Decision(
            changes=changes, events=events, answer=tuple(product.key for product in changes)
        )

    return await seller.ledger.act(seller.application, load, decide)


async def update_statistics(seller: Seller) -> None:
    """Say that the seller's statistics were computed anew."""
    await _say(seller, "onStatisticsUpdated")


async def update_metrics(seller: Seller) -> None:
    """Say that the seller's metrics were computed anew."""
    await _say(seller, "onMetricsUpdated")


async def _say(seller: Seller, event_type: str) -> None:
    def decide(loaded: None, now: Instant) -> Decision[None]:
        del loaded, now
        return Decision(events=(Event(event_type=event_type, payload=b"{}"),), answer=None)

    await seller.ledger.act(seller.application, _nothing, decide)


async def _move(seller: Seller, feed_id: str, move: str, actor: Actor) -> None:
    async def load() -> Entity:
        return await seller.by_key(feeds.KIND, feed_id)

    def decide(feed: Entity, now: Instant) -> Decision[None]:
        del now
        after, events = feeds.moved(feed, move, actor)
        return Decision(changes=(after,) if after else (), events=events, answer=None)

    await seller.ledger.act(seller.application, load, decide)


async def _nothing() -> None:
    return None
