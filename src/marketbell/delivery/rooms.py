"""What a store asks of a node's memory while it claims: the room of each lane, and the revision it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from marketbell.delivery.fairness import Lanes
from marketbell.delivery.lane import Lane
from marketbell.model import Instant

_IDLE_MAX = 200
"""So many lanes are named though nothing of them is in memory."""


class Rooms(Mapping[int, int]):
    """
    Each lane's room at the moment it is asked for; read from the writer's thread, one integer at a time.

    It knows every lane. It names those that may have less room than one of which nothing is known,
    which are those with claims in memory; and some that had claims lately, because they may have
    more. So what a store that must be given all of it at once is given does not grow with lanes
    that have nothing to do.
    """

    def __init__(self, lanes: Lanes, now: Instant) -> None:
        self._lanes = lanes
        self._now = now
        idle = [lane for lane in lanes.active if lane.idle]
        for lane in idle[:-_IDLE_MAX]:
            del lanes.active[lane]
        self._named = [lane.plan.endpoint.id for lane in lanes.active]

    def __getitem__(self, endpoint_id: int) -> int:
        lane = self._lanes.by_endpoint[endpoint_id]
        return 0 if lane.held_until > self._now else self._lanes.room_of(lane)

    def __iter__(self) -> Iterator[int]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


class Revisions(Mapping[int, int]):
    """The revision of each endpoint that has a lane."""

    def __init__(self, lanes: dict[int, Lane]) -> None:
        self._lanes = lanes

    def __getitem__(self, endpoint_id: int) -> int:
        return self._lanes[endpoint_id].plan.endpoint.revision

    def __iter__(self) -> Iterator[int]:
        return iter(self._lanes)

    def __len__(self) -> int:
        return len(self._lanes)
