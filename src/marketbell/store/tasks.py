"""Background tasks; each function is a share of one transaction."""

from __future__ import annotations

from typing import Any

import msgspec

from marketbell import ids
from marketbell.errors import ConflictError, LimitReachedError, NotFoundError, no_such
from marketbell.model import DeliveryState, Instant
from marketbell.store import keys
from marketbell.store.base import Once, Page, Repeated, Slice
from marketbell.store.configuration import endpoint_by_id
from marketbell.store.once import once
from marketbell.store.paging import span_of_ids
from marketbell.store.positions import position
from marketbell.store.rows import decode_names
from marketbell.store.sealing import Box
from marketbell.store.search_values import MESSAGES
from marketbell.store.setbacks import in_order
from marketbell.store.statements import statements
from marketbell.store.task_plane import (
    Candidate,
    Selection,
    Sight,
    Task,
    TaskDraft,
    TaskFilter,
    TaskKind,
    TaskStatus,
)
from marketbell.store.transaction import Transaction, Value

_SQL = statements("tasks")
_HISTORY = statements("history")

_ENCODE = msgspec.json.Encoder()
_SELECTION = msgspec.json.Decoder(Selection)


def create_task(
    transaction: Transaction,
    draft: TaskDraft,
    *,
    now: Instant,
    running_max: int,
    mark: Once | None = None,
) -> Task | Repeated:
    """See Tasks.create_task."""

    def make() -> Task:
        running: Any = transaction.row(
            _SQL["tasks_running_of"], {"organization": draft.organization}
        )
        if running[0] >= running_max:
            raise LimitReachedError(
                f"{running[0]} background tasks of the organization run already, as many as may; "
                "wait for one or cancel it, or raise tasks_running_max."
            )
        if draft.endpoint_id is not None:
            of_endpoint = {"endpoint_id": draft.endpoint_id}
            if transaction.row(_SQL["endpoint_may_send"], of_endpoint) is None:
                raise ConflictError(
                    "The endpoint is disabled; enable it before sending to it again."
                )
        first, last = _span(transaction, draft.selection)
        key = transaction.insert(
            _SQL["task_insert"],
            {
                "public_id": ids.new_id(ids.TASK, now),
                "kind": draft.kind.value,
                "organization": draft.organization,
                "application_id": draft.application_id,
                "endpoint_id": draft.endpoint_id,
                "selection": _ENCODE.encode(draft.selection).decode(),
                "first": first,
                "last": max(first, last),
                "now": now,
            },
        )
        return _task(transaction, key)

    return once(transaction, mark, now, make)


def task(transaction: Transaction, organization: str, ref: str) -> Task:
    """See Tasks.task."""
    row: Any = None
    if ids.is_id(ids.TASK, ref):
        row = transaction.row(_SQL["task_id"], {"organization": organization, "ref": ref})
    if row is None:
        raise no_such("background task", ref, "id, and the token's organization")
    return _task(transaction, row[0])


def tasks(
    transaction: Transaction, organization: str, which: TaskFilter, page: Page
) -> Slice[Task]:
    """See Tasks.tasks."""
    span = span_of_ids(
        transaction, _SQL["task_position"], ids.TASK, page, descending=page.descending
    )
    statuses = which.statuses
    rows = transaction.rows(
        _SQL[f"tasks_{span.way}"],
        {
            "organization": organization,
            "statuses": None if statuses is None else _ENCODE.encode(sorted(statuses)).decode(),
            "kind": which.kind,
            **span.values,
        },
    )
    return span.slice(rows, _task_of)


def cancel_task(transaction: Transaction, organization: str, ref: str, *, now: Instant) -> Task:
    """See Tasks.cancel_task."""
    found = task(transaction, organization, ref)
    if found.status is TaskStatus.CANCELLED:
        return found
    if found.status is not TaskStatus.RUNNING:
        raise ConflictError(f"The task has {found.status} already; there is nothing to cancel.")
    end(transaction, found.id, TaskStatus.CANCELLED, None, claim_number=None, now=now)
    return _task(transaction, found.id)


def claim_task(transaction: Transaction, *, now: Instant, lease_until: Instant) -> Task | None:
    """See Tasks.claim_task."""
    row: Any = transaction.row(_SQL["task_claim"], {"now": now, "lease_until": lease_until})
    return None if row is None else _task_of(row)


def sight(
    transaction: Transaction, box: Box, found: Task, *, now: Instant, rows: int, due_max: int
) -> Sight:
    """See Tasks.task_sight."""
    endpoint, due = None, 0
    if found.endpoint_id is not None:
        try:
            endpoint = endpoint_by_id(transaction, box, found.endpoint_id)
        except NotFoundError:
            return Sight(endpoint=None, due=0, candidates=())
        counted: Any = transaction.row(
            _SQL["due_count"], {"endpoint_id": endpoint.id, "now": now, "limit": due_max}
        )
        due = counted[0]
    candidates = tuple(_candidate_of(row) for row in _candidates(transaction, found, rows))
    return Sight(endpoint=endpoint, due=due, candidates=candidates)


