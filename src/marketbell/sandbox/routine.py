"""What the marketplaces do of themselves: feeds are worked off, returns are settled in time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from marketbell.errors import MarketbellError, MoveRefusedError, NotFoundError
from marketbell.marketplace.sellercenter import feeds, runs, trade
from marketbell.marketplace.sellercenter.feeds import FeedStatus
from marketbell.model import Millis
from marketbell.sandbox.act import AMONG
from marketbell.sandbox.stage import Stage
from marketbell.store.base import EntityFilter

LOOK_S: Final = 0.5
"""Real seconds between two looks."""

_log = structlog.get_logger("marketbell.sandbox")


async def look(stage: Stage, feed_after: Millis | None) -> None:
    """
    Work off feeds that are `feed_after` old, and accept returns that nobody disputed for 72 hours.

    Feeds that were queued by an act of the sandbox are left to whoever queued them; with None
    all are. Raises what the store raises.
    """
    if feed_after is not None:
        await _feeds(stage, stage.services.clock.now() - feed_after)
    await trade.settle_returns(stage.shop)


async def _feeds(stage: Stage, before: int) -> None:
    for status in (FeedStatus.PROCESSING, FeedStatus.QUEUED):
        which = EntityFilter(kind=feeds.KIND, states=[status], created_until=before + 1)
        waiting = await stage.services.store.entities(
            stage.shop.application.id, which, limit=AMONG + len(stage.by_hand)
        )
        for feed in waiting:
            if feed.key in stage.by_hand:
                continue
            # Its seller may have canceled it just now.
            with contextlib.suppress(MoveRefusedError, NotFoundError):
                await runs.run_feed(stage.shop, feed.key)


async def run(stage: Stage, feed_after: Millis | None) -> None:
    """Look again and again until cancelled."""
    while True:
        try:
            await look(stage, feed_after)
        except MarketbellError as fault:
            _log.warning("the marketplaces' own work failed", reason=str(fault))
        await asyncio.sleep(LOOK_S)
