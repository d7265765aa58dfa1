"""Slots come and go: what this node remembers of their endpoints is begun anew, or let go of."""

from __future__ import annotations

from collections.abc import Callable, Collection

from marketbell.clock import Clock
from marketbell.delivery.claims import Claims
from marketbell.delivery.fairness import Lanes
from marketbell.delivery.plan import Planner
from marketbell.delivery.recorder import Recorder
from marketbell.delivery.tenure import Owned


class Handover:
    """
    The endpoints of slots, as a membership moves them.

    Caps, rate limits, windows and breakers are memory of a slot's one owner: an endpoint that
    moves begins with one request, as a new one does, and as if its rate limit were just used up.
    """

    def __init__(
        self,
        lanes: Lanes,
        planner: Planner,
        claims: Claims,
        recorder: Recorder,
        clock: Clock,
        *,
        owned: Owned,
        go_on: Callable[[], None],
    ) -> None:
        self._lanes = lanes
        self._planner = planner
        self._claims = claims
        self._recorder = recorder
        self._clock = clock
        self._owned = owned
        self._go_on = go_on

    def lose(self, slots: Collection[int]) -> None:
        """See Serving.lose."""
        for lane in self._lanes.of(slots):
            self._claims.give_back(self._lanes.change(lane))

    def gain(self, slots: Collection[int]) -> None:
        """See Serving.gain."""
        self._lanes.took(slots, self._clock.now())
        self._claims.expect(self._clock.now())
        self._go_on()

    def flying(self, slots: Collection[int]) -> frozenset[int]:
        """See Serving.flying."""
        return frozenset(
            lane.plan.endpoint.slot for lane in self._lanes.of(slots) if lane.in_flight
        )

    def settle(self, slots: Collection[int]) -> frozenset[int]:
        """See Serving.settle."""
        asking = self._claims.asking
        busy = asking & frozenset(slots)
        unsettled = self._claims.given_back() | self._recorder.endpoints()
        for lane in self._lanes.of(slots):
            endpoint = lane.plan.endpoint
            if not lane.idle or endpoint.id in unsettled:
                busy |= {endpoint.slot}
            elif endpoint.slot not in self._owned.slots and endpoint.slot not in asking:
                self._lanes.forget(lane)
                self._planner.forget(endpoint.id)
        return busy