def _candidates(transaction: Transaction, found: Task, limit: int) -> list[Any]:
    """The next messages that a task looks at; on SQLite the last ones may have no labels yet."""
    values: dict[str, Value] = {
        "application_id": found.application_id,
        "endpoint_id": found.endpoint_id,
        "low": found.position,
        "high": found.last,
        "with_codes": found.selection.status_code_class is not None,
        "limit": limit,
    }
    if transaction.timed_keys:
        return transaction.rows(_SQL["candidates"], values)
    labelled = position(transaction, MESSAGES.follower)
    rows = transaction.rows(_SQL["candidates"], {**values, "high": min(found.last, labelled)})
    if len(rows) < limit and labelled < found.last:
        late = {"low": max(found.position, labelled), "limit": limit - len(rows)}
        rows += transaction.rows(_SQL["candidates_late"], {**values, **late})
    return rows


def end(
    transaction: Transaction,
    task_id: int,
    status: TaskStatus,
    error: str | None,
    *,
    claim_number: int | None,
    now: Instant,
) -> bool:
    """End a task that runs, if its latest claim is this one, or whatever claim it has (None)."""
    changed = transaction.change(
        _SQL["task_end"],
        {
            "id": task_id,
            "status": status.value,
            "error": error,
            "claim_number": claim_number,
            "now": now,
        },
    )
    return bool(changed)


def release_all(transaction: Transaction, now: Instant) -> int:
    """Make every task that runs due; for the moment at which no claim can be alive."""
    return transaction.change(_SQL["tasks_release"], {"now": now})


def prune(transaction: Transaction, before: Instant, *, limit: int) -> int:
    """See Tasks.prune_tasks."""
    gone = transaction.change(_SQL["tasks_ended_delete"], {"before": before, "limit": limit})
    return gone + transaction.change(_SQL["aimed_prune"], {"limit": limit})


def _span(transaction: Transaction, selection: Selection) -> tuple[int, int]:
    """
    The keys between which all messages of a time stand: above the first, up to the last.

    Keys rise in order of commits and public ids in order of making; what was made a minute
    before was committed before. Where the clock was set back over its begin or its end, the span
    goes on there. Keys that have the time in them tell it by themselves.
    """
    newest: Any = transaction.row(_SQL["message_last"])
    if transaction.timed_keys:
        last: int = newest[0]
        if in_order(transaction, selection.until, MESSAGES.slack):
            last = min(last, keys.floor(selection.until + MESSAGES.slack))
        return max(0, keys.floor(selection.since) - 1), last
    before: Any = None
    if in_order(transaction, selection.since, MESSAGES.slack):
        start = ids.smallest_at(ids.MESSAGE, selection.since - MESSAGES.slack)
        before = transaction.row(_HISTORY["message_before"], {"public_id": start})
    after: Any = None
    if in_order(transaction, selection.until, MESSAGES.slack):
        end = ids.smallest_at(ids.MESSAGE, selection.until + MESSAGES.slack)
        after = transaction.row(_HISTORY["message_position"], {"public_id": end})
    return before[0] if before else 0, after[0] - 1 if after else newest[0]


def _task(transaction: Transaction, key: int) -> Task:
    row: Any = transaction.row(_SQL["task"], {"id": key})
    return _task_of(row)


def _task_of(row: tuple[Any, ...]) -> Task:
    return Task(
        id=row[0],
        public_id=row[1],
        kind=TaskKind(row[2]),
        organization=row[3],
        application_id=row[4],
        application_public_id=row[5],
        endpoint_id=row[6],
        endpoint_public_id=row[7],
        selection=_SELECTION.decode(row[8]),
        status=TaskStatus(row[9]),
        first=row[10],
        last=row[11],
        position=row[12],
        looked=row[13],
        made=row[14],
        skipped=row[15],
        failures=row[16],
        claim_number=row[17],
        error=row[18],
        created_at=row[19],
        updated_at=row[20],
    )


def _candidate_of(row: tuple[Any, ...]) -> Candidate:
    message_id, event_type, channels, tags, created_at, aimed, state, status_code = row
    return Candidate(
        message_id=message_id,
        event_type=event_type,
        channels=decode_names(channels),
        tags=decode_names(tags),
        created_at=created_at,
        aimed=bool(aimed),
        state=None if state is None else DeliveryState(state),
        status_code=status_code,
    )
