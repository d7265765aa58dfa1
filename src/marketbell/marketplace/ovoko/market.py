"""Ovoko as everybody who acts on it sees it: sellers, buyers, couriers and its own integrations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from marketbell.dialects.ovoko import PartStatus
from marketbell.errors import InvalidError, MoveRefusedError, NotFoundError
from marketbell.marketplace.ledger import Decision, Ledger
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.ovoko import journal, orders, parts, returns
from marketbell.marketplace.ovoko.orders import Buyer, Changes, PostData
from marketbell.marketplace.ovoko.parts import Part
from marketbell.model import Application, Instant
from marketbell.store.base import Entity, EntityFilter, Store

ORDER_PARTS_MAX: Final = 100
"""The most parts of one order."""

_LOG_NUMBERS: Final = 100
"""Numbers of the log that are taken at a time."""

Loaded = TypeVar("Loaded")


class Market:
    """
    Every way in which something happens on Ovoko.

    Each method is one decision: what it changes, the events that tell of it and a line of the log
    are on disk together when it returns. Each raises MoveRefusedError for what the life cycles do
    not let happen, NotFoundError for what is not this seller's, and what the store raises; then
    nothing has changed. What has happened already happens no second time, without an error.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._log_numbers: list[int] = []

    # -- the seller -------------------------------------------------------------------------

    async def import_part(
        self, application: Application, part: Part, status: PartStatus, *, user: str = "seller"
    ) -> int:
        """A new part; its number. No event tells of it: no status has changed."""
        if status not in parts.PARTS.initial:
            raise MoveRefusedError(
                f"A part cannot begin as {status}, only as {', '.join(parts.PARTS.initial)}."
            )
        (number,) = await self._store.next_numbers(parts.KIND, 1)

        async def load() -> None:
            return None

        def decide(_loaded: None, now: Instant) -> Changes:
            entity = _new(application, parts.KIND, number, status, now)
            return (parts.with_part(entity, part),), ()

        await self._act(application, load, decide, ("part.imported", (number,), user))
        return number

    async def update_part(
        self,
        application: Application,
        number: int,
        amend: Callable[[Part], Part],
        status: PartStatus | None = None,
        *,
        user: str = "seller",
    ) -> None:
        """The part with what `amend` changes, and in this status if one is said."""

        def decide(loaded: _PartLoaded, _now: Instant) -> Changes:
            entity, back = loaded
            known = parts.part_of(entity)
            said = amend(known)
            amended = parts.with_part(entity, said)
            kept, told = _set(amended, back, status or parts.status_of(entity))
            if not kept and said != known:
                if entity.state == PartStatus.WRITTEN_OFF:
                    raise MoveRefusedError("A part that is written_off stays as it is.")
                kept = (amended,)
            return kept, told

        await self._act(
            application,
            lambda: self._part(application, number),
            decide,
            ("part.updated", (number,), user),
        )

    async def change_part_status(
        self, application: Application, number: int, status: PartStatus, *, user: str = "seller"
    ) -> None:
        """The seller's own word: also how a part that came back is accepted or written off."""
        await self.update_part(application, number, lambda part: part, status, user=user)

    async def delete_part(
        self, application: Application, number: int, *, user: str = "seller"
    ) -> None:
        """Our choice: the part is written off, which the document calls cancelling it."""
        await self.change_part_status(application, number, PartStatus.WRITTEN_OFF, user=user)

    async def add_post_data(
        self, application: Application, number: int, data: PostData, *, user: str = "seller"
    ) -> None:
        """What the parcel of an order is; a later one takes its place."""

        def decide(order: Entity, _now: Instant) -> Changes:
            known = orders.order_of(order)
            if known.post_data == data:
                return (), ()
            return (orders.with_post_data(order, data),), ()

        await self._act(
            application,
            lambda: self._store.entity(application.id, orders.KIND, number),
            decide,
            ("order.post_data", (number,), user),
        )

    # -- the integrations -------------------------------------------------------------------

    async def move_part(
        self, application: Application, number: int, move: str, actor: Actor
    ) -> None:
        """A move of the part's life cycle by name: `sell_in_ebay`, `lose_track`, `reserve` …"""

        def decide(loaded: _PartLoaded, _now: Instant) -> Changes:
            entity, back = loaded
            if back is not None:
                return _set(entity, back, parts.PARTS.next(parts.status_of(entity), move, actor))
            kept, told = parts.moved(entity, move, actor)
            return ((kept,) if told else ()), told

        await self._act(
            application,
            lambda: self._part(application, number),
            decide,
            (f"part.{move}", (number,), actor),
        )

    # -- buyers and couriers ----------------------------------------------------------------

    async def buy(
        self, application: Application, part_ids: Sequence[int], buyer: Buyer | None = None
    ) -> int:
        """A buyer's order for parts that are for sale; its number."""
        wanted = _numbered(part_ids)
        (number,) = await self._store.next_numbers(orders.KIND, 1)
        lines = await self._store.next_numbers("order_line", len(wanted))

        def decide(bought: tuple[Entity, ...], now: Instant) -> Changes:
            entity = _new(application, orders.KIND, number, orders.OrderStatus.NEW, now)
            return orders.placed(entity, buyer or Buyer(), bought, lines)

        await self._act(
            application,
            lambda: self._parts(application, wanted),
            decide,
            ("order.created", (number,), Actor.BUYER),
        )
        return number

    async def cancel_order(
        self, application: Application, number: int, actor: Actor = Actor.BUYER
    ) -> None:
        """The order is off, and its parts are for sale again."""

        async def load() -> tuple[Entity, dict[int, Entity]]:
            order = await self._store.entity(application.id, orders.KIND, number)
            sold = await self._parts(application, orders.order_of(order).part_ids)
            return order, {part.number: part for part in sold}

        await self._act(
            application,
            load,
            lambda loaded, _now: orders.cancelled(*loaded, actor),
            ("order.cancelled", (number,), actor),
        )

    async def complete_order(
        self, application: Application, number: int, actor: Actor = Actor.COURIER
    ) -> None:
        """The goods are with the buyer. No event tells of it."""
        await self._act(
            application,
            lambda: self._store.entity(application.id, orders.KIND, number),
            lambda order, _now: orders.completed(order, actor),
            ("order.completed", (number,), actor),
        )

    async def open_return(
        self, application: Application, order_id: int, part_ids: Sequence[int], reason: str = ""
    ) -> int:
        """The buyer will give parts back: the number of the return that they are in now."""
        wanted = _numbered(part_ids)
        (number,) = await self._store.next_numbers(returns.KIND, 1)
        lines = await self._store.next_numbers("return_line", len(wanted))

        async def load() -> tuple[Entity, tuple[Entity, ...]]:
            return (
                await self._store.entity(application.id, orders.KIND, order_id),
                await self._returns_of(application, order_id),
            )

        def decide(loaded: tuple[Entity, tuple[Entity, ...]], now: Instant) -> Changes:
            order, before = loaded
            entity = _new(
                application, returns.KIND, number, returns.ReturnStatus.NEW, now, parent=order_id
            )
            return returns.opened(entity, order, before, wanted, reason=reason, numbers=lines)

        note = ("order.return.created", (number,), str(Actor.BUYER))
        changed = await self._act(application, load, decide, note)
        if changed:
            return changed[0].number
        before = await self._returns_of(application, order_id)
        return next(
            other.number
            for other in reversed(before)
            if set(wanted) & set(returns.return_of(other).part_ids)
        )

    async def hand_in(self, application: Application, return_id: int) -> None:
        """The goods of a return reach the seller: its parts are `returned` from now on."""

        async def load() -> tuple[Entity, tuple[Entity, ...]]:
            back = await self._store.entity(application.id, returns.KIND, return_id)
            return back, await self._parts(application, returns.return_of(back).part_ids)

        await self._act(
            application,
            load,
            lambda loaded, _now: returns.handed_in(*loaded),
            ("order.return.updated", (return_id,), Actor.COURIER),
        )

    async def cancel_return(
        self, application: Application, return_id: int, actor: Actor = Actor.BUYER
    ) -> None:
        """The buyer keeps the goods after all."""
        await self._act(
            application,
            lambda: self._store.entity(application.id, returns.KIND, return_id),
            lambda back, _now: returns.cancelled(back, actor),
            ("order.return.updated", (return_id,), actor),
        )

    # -- reading and keeping ----------------------------------------------------------------

    async def _act(
        self,
        application: Application,
        load: Callable[[], Awaitable[Loaded]],
        decide: Callable[[Loaded, Instant], Changes],
        note: tuple[str, tuple[int, ...], str],
    ) -> tuple[Entity, ...]:
        """What was changed, once it is on disk with its events and its line of the log."""
        action, items, user = note
        number = await self._log_number()

        def decided(loaded: Loaded, now: Instant) -> Decision[tuple[Entity, ...]]:
            changes, events = decide(loaded, now)
            if not changes:
                return Decision(answer=())
            line = journal.entry(
                application.id,
                number,
                action=action,
                items=items,
                events=events,
                user=user,
                now=now,
            )
            return Decision(changes=(*changes, line), events=events, answer=changes)

        return await self._ledger.act(application, load, decided)

    async def _part(self, application: Application, number: int) -> _PartLoaded:
        """A part, with the return that brought it back."""
        entity = await self._store.entity(application.id, parts.KIND, number)
        return_id = parts.part_of(entity).return_id
        if not return_id:
            return entity, None
        return entity, await self._store.entity(application.id, returns.KIND, return_id)

    async def _parts(self, application: Application, numbers: Sequence[int]) -> tuple[Entity, ...]:
        """Parts in this order. NotFoundError if one is not there."""
        found = await self._store.entities(
            application.id,
            EntityFilter(kind=parts.KIND, numbers=numbers),
            limit=ORDER_PARTS_MAX,
        )
        by_number = {part.number: part for part in found}
        for number in numbers:
            if number not in by_number:
                raise NotFoundError(f"There is no part {number}.")
        return tuple(by_number[number] for number in numbers)

    async def _returns_of(self, application: Application, order_id: int) -> tuple[Entity, ...]:
        # An order has at most as many returns as parts, and no part is in two that count.
        return await self._store.entities(
            application.id, EntityFilter(kind=returns.KIND, parent=order_id), limit=1_000
        )

    async def _log_number(self) -> int:
        if not self._log_numbers:
            taken = await self._store.next_numbers(journal.KIND, _LOG_NUMBERS)
            self._log_numbers = list(reversed(taken))
        return self._log_numbers.pop()


_PartLoaded = tuple[Entity, Entity | None]
"""A part, and the return that brought it back if the seller has still to decide on it."""


def _set(entity: Entity, back: Entity | None, status: PartStatus) -> Changes:
    """The seller's word on a part, and on its return if that brought it back."""
    if back is not None:
        return returns.settled(back, entity, status)
    kept, told = parts.turned(entity, status, Actor.SELLER)
    return ((kept,) if told else ()), told


def _new(
    application: Application, kind: str, number: int, state: str, now: Instant, *, parent: int = 0
) -> Entity:
    return Entity(
        application_id=application.id,
        kind=kind,
        number=number,
        parent=parent,
        state=str(state),
        body=b"",
        created_at=now,
        updated_at=now,
    )


def _numbered(part_ids: Sequence[int]) -> tuple[int, ...]:
    """Each once; InvalidError for none and for too many."""
    numbers = tuple(dict.fromkeys(part_ids))
    if not 1 <= len(numbers) <= ORDER_PARTS_MAX:
        raise InvalidError(("part_ids",), f"Name 1 to {ORDER_PARTS_MAX} parts, not {len(numbers)}.")
    return numbers
