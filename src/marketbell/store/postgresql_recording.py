"""T3 on PostgreSQL: a batch of attempts as columns of one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from marketbell.model import DeliveryState, Instant, Outcome, Trigger
from marketbell.store import keys
from marketbell.store.base import Result
from marketbell.store.keys import TimedKeys
from marketbell.store.recording import is_special

_REMEMBERED: Final = 100_000
_ACCEPTED: Final = Outcome.ACCEPTED
_JUDGED: Final = {DeliveryState.DELIVERED: 1, DeliveryState.PENDING: 2}


class AttemptKeys:
    """
    The keys of attempts; one that was not surely kept has the same key the next time.

    So a transaction whose answer was lost, and may still be under way, cannot keep an attempt
    a second time: the table has each key once.
    """

    def __init__(self, keys: TimedKeys) -> None:
        self._keys = keys
        self._unsure: dict[str, int] = {}

    @property
    def last(self) -> int:
        """The highest that was given."""
        return self._keys.last

    def of(self, result: Result) -> int:
        """The key of this attempt, which begins with the time of its end."""
        public_id = result.attempt.public_id
        key = self._unsure.get(public_id)
        if key is None:
            key = self._unsure[public_id] = self._keys.next(_end(result))
            if len(self._unsure) > _REMEMBERED:
                del self._unsure[next(iter(self._unsure))]
        return key

    def settle(self, results: Iterable[Result]) -> None:
        """These are kept, or refused for good, or their keys are other attempts'."""
        for result in results:
            self._unsure.pop(result.attempt.public_id, None)


class Recording:
    """Results that go into one statement."""

    def __init__(self, results: Sequence[Result], attempt_keys: AttemptKeys) -> None:
        fresh: dict[str, Result] = {}
        for result in results:
            fresh.setdefault(result.attempt.public_id, result)
        self.results = list(fresh.values())
        self._ids = [attempt_keys.of(result) for result in self.results]
        self._last = attempt_keys.last
        self.special = [result for result in self.results if is_special(result)]
        """Those of which more may follow; see `recording.follow_up`."""

    def ordered(self) -> list[tuple[int, bytes]]:
        """The endpoints and keys whose turn may pass on."""
        return [
            (result.claim.endpoint_id, result.claim.order_key)
            for result in self.special
            if result.claim.order_key is not None
        ]

    def values(self) -> dict[str, Any]:
        """The parameters of the statement."""
        results = self.results
        attempts = [result.attempt for result in results]
        holds = self._holds()
        return {
            "attempt_ids": self._ids,
            "attempt_public_ids": [one.public_id for one in attempts],
            "message_ids": [one.message_id for one in attempts],
            "endpoint_ids": [one.endpoint_id for one in attempts],
            "claim_numbers": [one.claim_number for one in attempts],
            "numbers": [one.number for one in attempts],
            "triggers": [one.trigger for one in attempts],
            "outcomes": [one.outcome for one in attempts],
            "status_codes": [one.status_code for one in attempts],
            "reasons": [one.reason for one in attempts],
            "responses": [one.response or None for one in attempts],
            "urls": [one.url for one in attempts],
            "addresses": [one.address for one in attempts],
            "started": [one.started_at for one in attempts],
            "durations": [one.duration for one in attempts],
            "counted": [_counted(one.outcome) for one in attempts],
            "judged": self._judged(),
            "dues": [0 if one.verdict is None else one.verdict.due_at for one in results],
            "accepted_ats": [one.claim.message.created_at for one in results],
            "first": keys.floor(min(map(_end, results))),
            # Another node's clock may be ahead; a key has never gone further than that.
            "last": max(self._last, keys.floor(max(map(_end, results)) + keys.DAY_MS)),
            "hold_lanes": list(holds),
            "hold_untils": list(holds.values()),
        }

    def special_but(self, old: Sequence[int]) -> list[Result]:
        """Those of which more may follow, but for those that had been kept before."""
        kept = set(old)
        again = {
            result.attempt.public_id
            for result, key in zip(self.results, self._ids, strict=True)
            if key in kept
        }
        return [one for one in self.special if one.attempt.public_id not in again]

    def _judged(self) -> list[int]:
        """How each moves its delivery; of two that would make it due again the first does."""
        judged: list[int] = []
        again: set[tuple[int, int, int]] = set()
        for result in self.results:
            verdict, claim = result.verdict, result.claim
            way = 0 if verdict is None else _JUDGED.get(verdict.state, 0)
            if way == _JUDGED[DeliveryState.PENDING]:
                name = (claim.message.id, claim.endpoint_id, claim.claim_number)
                way = 0 if name in again else way
                again.add(name)
            judged.append(way)
        return judged

    def _holds(self) -> dict[int, Instant]:
        """Until when lanes rest; 0 where another delivery of the endpoint may go on in its place."""
        holds: dict[int, Instant] = {
            result.claim.endpoint_id: 0
            for result in self.special
            if result.claim.order_key is not None or result.claim.trigger is Trigger.MANUAL
        }
        for result in self.results:
            if result.verdict is not None and result.verdict.hold_until:
                endpoint_id = result.claim.endpoint_id
                holds[endpoint_id] = max(holds.get(endpoint_id, 0), result.verdict.hold_until)
        return holds


def _counted(outcome: Outcome) -> int:
    if outcome is _ACCEPTED:
        return 1
    return 2 if outcome.counted else 0


def _end(result: Result) -> Instant:
    return result.attempt.started_at + result.attempt.duration
