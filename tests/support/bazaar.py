"""The marketplaces over a data plane in this process, with sellers and receivers of their webhooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from marketbell.clock import Clock
from marketbell.control.sellers import create_seller
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.marketplace.face import Marketplaces
from marketbell.marketplace.ledger import Ledger
from marketbell.marketplace.ovoko.market import Market
from marketbell.marketplace.ovoko.parts import Part
from marketbell.model import Application
from marketbell.settings import Settings
from marketbell.store.base import Entity, EntityFilter, MessageFilter, Page
from support.knobs import AS_A_SERVER, LOOPBACK, Knobs
from support.plane import ORGANIZATION, Plane

OPERATOR = Principal(ORGANIZATION)


class Bazaar:
    """A data plane with the marketplaces on it, on a file of its own if not told, for `async with`."""

    def __init__(self, where: Path | Plane, clock: Clock, knobs: Knobs = AS_A_SERVER) -> None:
        self.plane = where if isinstance(where, Plane) else Plane(where, clock, knobs)

    async def __aenter__(self) -> Self:
        plane = await self.plane.__aenter__()
        self.services = Services.assemble(
            settings=Settings(allow_networks=LOOPBACK),  # type: ignore[arg-type]
            clock=plane.clock,
            store=plane.store,
            intake=plane.dispatcher,
            registry=plane.registry,
            observer=plane.told,
        )
        self.marketplaces = Marketplaces(self.services)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.plane.__aexit__(*error)

    @property
    def ledger(self) -> Ledger:
        return self.marketplaces.ledger

    @property
    def market(self) -> Market:
        return self.marketplaces.ovoko

    async def seller(self, marketplace: str = "ovoko") -> Application:
        """A new seller."""
        made = await create_seller(self.services, OPERATOR, marketplace, "Seller")
        return made.application

    async def entities(self, seller: Application, kind: str = "part") -> tuple[Entity, ...]:
        """All of one kind, oldest first."""
        which = EntityFilter(kind=kind)
        return await self.plane.store.entities(seller.id, which, limit=10_000)

    async def told(self, seller: Application) -> list[tuple[str, dict[str, Any]]]:
        """Every message of a seller, oldest first."""
        found: list[tuple[str, dict[str, Any]]] = []
        after: str | None = None
        while True:
            part = await self.plane.store.messages(
                seller.id, MessageFilter(), Page(limit=1_000, after=after)
            )
            found += [(one.event_type, json.loads(one.payload)) for one in part.data]
            if part.done:
                return found[::-1]
            after = part.data[-1].public_id


def a_part(**fields: Any) -> Part:
    """A part with a price, unless told otherwise."""
    return Part(**{"category_id": 1, "car_id": 1, "quality": 1, "price": "10", **fields})
