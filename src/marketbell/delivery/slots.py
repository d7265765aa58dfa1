"""Who is to have which slots: even shares, and as few moves as can be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

from marketbell.store.nodes_plane import Node

Owners: TypeAlias = Sequence[int | None]
"""By slot, the node that has it; None where nobody does, or one that is lost."""


def to_serve(nodes: Iterable[Node]) -> frozenset[int]:
    """The nodes that are to have slots: the workers that are fit, or all of them where none is."""
    workers = [node for node in nodes if node.left > 0 and node.worker and not node.leaving]
    fit = frozenset(node.id for node in workers if node.fit)
    return fit or frozenset(node.id for node in workers)


def shares(owners: Owners, workers: Collection[int]) -> Mapping[int, int]:
    """
    How many slots each worker is to have: all of them together, and none more than one above another.

    Those that have most already get the one more, so that fewest slots move; every node that sees
    the same works out the same.
    """
    if not workers:
        return {}
    had = dict.fromkeys(workers, 0)
    for owner in owners:
        if owner is not None and owner in had:
            had[owner] += 1
    least, more = divmod(len(owners), len(had))
    by_wealth = sorted(had, key=lambda node: (-had[node], node))
    return {node: least + (place < more) for place, node in enumerate(by_wealth)}


def to_give(
    owners: Owners, workers: Collection[int], me: int, giving: Collection[int] = ()
) -> frozenset[int]:
    """
    The slots that `me` has above its share; all of them if it is no worker any more.

    Those that it is giving up already are taken first, then the highest.
    """
    mine = [slot for slot, owner in enumerate(owners) if owner == me]
    over = len(mine) - shares(owners, workers).get(me, 0)
    if over <= 0:
        return frozenset()
    begun = set(giving)
    mine.sort(key=lambda slot: (slot not in begun, -slot))
    return frozenset(mine[:over])


def to_take(owners: Owners, workers: Collection[int], me: int) -> tuple[int, ...]:
    """
    The free slots that `me` is to take: as many as its share lacks, if there are so many.

    Nodes that see the same take different ones.
    """
    free = [slot for slot, owner in enumerate(owners) if owner is None]
    if not free or me not in workers:
        return ()
    begin = 0
    for node, share in sorted(shares(owners, workers).items()):
        lacks = max(0, share - sum(1 for owner in owners if owner == node))
        if node == me:
            return tuple(free[begin : begin + lacks])
        begin += lacks
    return ()


def in_vain(
    owners: Owners, written: Sequence[tuple[int, int]], me: int, wanted: Collection[int]
) -> frozenset[int]:
    """
    The slots that are written down as `me`'s, that it does not serve, and is not to take any more.

    `written` has the node and the fence of each. Others take them for its own.
    """
    mine = (slot for slot, (owner, _fence) in enumerate(written) if owner == me)
    return frozenset(slot for slot in mine if owners[slot] is None) - frozenset(wanted)
