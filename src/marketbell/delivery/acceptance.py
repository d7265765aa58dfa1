"""The way in: a checked message is matched, kept, and begun to be delivered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from marketbell.clock import Clock
from marketbell.delivery.claims import Claims
from marketbell.delivery.fairness import Lanes
from marketbell.delivery.intake import Acceptance, Keep, Verdicts
from marketbell.delivery.lane import Lane
from marketbell.delivery.leases import Leases
from marketbell.delivery.plan import Planner, order_key
from marketbell.delivery.tenure import Owned
from marketbell.errors import OutcomeUnknownError
from marketbell.model import Instant
from marketbell.store.base import Birth, Publication, Published, Queue


class _Run:
    """What one call goes by, and its deliveries that are not born claimed: in lanes of this node, and of others."""

    __slots__ = ("elsewhere", "lease_until", "now", "slots", "waiting")

    def __init__(self, now: Instant, lease_until: Instant, slots: frozenset[int]) -> None:
        self.now = now
        self.lease_until = lease_until
        self.slots = slots
        """Those of this node."""
        self.waiting: list[tuple[Lane, Instant]] = []
        self.elsewhere: set[int] = set()


class Acceptor:
    """
    Matches messages with endpoints and publishes them.

    A delivery whose endpoint is served here and has room is born claimed, so that no further query
    brings it to its receiver; every other one is born pending and comes through its lane, perhaps
    on another node.
    """

    def __init__(
        self,
        queue: Queue,
        planner: Planner,
        lanes: Lanes,
        claims: Claims,
        clock: Clock,
        *,
        leases: Leases,
        owned: Owned,
        hint: Callable[[Collection[int]], None],
    ) -> None:
        self._queue = queue
        self._planner = planner
        self._lanes = lanes
        self._claims = claims
        self._clock = clock
        self._leases = leases
        self._owned = owned
        self._hint = hint
        self.closing = False
        """Whether nothing may be born claimed any more."""

    async def accept(self, acceptances: Sequence[Acceptance], keep: Keep | None = None) -> Verdicts:
        """See Intake.accept."""
        now, changes = self._clock.now(), self._lanes.changes
        promised: list[list[Lane]] = []
        run = _Run(now, self._leases.until(), self._owned.slots)
        publications = []
        for acceptance in acceptances:
            lanes: list[Lane] = []
            births = self._births(acceptance, run, lanes)
            promised.append(lanes)
            publications.append(
                Publication(
                    message=acceptance.message,
                    revision=acceptance.subscribers.revision,
                    births=births,
                    idempotency=acceptance.idempotency,
                    aimed=acceptance.aimed,
                    outbox=acceptance.outbox,
                )
            )
        verdicts: Verdicts | None = None
        try:
            verdicts = await (keep or self._queue.publish)(publications)
        except OutcomeUnknownError:
            self._claims.expect_lost(self._leases.until())
            raise
        finally:
            self._settle(acceptances, promised, verdicts, changes)
        if run.elsewhere:
            self._hint(run.elsewhere)
        for lane, due_at in run.waiting:
            if due_at <= now:
                self._claims.expect_backlog(lane)
            else:
                self._claims.expect(due_at)
        return verdicts

    def _births(self, acceptance: Acceptance, run: _Run, promised: list[Lane]) -> tuple[Birth, ...]:
        message, due_at = acceptance.message, acceptance.due_at
        application, now = acceptance.subscribers.application, run.now
        at_once = due_at <= now and not self.closing
        born = []
        for endpoint in acceptance.subscribers.wanting(message.event_type, message.channels):
            lane = self._lanes.by_endpoint.get(endpoint.id)
            if (
                lane is not None
                and lane.plan.endpoint is endpoint
                and lane.plan.application is application
            ):
                plan = lane.plan
            else:
                plan, lane = self._planner.plan(application, endpoint), None
            tokens = plan.order_by
            key = None if tokens is None else order_key(message.payload, tokens)
            if endpoint.slot not in run.slots:
                run.elsewhere.add(endpoint.slot)
                born.append(Birth(endpoint_id=endpoint.id, due_at=due_at, order_key=key))
                continue
            if lane is None:
                lane = self._lanes.lane(plan, endpoint.failing_since, now)
            lane.touched = now
            lease_until = 0
            if (
                at_once
                and not endpoint.paused
                and self._lanes.reserve(lane, len(message.payload), now)
            ):
                promised.append(lane)
                lease_until = run.lease_until
            else:
                run.waiting.append((lane, due_at))
            born.append(
                Birth(
                    endpoint_id=endpoint.id,
                    due_at=due_at,
                    lease_until=lease_until,
                    order_key=key,
                )
            )
        return tuple(born)

    def _settle(
        self,
        acceptances: Sequence[Acceptance],
        promised: list[list[Lane]],
        verdicts: Verdicts | None,
        changes: int,
    ) -> None:
        """
        Turn promises into claims, or take them back.

        Lanes that rest by now, or whose endpoint has changed since, send none of them.
        """
        now = self._clock.now()
        resting: set[Lane] = set()
        for index, acceptance in enumerate(acceptances):
            verdict = verdicts[index] if verdicts is not None else None
            if isinstance(verdict, Published) and not verdict.repeated:
                for lane, claim in zip(promised[index], verdict.claims, strict=True):
                    self._lanes.offer(lane, claim, reserved=True)
                    if lane.held_until > now or lane.changed > changes:
                        resting.add(lane)
            else:
                for lane in promised[index]:
                    self._lanes.withdraw(lane, len(acceptance.message.payload))
        for lane in resting:
            self._claims.give_back(self._lanes.shed(lane, 0))
