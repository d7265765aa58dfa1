"""What can happen at Ovoko: buyers, couriers, integrations, and the seller's own word."""

from __future__ import annotations

import random
from typing import Final, Literal

from marketbell.control.sellers import OVOKO
from marketbell.dialects.ovoko import PartStatus as P
from marketbell.errors import InvalidError, MoveRefusedError
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.ovoko import orders, parts, returns
from marketbell.marketplace.ovoko.orders import OrderStatus
from marketbell.marketplace.ovoko.returns import ReturnStatus
from marketbell.sandbox import sample
from marketbell.sandbox.act import Act, Facts, Pick, found, some
from marketbell.sandbox.stage import Stage
from marketbell.store.base import Entity, EntityFilter

Move = Literal[
    "accept",
    "write-off",
    "reserve",
    "release",
    "sell",
    "sell-in-ebay",
    "sell-in-allegro",
    "lose-track",
    "find",
]

MOVES: Final[dict[Move, tuple[Actor, tuple[P, ...]]]] = {
    "accept": (Actor.SELLER, (P.RETURNED,)),
    "write-off": (Actor.SELLER, (P.RETURNED, P.IN_WAREHOUSE, P.RESERVED)),
    "reserve": (Actor.SELLER, (P.IN_WAREHOUSE,)),
    "release": (Actor.SELLER, (P.RESERVED,)),
    "sell": (Actor.SELLER, (P.IN_WAREHOUSE, P.RESERVED)),
    "sell-in-ebay": (Actor.INTEGRATION, (P.IN_WAREHOUSE, P.RESERVED)),
    "sell-in-allegro": (Actor.INTEGRATION, (P.IN_WAREHOUSE, P.RESERVED)),
    "lose-track": (Actor.INTEGRATION, (P.IN_WAREHOUSE,)),
    "find": (Actor.INTEGRATION, (P.UNKNOWN_STOCK_STATUS,)),
}
"""Who makes each move of a part, and of which status it is if none is named; the first first."""


class Buy(Act, frozen=True):
    """A buyer orders parts that are for sale."""

    marketplace = OVOKO
    name = "buy"
    part_ids: tuple[int, ...] | None = None
    count: int = 1
    """How many, if none is named."""

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        numbers = self.part_ids
        if numbers is None:
            numbers = await self._for_sale(stage, pick)
        rng = random.Random(f"buyer {numbers}")  # noqa: S311 - to be reproduced
        order = await stage.market.buy(stage.parts_seller, numbers, sample.buyer(rng))
        return {"order_id": order, "part_ids": list(numbers)}

    async def _for_sale(self, stage: Stage, pick: Pick) -> tuple[int, ...]:
        if not 1 <= self.count <= 10:
            raise InvalidError(("body", "count"), f"{self.count} is not between 1 and 10")
        stocked = await found(stage, OVOKO, parts.KIND, P.IN_WAREHOUSE)
        offered = [part for part in stocked if parts.for_sale(part)]
        chosen: list[int] = []
        while len(chosen) < self.count:
            part = some(offered, pick, "part for sale" if not chosen else "other part for sale")
            offered.remove(part)
            chosen.append(part.number)
        return tuple(chosen)


class _OrderAct(Act, frozen=True):
    order_id: int | None = None

    async def _number(self, stage: Stage, pick: Pick) -> int:
        if self.order_id is not None:
            return self.order_id
        new = await found(stage, OVOKO, orders.KIND, OrderStatus.NEW)
        return some(new, pick, "order that is NEW").number


class Cancel(_OrderAct, frozen=True):
    """A new order is cancelled: by its buyer, the seller or the system."""

    marketplace = OVOKO
    name = "cancel"
    actor: Literal["buyer", "seller", "system"] = "buyer"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        number = await self._number(stage, pick)
        await stage.market.cancel_order(stage.parts_seller, number, Actor(self.actor))
        return {"order_id": number}


class Deliver(_OrderAct, frozen=True):
    """The courier brings a new order to its buyer. No event tells of it."""

    marketplace = OVOKO
    name = "deliver"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        number = await self._number(stage, pick)
        await stage.market.complete_order(stage.parts_seller, number)
        return {"order_id": number}


