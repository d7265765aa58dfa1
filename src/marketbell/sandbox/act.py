"""What one thing that happens in the sandbox is: a small form with the work that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, TypeAlias

import msgspec

from marketbell.errors import MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.sandbox.stage import Stage, listening
from marketbell.store.base import Entity, EntityFilter

Facts: TypeAlias = dict[str, object]
"""What came of an act: ids by name."""

Pick: TypeAlias = Callable[[Sequence[Entity]], Entity]
"""Takes one of several things, of which there is at least one; the newest come first."""

AMONG: Final = 20
"""Of so many things of a status, the newest, one is picked."""


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One thing that a buyer, a courier, a seller or the marketplace does.

    What is left out is picked from what is there and may be acted on. The docstring of each kind
    is what the overview says of it.
    """

    marketplace: ClassVar[str]
    name: ClassVar[str]

    async def work(self, stage: Stage, pick: Pick) -> Facts:
        """Let it happen. MoveRefusedError, NotFoundError, InvalidError; then nothing has."""
        raise NotImplementedError


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """An act that happened, and what was told of it in this order."""

    facts: Facts
    events: tuple[Event, ...]


def newest(found: Sequence[Entity]) -> Entity:
    """The first: what a person means who names none."""
    return found[0]


async def do(stage: Stage, act: Act, pick: Pick = newest) -> Done:
    """Let an act happen. MoveRefusedError, NotFoundError, InvalidError and what the store raises."""
    facts, events = await listening(act.work(stage, pick))
    return Done(facts=facts, events=events)


async def found(stage: Stage, marketplace: str, kind: str, *states: str) -> list[Entity]:
    """The newest of these statuses; those of the first status first, then of the second."""
    store, application = stage.services.store, stage.sellers[marketplace]
    things: list[Entity] = []
    for state in states:
        things += await store.entities(
            application.id, EntityFilter(kind=kind, states=[state]), limit=AMONG, descending=True
        )
    return things


def some(things: Sequence[Entity], pick: Pick, what: str) -> Entity:
    """One of them. MoveRefusedError, in words about `what`, if there is none."""
    if not things:
        raise MoveRefusedError(f"There is no {what}.")
    return pick(things)
