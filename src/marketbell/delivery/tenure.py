"""Which slots this node has, and until when that is sure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from marketbell.delivery.fitness import Fitness
from marketbell.model import SLOTS

ALL: Final = frozenset(range(SLOTS))
_NONE: Final[frozenset[int]] = frozenset()


class Owned(Protocol):
    """What the data plane must know of slots before it claims or sends."""

    @property
    def fitness(self) -> Fitness:
        """To be told of what the store is asked for these slots."""

    @property
    def node_id(self) -> int | None:
        """Whose slots they are; None where there can be no other node."""

    @property
    def slots(self) -> frozenset[int]:
        """Those that it may claim from, and let deliveries be born claimed in, now."""

    @property
    def holds(self) -> bool:
        """Whether it may send what it has claimed; if not, others may have it by now."""


class Tenure:
    """
    The slots of a node, sure until its lease may have run out on the node's own monotonic clock.

    A node that was frozen finds its tenure over before it does anything else. Made anew it has
    none; `sole` has all of them for good.
    """

    __slots__ = ("_monotonic", "_slots", "fitness", "node_id", "until_s")

    def __init__(
        self,
        monotonic: Callable[[], float],
        node_id: int | None = None,
        fitness: Fitness | None = None,
    ) -> None:
        self.node_id = node_id
        """See Owned.node_id."""
        self.fitness = fitness or Fitness(monotonic)
        """See Owned.fitness."""
        self._monotonic = monotonic
        self._slots = _NONE
        self.until_s = -math.inf
        """By the monotonic clock."""

    @classmethod
    def sole(cls) -> Tenure:
        """Of a node that can have no other beside it."""
        made = cls(lambda: 0.0)
        made.renew(ALL, math.inf)
        return made

    @property
    def slots(self) -> frozenset[int]:
        """See Owned.slots."""
        return self._slots if self._monotonic() < self.until_s else _NONE

    @property
    def holds(self) -> bool:
        """See Owned.holds."""
        return self._monotonic() < self.until_s

    def renew(self, slots: frozenset[int], until_s: float) -> None:
        """It has these from now on, until then."""
        self._slots = slots
        self.until_s = until_s

    def end(self) -> None:
        """It has none any more."""
        self.renew(_NONE, -math.inf)
