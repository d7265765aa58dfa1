"""The queue as it ought to be, in dicts: what a store's deliveries and keys are checked against."""

from __future__ import annotations

from collections.abc import Container, Iterable

from marketbell.model import NEVER, Claim, DeliveryState, Instant, Trigger, Verdict
from marketbell.store.base import Birth

Pair = tuple[int, int]
"""Message and endpoint."""


class Duty:
    """One delivery."""

    def __init__(self, place: int, birth: Birth) -> None:
        self.place = place
        self.endpoint_id = birth.endpoint_id
        self.key = birth.order_key
        self.state = DeliveryState.PENDING
        self.due_at = birth.due_at
        self.lease_until: Instant = 0
        self.claim_number = 0
        self.attempt_count = 0
        self.lost_count = 0
        self.parked = False
        self.trigger = Trigger.SCHEDULED
        self.ended: DeliveryState | None = None
        self.ended_count = 0
        if birth.lease_until:
            self.take(birth.lease_until)

    @property
    def open(self) -> bool:
        """Whether it is not finished."""
        return self.state in (DeliveryState.PENDING, DeliveryState.SENDING)

    def take(self, lease_until: Instant) -> None:
        """It is claimed."""
        self.state = DeliveryState.SENDING
        self.claim_number += 1
        self.lease_until = lease_until

    def holds(self, claim: Claim) -> bool:
        """Whether this is its live claim."""
        return self.state is DeliveryState.SENDING and self.claim_number == claim.claim_number

    def end(self, state: DeliveryState, attempts: int) -> None:
        """It has ended; once delivered it stays so."""
        self.state = state
        if self.ended is not DeliveryState.DELIVERED:
            self.ended = state
        self.ended_count += attempts


class QueueModel:
    """Every delivery there ever was, and what keeps them waiting."""

    def __init__(self) -> None:
        self.duties: dict[Pair, Duty] = {}
        self.held_until: dict[int, Instant] = {}
        self.paused: set[int] = set()
        self.deleted: set[int] = set()
        self.held_keys: dict[tuple[int, bytes], int] = {}
        self.attempts: set[str] = set()
        self.lost = 0

    # -- what can be asked --------------------------------------------------------------

    def has_turn(self, duty: Duty) -> bool:
        """Whether nothing of its key goes before it."""
        if duty.key is None:
            return True
        if (duty.endpoint_id, duty.key) in self.held_keys:
            return False
        return not any(
            other.open and other.key == duty.key and other.place < duty.place
            for other in self.duties.values()
            if other.endpoint_id == duty.endpoint_id
        )

    def waits(self, duty: Duty) -> bool:
        """Whether only time, a hold and room stand between it and a claim."""
        return (
            duty.state is DeliveryState.PENDING
            and not duty.parked
            and duty.endpoint_id not in self.deleted
            and self.has_turn(duty)
        )

    def claimable(self, now: Instant) -> set[Pair]:
        """What may be claimed now."""
        return {
            pair
            for pair, duty in self.duties.items()
            if self.waits(duty)
            and duty.due_at <= now
            and self.held_until.get(duty.endpoint_id, 0) <= now
        }

    def open_duties(self) -> dict[Pair, Duty]:
        """Those that are not finished."""
        return {pair: duty for pair, duty in self.duties.items() if duty.open}

    # -- what happens -------------------------------------------------------------------

    def publish(self, message_id: int, births: Iterable[Birth]) -> None:
        """A message is kept."""
        for birth in births:
            self.duties[message_id, birth.endpoint_id] = Duty(len(self.duties), birth)

    def lose(
        self,
        now: Instant,
        leases_now: Instant | None,
        lost_max: int,
        spared: Container[int] = (),
    ) -> int:
        """Leases end, all of them if no instant is given, but for those of some endpoints; how many."""
        count = 0
        for duty in self.duties.values():
            if duty.state is not DeliveryState.SENDING or duty.endpoint_id in spared:
                continue
            if leases_now is not None and duty.lease_until > leases_now:
                continue
            count += 1
            duty.state = DeliveryState.PENDING
            duty.due_at = now
            duty.lost_count += 1
            duty.parked = duty.lost_count >= lost_max
        self.lost += count
        return count

    def record(self, claim: Claim, attempt_id: str, verdict: Verdict | None, hold: bool) -> None:
        """An attempt is recorded."""
        if attempt_id in self.attempts:
            return
        self.attempts.add(attempt_id)
        duty = self.duties[claim.message.id, claim.endpoint_id]
        if verdict is None:
            return
        if verdict.state is DeliveryState.DELIVERED:
            if duty.open:
                duty.end(DeliveryState.DELIVERED, duty.attempt_count + 1)
            if claim.trigger is Trigger.MANUAL:
                self.held_keys = {
                    key: message_id
                    for key, message_id in self.held_keys.items()
                    if (message_id, key[0]) != (claim.message.id, claim.endpoint_id)
                }
        elif duty.holds(claim):
            if verdict.state is DeliveryState.FAILED:
                duty.end(DeliveryState.FAILED, duty.attempt_count + 1)
                if hold and duty.key is not None:
                    key = (duty.endpoint_id, duty.key)
                    self.held_keys.setdefault(key, claim.message.id)
            else:
                duty.state = DeliveryState.PENDING
                duty.due_at = verdict.due_at
                duty.attempt_count += 1
                duty.lost_count = 0
        if verdict.hold_until:
            self.hold(claim.endpoint_id, verdict.hold_until)

    def release(self, claim: Claim) -> None:
        """A claim is given back."""
        duty = self.duties[claim.message.id, claim.endpoint_id]
        if duty.holds(claim):
            duty.state = DeliveryState.PENDING
            duty.due_at = claim.due_at

    def retries(self, pair: Pair) -> bool:
        """Whether a retry of it is claimed."""
        duty = self.duties[pair]
        return duty.state is DeliveryState.SENDING and duty.attempt_count > 0

    def resend(self, pair: Pair, now: Instant) -> None:
        """A person asks for one more."""
        duty = self.duties[pair]
        if duty.state is DeliveryState.SENDING:
            return
        duty.state = DeliveryState.PENDING
        duty.due_at = now
        duty.attempt_count = duty.lost_count = 0
        duty.parked = False
        duty.key = None
        duty.trigger = Trigger.MANUAL

    def hold(self, endpoint_id: int, until: Instant) -> None:
        """A lane rests."""
        self.held_until[endpoint_id] = max(until, self.held_until.get(endpoint_id, 0))

    def pause(self, endpoint_id: int, paused: bool) -> None:
        """A lane rests until a person says otherwise, or goes on at once."""
        if paused and endpoint_id not in self.paused:
            self.paused.add(endpoint_id)
            self.hold(endpoint_id, NEVER)
        elif not paused and endpoint_id in self.paused:
            self.paused.discard(endpoint_id)
            self.held_until[endpoint_id] = 0

    def let_go(self, endpoint_id: int) -> None:
        """No key of a lane waits for a failed delivery any more."""
        self.held_keys = {
            key: message for key, message in self.held_keys.items() if key[0] != endpoint_id
        }

    def cancel_deleted(self, but: Container[Pair]) -> int:
        """What waits for deleted endpoints is cancelled, but for these; how many."""
        count = 0
        for pair, duty in self.duties.items():
            deleted = duty.endpoint_id in self.deleted and pair not in but
            if deleted and duty.state is DeliveryState.PENDING:
                duty.end(DeliveryState.CANCELLED, duty.attempt_count)
                count += 1
        return count
