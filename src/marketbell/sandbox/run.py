"""A sandbox from start to stop: a node with both marketplaces, their sellers, and what goes wrong."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
from starlette.routing import BaseRoute

from marketbell.clock import Clock
from marketbell.delivery.intake import Intake
from marketbell.marketplace.face import Marketplaces
from marketbell.model import Millis
from marketbell.node import Node, running_node
from marketbell.sandbox.chaos import Odds
from marketbell.sandbox.controls import routes
from marketbell.sandbox.misbehaving import MisbehavingIntake
from marketbell.sandbox.sandbox import Sandbox
from marketbell.sandbox.stage import open_stage
from marketbell.settings import Settings
from marketbell.store.base import Store

FEED_AFTER: Final[Millis] = 5_000
"""How old a feed that was posted to the Action API is when the platform works it off."""

LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
"""Where the receivers of a sandbox stand, unless the settings say otherwise."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the one who starts a sandbox says of it."""

    seed: int = 1
    """Of the stock, of the stream and of the chaos."""
    rate: float | None = None
    """Acts a second of the stream from the start; None for none."""
    odds: Odds | None = None
    """What goes wrong; None for nothing."""
    feed_after: Millis | None = FEED_AFTER
    """None leaves every feed to whoever finishes it by hand."""


@contextlib.asynccontextmanager
async def running_sandbox(
    settings: Settings, clock: Clock, wishes: Wishes
) -> AsyncIterator[tuple[Node, Sandbox]]:
    """
    A node with both marketplaces and the sandbox's controls, serving while the context is open.

    Receivers on this machine are reachable, unless `allow_networks` names other networks. Raises
    as `running_node`.
    """
    if not settings.allow_networks:
        settings = msgspec.structs.replace(settings, allow_networks=LOOPBACK)
    sandbox = Sandbox(seed=wishes.seed, chaos=wishes.odds is not None, feed_after=wishes.feed_after)

    def beside(_marketplaces: Marketplaces) -> Sequence[BaseRoute]:
        return routes(sandbox)

    def misbehaving(intake: Intake, store: Store) -> Intake:
        if wishes.odds is None:
            return intake
        made = MisbehavingIntake(intake, store, clock, wishes.seed, wishes.odds)
        sandbox.lost = made.lost
        return made

    async with running_node(settings, clock, beside=beside, intake=misbehaving) as node:
        stage = await open_stage(node.marketplaces.services, wishes.seed)
        sandbox.open(stage)
        try:
            if wishes.rate is not None:
                await sandbox.start_stream(wishes.rate, wishes.seed)
            yield node, sandbox
        finally:
            await sandbox.close()
