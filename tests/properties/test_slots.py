"""Shares of slots, whoever joins, leaves or is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marketbell.delivery.slots import shares, to_give, to_take

SLOTS = 64

nodes = st.sets(st.integers(1, 9), max_size=7)
owners = st.lists(st.none() | st.integers(1, 9), min_size=SLOTS, max_size=SLOTS)


def seen(held: list[int | None], workers: set[int]) -> list[int | None]:
    """Slots of nodes that are no more count as free."""
    return [owner if owner in workers else None for owner in held]


@given(owners, nodes)
def test_shares_are_even_and_all_of_it(held: list[int | None], workers: set[int]) -> None:
    found = shares(held, workers)
    assert set(found) == workers
    if workers:
        assert sum(found.values()) == SLOTS
        assert max(found.values()) - min(found.values()) <= 1


@given(owners, nodes)
def test_all_slots_find_their_node_in_one_round_of_giving_and_taking(
    held: list[int | None], workers: set[int]
) -> None:
    now = seen(held, workers)
    before = list(now)
    for node in workers:
        for slot in to_give(now, workers, node):
            assert now[slot] == node
    given_up = {node: to_give(now, workers, node) for node in workers}
    for free in given_up.values():
        for slot in free:
            now[slot] = None
    taken = {node: to_take(now, workers, node) for node in workers}
    for node, slots in taken.items():
        for slot in slots:
            assert now[slot] is None, "two nodes take the same slot"
            now[slot] = node
    if not workers:
        return
    assert None not in now
    assert not any(to_give(now, workers, node) for node in workers)
    had = {node: before.count(node) for node in workers}
    moved = sum(
        1 for was, owner in zip(before, now, strict=True) if was is not None and was != owner
    )
    least, more = divmod(SLOTS, len(workers))
    above = sum(1 for count in had.values() if count > least)
    fewest = sum(max(0, count - least) for count in had.values()) - min(more, above)
    assert moved == fewest


@given(owners, nodes, st.integers(1, 9))
def test_what_is_being_given_goes_first_and_who_leaves_gives_all(
    held: list[int | None], workers: set[int], me: int
) -> None:
    first = to_give(held, workers, me)
    assert to_give(held, workers, me, first) == first
    leaving = workers - {me}
    assert to_give(held, leaving, me) == {slot for slot in range(SLOTS) if held[slot] == me}
    assert to_take(held, leaving, me) == ()


def test_a_node_that_joins_or_leaves_moves_no_more_than_its_share() -> None:
    held: list[int | None] = [1 + slot % 2 for slot in range(1024)]
    workers = {1, 2, 3}
    given_up = [slot for node in (1, 2) for slot in to_give(held, workers, node)]
    assert len(given_up) == 341
    for slot in given_up:
        held[slot] = None
    for slot in to_take(held, workers, 3):
        held[slot] = 3
    lost = [None if owner == 1 else owner for owner in held]
    assert not to_give(lost, {2, 3}, 2)
    assert not to_give(lost, {2, 3}, 3)