class Return(Act, frozen=True):
    """The buyer opens a return, or lets one more part join the one that is open."""

    marketplace = OVOKO
    name = "return"
    order_id: int | None = None
    part_ids: tuple[int, ...] | None = None
    reason: str = "Does not fit"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        seller = stage.parts_seller
        if self.order_id is not None:
            order = await stage.services.store.entity(seller.id, orders.KIND, self.order_id)
            left = await _kept(stage, order)
        else:
            done = await found(stage, OVOKO, orders.KIND, OrderStatus.COMPLETED)
            kept = {one.number: await _kept(stage, one) for one in done}
            with_parts = [one for one in done if kept[one.number]]
            order = some(with_parts, pick, "COMPLETED order with a part that can be returned")
            left = kept[order.number]
        wanted = self.part_ids
        if wanted is None:
            if not left:
                raise MoveRefusedError(f"Every part of the order {order.number} is in a return.")
            wanted = left[:1]
        number = await stage.market.open_return(seller, order.number, wanted, self.reason)
        return {"return_id": number, "order_id": order.number, "part_ids": list(wanted)}


async def _kept(stage: Stage, order: Entity) -> tuple[int, ...]:
    """The parts of an order that are in no return yet."""
    which = EntityFilter(kind=returns.KIND, parent=order.number)
    back = await stage.services.store.entities(stage.parts_seller.id, which)
    taken = {
        part
        for one in back
        if one.state != ReturnStatus.CANCELLED
        for part in returns.return_of(one).part_ids
    }
    return tuple(part for part in orders.order_of(order).part_ids if part not in taken)


class _ReturnAct(Act, frozen=True):
    return_id: int | None = None

    async def _number(self, stage: Stage, pick: Pick) -> int:
        if self.return_id is not None:
            return self.return_id
        new = await found(stage, OVOKO, returns.KIND, ReturnStatus.NEW)
        return some(new, pick, "return that is New").number


class Receive(_ReturnAct, frozen=True):
    """The goods of a return reach the seller; only now its parts are `returned`."""

    marketplace = OVOKO
    name = "receive"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        number = await self._number(stage, pick)
        await stage.market.hand_in(stage.parts_seller, number)
        back = await stage.services.store.entity(stage.parts_seller.id, returns.KIND, number)
        return {"return_id": number, "part_ids": list(returns.return_of(back).part_ids)}


class CancelReturn(_ReturnAct, frozen=True):
    """The buyer keeps the goods of a return after all."""

    marketplace = OVOKO
    name = "cancel-return"

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        number = await self._number(stage, pick)
        await stage.market.cancel_return(stage.parts_seller, number)
        return {"return_id": number}


class MovePart(Act, frozen=True):
    """A part's status changes: by the seller's word, or by a sale at eBay or Allegro."""

    marketplace = OVOKO
    name = "part"
    move: Move
    part_id: int | None = None

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        actor, sources = MOVES[self.move]
        number = self.part_id
        if number is None:
            for source in sources:
                there = await found(stage, OVOKO, parts.KIND, source)
                if there:
                    break
            number = some(there, pick, f"part that is {' or '.join(sources)}").number
        move = self.move.replace("-", "_")
        await stage.market.move_part(stage.parts_seller, number, move, actor)
        return {"part_id": number}


class Import(Act, frozen=True):
    """The seller puts another sample part into the warehouse. No event tells of it."""

    marketplace = OVOKO
    name = "import"
    seed: int = 1
    """What the part is like."""

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """See Act.work."""
        del pick
        rng = random.Random(f"part {self.seed}")  # noqa: S311 - to be reproduced
        part = sample.part(rng, 10_000 + self.seed)
        number = await stage.market.import_part(stage.parts_seller, part, P.IN_WAREHOUSE)
        return {"part_id": number}


ACTS: Final[tuple[type[Act], ...]] = (
    Buy,
    Cancel,
    Deliver,
    Return,
    CancelReturn,
    Receive,
    MovePart,
    Import,
)
"""All of them, in the order of a sale's life."""
