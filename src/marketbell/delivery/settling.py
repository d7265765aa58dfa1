"""What follows from requests that are over: decided, learnt from, recorded, told."""

from __future__ import annotations

import random

from marketbell.clock import Clock
from marketbell.delivery.claims import Claims
from marketbell.delivery.fairness import Lanes
from marketbell.delivery.health import NOTHING, Lesson, learn
from marketbell.delivery.lane import Lane
from marketbell.delivery.leases import Leases
from marketbell.delivery.limits import DispatchLimits
from marketbell.delivery.recorder import Recorder
from marketbell.delivery.retry import DELIVERED, Ended, decide
from marketbell.delivery.sender import Sender
from marketbell.delivery.sending import Sending, UnderWay
from marketbell.model import Attempt, Instant, Outcome, Verdict
from marketbell.store.base import Queue, Result

_ACCEPTED = Outcome.ACCEPTED
_CLOSED = Outcome.CLOSED


class Settling:
    """Settles requests that have landed, all of one turn of the loop in one run."""

    def __init__(
        self,
        queue: Queue,
        under_way: UnderWay,
        sender: Sender,
        *,
        lanes: Lanes,
        claims: Claims,
        recorder: Recorder,
        clock: Clock,
        leases: Leases,
        limits: DispatchLimits,
    ) -> None:
        self._queue = queue
        self._under_way = under_way
        self._sender = sender
        self._lanes = lanes
        self._claims = claims
        self._recorder = recorder
        self._clock = clock
        self._leases = leases
        self._limits = limits
        self._random = random.Random()  # noqa: S311 - jitter of retries, no secret

    def settle(self) -> list[Sending]:
        """
        Settle all that have landed.

        What comes back found its kept connection dead: the same claims are to go out at once over
        new ones.
        """
        landed, under_way, attempt_of = (
            self._under_way.landed,
            self._under_way,
            self._sender.attempt,
        )
        again: list[Sending] = []
        results: list[Result] = []
        now = self._clock.now()
        try:
            while landed:
                sending = landed.popleft()
                if sending.ended:
                    continue  # it was broken off, and its claim stays with its lease
                attempt = attempt_of(sending)
                self.end(sending)
                verdict = None
                if attempt.outcome is _CLOSED:
                    again.append(sending)
                else:
                    verdict = self._verdict(sending, attempt, now)
                results.append(
                    Result(
                        claim=sending.claim,
                        attempt=attempt,
                        verdict=verdict,
                        hold_key=sending.plan.hold_on_failure,
                    )
                )
                under_way.note(sending, attempt, verdict)
        finally:
            if results:
                self._recorder.add(results)
            if landed:  # something broke off: the rest is not to wait for the next one
                under_way.on_landed()
        return again

    def end(self, sending: Sending) -> None:
        """It is no longer under way: its place is free."""
        self._under_way.remove(sending)
        lane = sending.lane
        self._lanes.end(lane, sending.claim, proven=sending.proven, aged=sending.aged)
        if lane.backlog:
            self._claims.consider(lane)

    def rest(self, lane: Lane, until: Instant) -> None:
        """Begin nothing of a lane before then, here and in the store."""
        queue, endpoint_id = self._queue, lane.plan.endpoint.id
        lane.held_until = until
        lane.taught = True
        self._recorder.chore(("hold", endpoint_id), lambda: queue.hold(endpoint_id, until))

    def _verdict(self, sending: Sending, attempt: Attempt, now: Instant) -> Verdict:
        """What follows for the delivery; what is known of the endpoint has changed by it."""
        plan, lane, verdict = sending.plan, sending.lane, DELIVERED
        lane.answered(attempt.duration)
        if attempt.outcome is not _ACCEPTED:
            verdict = decide(
                Ended.of(sending.claim, attempt, sending.exchange.retry_after, now),
                schedule=plan.schedule,
                honours=plan.honours,
                retry_after_max=self._limits.retry_after_max,
                spread=self._random.random(),
            )
        lesson = learn(
            lane, attempt.outcome, attempt.status_code, verdict, honours=plan.honours, now=now
        )
        if lesson is not NOTHING:
            self._heed(lane, lesson, verdict, now)
        return verdict

    def _heed(self, lane: Lane, lesson: Lesson, verdict: Verdict, now: Instant) -> None:
        """Do what an attempt has taught about its endpoint, here and in the store."""
        endpoint_id = lane.plan.endpoint.id
        queue, chore = self._queue, self._recorder.chore
        if lesson.health_changed:
            lane.taught = True
            since = lane.failing_since
            chore(("health", endpoint_id), lambda: queue.note_health(endpoint_id, since))
        if verdict.disable_endpoint:
            lane.held_until = now + self._leases.length  # by then the store has it
            chore(("disable", endpoint_id), lambda: queue.disable_endpoint(endpoint_id, now=now))
        elif lesson.rest_until:
            self.rest(lane, max(lane.held_until, lesson.rest_until))
        if lesson.keep is not None:
            self._claims.give_back(self._lanes.shed(lane, lesson.keep))
