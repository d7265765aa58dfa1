"""What there is in the sandbox, as it is shown: never a secret."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.api.instants import iso
from marketbell.control.sellers import OVOKO, SELLER_CENTER
from marketbell.marketplace.ovoko import orders, parts, returns
from marketbell.marketplace.sellercenter import feeds, items, products
from marketbell.sandbox.act import AMONG
from marketbell.sandbox.acts import ACTS
from marketbell.sandbox.sandbox import Sandbox
from marketbell.sandbox.scenarios import SCENARIOS
from marketbell.sandbox.stage import SELLERS, Stage
from marketbell.store.base import Entity, EntityFilter

KINDS: Final = {
    OVOKO: (parts.KIND, orders.KIND, returns.KIND),
    SELLER_CENTER: (products.KIND, items.ORDER, items.ITEM, feeds.KIND),
}
"""What each marketplace's sellers have."""


async def overview(sandbox: Sandbox) -> dict[str, object]:
    """Clock, chaos, stream, sellers with the count of their things by status, acts, scenarios."""
    stage = sandbox.stage
    clock = stage.services.clock
    return {
        "now": iso(clock.now()),
        "speed": clock.speed,
        "chaos": sandbox.chaos,
        "lost": list(sandbox.lost),
        "seed": sandbox.seed,
        "stream": sandbox.flow,
        "sellers": {marketplace: await _seller(stage, marketplace) for marketplace in SELLERS},
        "acts": [
            {
                "method": "POST",
                "path": f"/sandbox/{marketplace}/{name}",
                "does": (act.__doc__ or "").strip(),
                "takes": [field.name for field in msgspec.structs.fields(act)],
            }
            for (marketplace, name), act in ACTS.items()
        ],
        "scenarios": {one.name: one.title for one in SCENARIOS},
    }


async def _seller(stage: Stage, marketplace: str) -> dict[str, object]:
    application = stage.sellers[marketplace]
    return {
        "application": application.public_id,
        "uid": application.uid,
        "things": {
            kind: await stage.services.store.count_entities(application.id, EntityFilter(kind=kind))
            for kind in KINDS[marketplace]
        },
    }


async def things(stage: Stage, marketplace: str) -> dict[str, object]:
    """The newest of each kind with its id and status."""
    application = stage.sellers[marketplace]
    shown: dict[str, object] = {}
    for kind in KINDS[marketplace]:
        found = await stage.services.store.entities(
            application.id, EntityFilter(kind=kind), limit=AMONG, descending=True
        )
        shown[kind] = [_shown(thing) for thing in found]
    return shown


def _shown(thing: Entity) -> dict[str, object]:
    shown: dict[str, object] = {"id": thing.number, "status": thing.state}
    if thing.key:
        shown["key"] = thing.key
    if thing.parent:
        shown["order_id"] = thing.parent
    if thing.kind == parts.KIND:
        shown["for_sale"] = parts.for_sale(thing)
    return shown
