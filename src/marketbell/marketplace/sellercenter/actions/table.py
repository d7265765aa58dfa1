"""Every action by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from marketbell.marketplace.sellercenter.actions import feeds, orders, products, webhooks
from marketbell.marketplace.sellercenter.actions.call import Action

ACTIONS: Final[Mapping[str, Action]] = {
    action.name: action
    for group in (webhooks.ACTIONS, feeds.ACTIONS, products.ACTIONS, orders.ACTIONS)
    for action in group
}
"""In the order of the documents' groups; names are matched letter by letter."""
