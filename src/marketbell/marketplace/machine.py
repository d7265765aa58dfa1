"""Life cycles as tables: which states there are, what moves between them, and who may cause it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from marketbell.errors import MoveRefusedError

State = TypeVar("State", bound=str)


class Actor(enum.StrEnum):
    """Who causes a move."""

    SELLER = "seller"
    BUYER = "buyer"
    COURIER = "courier"
    INTEGRATION = "integration"
    """The marketplace's own link to another marketplace, such as eBay or Allegro."""
    SYSTEM = "system"
    """The marketplace itself."""


class Move(msgspec.Struct, Generic[State], frozen=True):
    """One arrow of a life cycle. Several may share a name: the same thing from several states."""

    name: str
    source: State
    target: State
    actors: frozenset[Actor]


class Machine(Generic[State]):
    """
    One life cycle: a table that never changes, with no state of its own.

    Raises ValueError for a table that is not whole: an unknown state, an arrow out of a final
    state, a name that leads from one state to two.
    """

    def __init__(
        self,
        name: str,
        *,
        states: Sequence[State],
        initial: Iterable[State],
        final: Iterable[State],
        moves: Iterable[Move[State]],
    ) -> None:
        self.name = name
        self.states = tuple(states)
        self.initial = tuple(initial)
        """States that a new one may begin in."""
        self.final = frozenset(final)
        """States that nothing leaves."""
        self.moves = tuple(moves)
        self._by_name: dict[tuple[str, State], Move[State]] = {}
        self._targets: dict[str, set[State]] = {}
        self._check()

    def next(self, state: State, move: str, actor: Actor) -> State:
        """
        Where this move leads.

        A state that the move leads to comes back as it is: nothing happens, and nothing may be
        announced - unless the table itself has an arrow from that state to itself.
        MoveRefusedError with the reason if there is no such arrow, or not for this actor.
        """
        arrow = self._by_name.get((move, state))
        if arrow is None:
            if state in self._targets.get(move, ()):
                return state
            raise MoveRefusedError(self._why_not(state, move))
        if actor not in arrow.actors:
            raise MoveRefusedError(
                f"Not the {actor} but the {_listed(arrow.actors)} can {_words(move)} "
                f"a {self.name} that is {state}."
            )
        return arrow.target

    def to(self, state: State, target: State, actor: Actor) -> State:
        """
        The target, if this actor may bring it there in one move; the same as `next` by target.

        The present state as the target is no move: it comes back and nothing happens.
        """
        if target == state:
            return state
        arrows = [arrow for arrow in self.moves if (arrow.source, arrow.target) == (state, target)]
        if not arrows:
            raise MoveRefusedError(self._why_not_to(state, target))
        if not any(actor in arrow.actors for arrow in arrows):
            actors = frozenset().union(*(arrow.actors for arrow in arrows))
            raise MoveRefusedError(
                f"Not the {actor} but the {_listed(actors)} can turn "
                f"a {self.name} from {state} to {target}."
            )
        return target

    def exits(self, state: State) -> tuple[Move[State], ...]:
        """The arrows out of a state, in the table's order."""
        return tuple(arrow for arrow in self.moves if arrow.source == state)

    def diagram(self) -> str:
        """The life cycle as a Mermaid state diagram, without the fence around it."""
        lines = ["stateDiagram-v2"]
        lines += [f"    [*] --> {state}" for state in self.initial]
        for arrow in self.moves:
            who = ", ".join(actor for actor in Actor if actor in arrow.actors)
            lines.append(f"    {arrow.source} --> {arrow.target}: {_words(arrow.name)} ({who})")
        lines += [f"    {state} --> [*]" for state in self.states if state in self.final]
        return "\n".join(lines)

    def _check(self) -> None:
        known = set(self.states)
        for state in (*self.initial, *self.final):
            if state not in known:
                raise ValueError(f"{self.name}: {state} is not among the states")
        for arrow in self.moves:
            if not {arrow.source, arrow.target} <= known or not arrow.actors:
                raise ValueError(f"{self.name}: {arrow} names no state or no actor")
            if arrow.source in self.final:
                raise ValueError(f"{self.name}: {arrow} leaves a final state")
            if (arrow.name, arrow.source) in self._by_name:
                raise ValueError(f"{self.name}: {arrow.name} leads from {arrow.source} twice")
            self._by_name[arrow.name, arrow.source] = arrow
            self._targets.setdefault(arrow.name, set()).add(arrow.target)

    def _why_not(self, state: State, move: str) -> str:
        if state in self.final:
            return f"A {self.name} that is {state} stays so."
        sources = [arrow.source for arrow in self.moves if arrow.name == move]
        if not sources:
            return f"A {self.name} has no move {move!r}."
        return (
            f"A {self.name} that is {state} cannot {_words(move)}; only one that is "
            f"{_listed(sources)} can."
        )

    def _why_not_to(self, state: State, target: State) -> str:
        if state in self.final:
            return f"A {self.name} that is {state} stays so."
        targets = dict.fromkeys(arrow.target for arrow in self.exits(state))
        return f"A {self.name} that is {state} cannot become {target}, only {_listed(targets)}."


def moves(
    name: str, sources: Iterable[State], target: State, *actors: Actor
) -> tuple[Move[State], ...]:
    """One named move from each of several states."""
    return tuple(Move(name, source, target, frozenset(actors)) for source in sources)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: Iterable[str]) -> str:
    """In the order given, save that a set comes in alphabetical order."""
    words = sorted(names) if isinstance(names, frozenset) else list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
