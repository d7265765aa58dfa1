"""How long the marketplaces' things are kept once they have ended; what has not ended stays."""

from __future__ import annotations

from collections.abc import Mapping

from marketbell.marketplace.ovoko import journal, orders
from marketbell.marketplace.sellercenter import feeds, items
from marketbell.model import Millis
from marketbell.settings import Settings


def ages(settings: Settings) -> Mapping[str, Millis]:
    """
    By kind, how long after its last change.

    Feeds go when the API's lists show them no more. Returns and items go with their orders. Parts
    and products are what a seller has, so they stay.
    """
    kept = settings.marketplace_retention
    return {
        feeds.KIND: feeds.LISTED,
        orders.KIND: kept,
        items.ORDER: kept,
        journal.KIND: kept,
    }
