"""Life cycles as tables: what they let happen, what they refuse, and how they are drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.errors import MoveRefusedError
from marketbell.marketplace.machine import Actor, Machine, Move, moves
from marketbell.marketplace.ovoko.orders import ORDERS
from marketbell.marketplace.ovoko.parts import PARTS
from marketbell.marketplace.ovoko.returns import RETURNS

LAMP = Machine(
    "lamp",
    states=("off", "on", "broken"),
    initial=("off",),
    final=("broken",),
    moves=(
        *moves("light", ("off",), "on", Actor.SELLER),
        *moves("dim", ("on",), "off", Actor.SELLER, Actor.BUYER),
        *moves("drop", ("off", "on"), "broken", Actor.COURIER),
    ),
)
MACHINES = (PARTS, ORDERS, RETURNS)


def test_a_move_leads_where_the_table_says() -> None:
    assert LAMP.next("off", "light", Actor.SELLER) == "on"
    assert LAMP.to("on", "broken", Actor.COURIER) == "broken"


def test_a_move_to_the_present_state_is_nothing_whoever_asks() -> None:
    assert LAMP.next("on", "light", Actor.COURIER) == "on"
    assert LAMP.next("broken", "drop", Actor.COURIER) == "broken"
    assert LAMP.to("broken", "broken", Actor.SELLER) == "broken"


@pytest.mark.parametrize(
    ("state", "move", "actor", "said"),
    [
        ("off", "light", Actor.BUYER, "Not the buyer but the seller can light a lamp that is off."),
        ("on", "dim", Actor.SYSTEM, "Not the system but the buyer or seller can dim a lamp"),
        ("broken", "light", Actor.SELLER, "A lamp that is broken stays so."),
        ("off", "dim2", Actor.SELLER, "A lamp has no move 'dim2'."),
    ],
)
def test_a_refusal_gives_its_reason(state: str, move: str, actor: Actor, said: str) -> None:
    with pytest.raises(MoveRefusedError) as caught:
        LAMP.next(state, move, actor)
    assert caught.value.detail.startswith(said)


def test_a_refusal_by_target_gives_its_reason() -> None:
    with pytest.raises(MoveRefusedError, match="Not the buyer but the seller can turn a lamp"):
        LAMP.to("off", "on", Actor.BUYER)
    with pytest.raises(MoveRefusedError, match="A lamp that is broken stays so"):
        LAMP.to("broken", "on", Actor.SELLER)
    three = Machine(
        "x",
        states=("a", "b", "c"),
        initial=("a",),
        final=(),
        moves=moves("m", "a", "b", Actor.SELLER),
    )
    with pytest.raises(MoveRefusedError, match="A x that is a cannot become c, only b"):
        three.to("a", "c", Actor.SELLER)
    with pytest.raises(MoveRefusedError, match="A x that is c cannot m; only one that is a can"):
        three.next("c", "m", Actor.SELLER)


@pytest.mark.parametrize(
    ("arrows", "said"),
    [
        (moves("m", ("off",), "lost", Actor.SELLER), "no state or no actor"),
        (moves("m", ("off",), "on"), "no state or no actor"),
        (moves("m", ("broken",), "on", Actor.SELLER), "leaves a final state"),
        (
            moves("m", ("off",), "on", Actor.SELLER) + moves("m", ("off",), "broken", Actor.BUYER),
            "leads from off twice",
        ),
    ],
)
def test_a_table_that_is_not_whole_is_refused(arrows: tuple[Move[str], ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Machine("lamp", states=LAMP.states, initial=("off",), final=("broken",), moves=arrows)
    with pytest.raises(ValueError, match="not among the states"):
        Machine("lamp", states=("off",), initial=("on",), final=(), moves=())


def test_the_diagram() -> None:
    assert LAMP.diagram().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> off",
        "    off --> on: light (seller)",
        "    on --> off: dim (seller, buyer)",
        "    off --> broken: drop (courier)",
        "    on --> broken: drop (courier)",
        "    broken --> [*]",
    ]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_is_reached_and_leads_to_an_end(machine: Machine[str]) -> None:
    reached = set(machine.initial)
    for _ in machine.states:
        reached |= {arrow.target for state in reached for arrow in machine.exits(state)}
    assert reached == set(machine.states)
    ends = set(machine.final)
    for _ in machine.states:
        ends |= {arrow.source for arrow in machine.moves if arrow.target in ends}
    assert ends == set(machine.states)
    for state in machine.states:
        assert bool(machine.exits(state)) == (state not in machine.final)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
@given(data=st.data())
def test_a_walk_never_leaves_the_table(machine: Machine[str], data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(machine.initial))
    names = sorted({arrow.name for arrow in machine.moves})
    for _ in range(data.draw(st.integers(0, 30))):
        move = data.draw(st.sampled_from(names))
        actor = data.draw(st.sampled_from(list(Actor)))
        arrows = [one for one in machine.exits(state) if one.name == move]
        if not arrows and any(one.name == move and one.target == state for one in machine.moves):
            assert machine.next(state, move, actor) == state
        elif not arrows or actor not in arrows[0].actors:
            with pytest.raises(MoveRefusedError, match=r"\.$"):
                machine.next(state, move, actor)
        else:
            then = machine.next(state, move, actor)
            assert then == arrows[0].target == machine.to(state, then, actor)
            state = then
