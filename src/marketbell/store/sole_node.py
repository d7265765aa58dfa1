"""The one node that an SQLite file has: it owns every slot for as long as it lives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from marketbell.clock import Clock
from marketbell.model import SLOTS, Instant, Millis
from marketbell.store.nodes_plane import Node, NodeDraft, NodeRow, Registered, Seen

_ID = 1


class SoleNode:
    """`Nodes` where there can be no other: nothing is asked of the database."""

    alone = True
    told = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def time(self) -> Instant:
        """See Nodes.time."""
        return self._clock.now()

    async def register(self, draft: NodeDraft, *, skew: Millis = 0) -> Registered:
        """See Nodes.register."""
        return Registered(_ID, 0)

    async def beat(self, node_id: int, *, leaving: bool, fit: bool, skew: Millis) -> Seen:
        """See Nodes.beat."""
        return Seen(
            now=self._clock.now(),
            known=True,
            up=0,
            nodes=(Node(_ID, True, leaving, fit, 1),),
            slots=((_ID, 1),) * SLOTS,
        )

    async def take(self, node_id: int, fences: Mapping[int, int]) -> dict[int, int]:
        """See Nodes.take."""
        return dict(fences)

    async def give_up(self, node_id: int, slots: Collection[int]) -> None:
        """See Nodes.give_up."""

    async def leave(self, node_id: int) -> None:
        """See Nodes.leave."""

    async def tell(self, text: str) -> None:
        """See Nodes.tell; nobody else listens."""

    def on_told(self, listener: Callable[[str], None]) -> None:
        """See Nodes.on_told."""

    async def all(self) -> tuple[NodeRow, ...]:
        """See Nodes.all; the file itself remembers none."""
        return ()

    async def aclose(self) -> None:
        """See Nodes.aclose."""
