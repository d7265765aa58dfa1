"""What a step of a background task does, worked out from what it sees. Pure."""

from __future__ import annotations

import msgspec

from marketbell.model import DeliveryState, Endpoint
from marketbell.store.base import Candidate, Selection, Sight, Step, Task, TaskKind

_ENDED = frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELLED})


class Refused(msgspec.Struct, frozen=True):
    """No step of this task can succeed any more."""

    error: str
    """Why, as a sentence."""


def next_step(task: Task, sight: Sight, *, rows: int, most: int) -> Step | Refused:
    """
    The step that follows from what is seen; `rows` is how many messages were asked for.

    It ends early when it is about `most` messages, so that no transaction is long.
    """
    if task.kind is not TaskKind.PURGE_CONTENT:
        if sight.endpoint is None:
            return Refused("The endpoint has been deleted.")
        if sight.endpoint.disabled:
            return Refused("The endpoint is disabled; enable it and start a new task.")
    chosen: list[int] = []
    looked, position = 0, task.position
    for candidate in sight.candidates:
        looked += 1
        position = candidate.message_id
        if _wanted(task.kind, task.selection, sight.endpoint, candidate):
            chosen.append(candidate.message_id)
            if len(chosen) == most:
                break
    finished = looked == len(sight.candidates) < rows or position >= task.last
    return Step(
        position=task.last if finished else position,
        looked=looked,
        message_ids=tuple(chosen),
        finished=finished,
    )


def _wanted(
    kind: TaskKind, selection: Selection, endpoint: Endpoint | None, candidate: Candidate
) -> bool:
    """Whether a task is about this message."""
    if not selects(selection, candidate):
        return False
    if endpoint is None:
        return kind is TaskKind.PURGE_CONTENT
    state = candidate.state
    if kind is TaskKind.BULK_REPLAY:
        return state in _ENDED if selection.state is None else state is selection.state
    missing = (
        state is None
        and not candidate.aimed
        and endpoint.wants(candidate.event_type, candidate.channels)
    )
    if kind is TaskKind.REPLAY_MISSING:
        return missing
    if state is DeliveryState.FAILED:
        return True
    # What was missed: the endpoint was there, and was off.
    return missing and candidate.created_at >= endpoint.created_at


def selects(selection: Selection, candidate: Candidate) -> bool:
    """Whether the filters that need no endpoint let a message pass."""
    if not selection.since <= candidate.created_at < selection.until:
        return False
    if selection.event_types is not None and candidate.event_type not in selection.event_types:
        return False
    if selection.channel is not None and selection.channel not in candidate.channels:
        return False
    if selection.tag is not None and selection.tag not in candidate.tags:
        return False
    wanted, code = selection.status_code_class, candidate.status_code
    return wanted is None or (code is not None and code // 100 * 100 == wanted)
