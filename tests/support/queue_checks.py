"""What a queue really holds, row by row, against the model of what it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from marketbell.model import NEVER, DeliveryState, Instant
from support.queue_model import QueueModel

Rows: TypeAlias = Callable[[str], list[Any]]
"""What a query finds on disk."""


def lanes(rows: Rows) -> dict[int, tuple[Instant | None, Instant]]:
    """When each lane is next looked at, and until when it is held."""
    found = rows("select endpoint_id, next_at, held_until from lane")
    return {endpoint_id: (next_at, held) for endpoint_id, next_at, held in found}


def check_deliveries(rows: Rows, model: QueueModel) -> None:
    """Nothing accepted is lost: each unfinished delivery stands where it should."""
    found = {
        (row[0], row[1]): row[2:]
        for row in rows(
            "select message_id, endpoint_id, state, due_at, claim_number, attempt_count,"
            " lost_count, order_key from delivery",
        )
    }
    open_duties = model.open_duties()
    assert found.keys() == open_duties.keys()
    for pair, duty in open_duties.items():
        state, due_at, claim_number, attempt_count, lost_count, key = found[pair]
        assert (state, claim_number) == (duty.state, duty.claim_number)
        assert (attempt_count, lost_count) == (duty.attempt_count, duty.lost_count)
        assert key == duty.key
        if duty.state is DeliveryState.SENDING:
            assert due_at == duty.lease_until
        elif duty.parked:
            assert due_at >= NEVER
        elif duty.endpoint_id not in model.deleted:
            assert due_at == duty.due_at + (0 if model.has_turn(duty) else NEVER)


def check_ends(rows: Rows, model: QueueModel) -> None:
    """What has ended ended as it should, with the right count of attempts."""
    found = {
        (row[0], row[1]): (row[2], row[3])
        for row in rows(
            "select message_id, endpoint_id, state, attempt_count from finished_delivery"
        )
    }
    assert found == {
        pair: (duty.ended, duty.ended_count)
        for pair, duty in model.duties.items()
        if duty.ended is not None
    }


def check_attempts(rows: Rows, model: QueueModel) -> None:
    """Every attempt and every lost claim is on record, once."""
    counts = dict(rows("select outcome, count(*) from attempt group by outcome"))
    assert counts.pop("unknown", 0) == model.lost
    assert sum(counts.values()) == len(model.attempts)


def check_lanes(rows: Rows, model: QueueModel, second_look: dict[int, Instant]) -> None:
    """A lane with work wakes when the first of it falls due, or at its second look, and no earlier than its hold ends."""
    found = lanes(rows)
    assert all(next_at is None or next_at >= held for next_at, held in found.values())
    first: dict[int, Instant] = {}
    for duty in model.open_duties().values():
        if model.waits(duty):
            lane = duty.endpoint_id
            first[lane] = min(duty.due_at, first.get(lane, NEVER))
    for endpoint_id, due_at in first.items():
        next_at, held = found[endpoint_id]
        assert held == model.held_until.get(endpoint_id, 0)
        assert next_at is not None
        assert next_at <= max(held, due_at, second_look.get(endpoint_id, 0))
