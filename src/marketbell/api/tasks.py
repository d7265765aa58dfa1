"""`/api/v1/background-task`: long work on the wire, and how it is cancelled."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, ListOut, list_of, page_of
from marketbell.api.wire import Nothing
from marketbell.control import tasks
from marketbell.errors import InvalidError
from marketbell.store.base import Slice, Task, TaskFilter, TaskKind, TaskStatus

PATH: Final = "/api/v1/background-task"
ONE: Final = "/api/v1/background-task/{task_id}"
CANCEL: Final = "/api/v1/background-task/{task_id}/cancel"
REDRIVE: Final = "/api/v1/admin/redrive-dlq"

_STATUSES: Final = {
    TaskStatus.RUNNING: "running",
    TaskStatus.FINISHED: "finished",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "failed",
}
"""The words that SDKs know; `data.cancelled` tells a cancelled task from one that failed."""
_CANCELLED: Final = "The task was cancelled."


_ELSEWHERE: Final = frozenset(
    {"application.stats", "message.broadcast", "sdk.generate", "event-type.aggregate"}
)
"""Kinds that SDKs know and this server has none of."""


class TaskData(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How far a task is."""

    app_id: str
    endpoint_id: str | None
    progress: float
    """The part of the walk that is done, 0 to 1."""
    looked: int
    made: int
    skipped: int
    cancelled: bool
    error: str | None
    created_at: str


class TaskOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is answered by what begins a task."""

    id: str
    status: str
    task: TaskKind
    updated_at: str


class BackgroundTaskOut(TaskOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of a task."""

    data: TaskData


def begun(task: Task) -> TaskOut:
    """A task as the answer to what began it."""
    return TaskOut(
        id=task.public_id,
        status=_STATUSES[task.status],
        task=task.kind,
        updated_at=iso(task.updated_at),
    )


def shown(task: Task) -> BackgroundTaskOut:
    """A task on the wire."""
    cancelled = task.status is TaskStatus.CANCELLED
    return BackgroundTaskOut(
        id=task.public_id,
        status=_STATUSES[task.status],
        task=task.kind,
        updated_at=iso(task.updated_at),
        data=TaskData(
            app_id=task.application_public_id,
            endpoint_id=task.endpoint_public_id,
            progress=round(task.progress, 4),
            looked=task.looked,
            made=task.made,
            skipped=task.skipped,
            cancelled=cancelled,
            error=_CANCELLED if cancelled else task.error,
            created_at=iso(task.created_at),
        ),
    )


async def _list(call: Call) -> Answer:
    which = TaskFilter(statuses=_statuses(call), kind=_kind(call))
    page = page_of(call.query, ids.TASK, newest_first=True)
    part: Slice[Task] = Slice((), done=True)
    if call.query.text("task") not in _ELSEWHERE:
        part = await tasks.listed(call.services, call.principal, which, page)
    return answer_of(list_of(part, shown, lambda task: task.public_id))


def _statuses(call: Call) -> frozenset[TaskStatus] | None:
    word = call.query.text("status")
    if word is None:
        return None
    found = frozenset(status for status, shown_as in _STATUSES.items() if shown_as == word)
    if not found:
        words = ", ".join(dict.fromkeys(_STATUSES.values()))
        raise InvalidError(("query", "status"), f"{word[:64]!r} is no status of a task: {words}")
    return found


def _kind(call: Call) -> TaskKind | None:
    word = call.query.text("task")
    if word is None or word in _ELSEWHERE:
        return None
    try:
        return TaskKind(word)
    except ValueError:
        words = ", ".join(TaskKind)
        raise InvalidError(
            ("query", "task"), f"{word[:64]!r} is no kind of task here: {words}"
        ) from None


async def _get(call: Call) -> Answer:
    return answer_of(shown(await tasks.get(call.services, call.principal, call.path["task_id"])))


async def _cancel(call: Call) -> Answer:
    task = await tasks.cancel(call.services, call.principal, call.path["task_id"])
    return answer_of(shown(task))


async def _redrive(call: Call) -> Answer:
    await tasks.redrive_parked(call.services, call.principal)
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="v1.background-task.list",
        summary="Lists background tasks, newest first.",
        gives={200: ListOut[BackgroundTaskOut]},
        access=Access.OPERATOR,
        work=_list,
        query=("status", "task", *ORDERED),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.background-task.get",
        summary="One background task, with how far it is.",
        gives={200: BackgroundTaskOut},
        access=Access.OPERATOR,
        work=_get,
    ),
    Operation(
        method="POST",
        path=CANCEL,
        name="v1.background-task.cancel",
        summary="Ends a background task that runs; what it has done stays.",
        takes=Nothing,
        gives={200: BackgroundTaskOut},
        access=Access.OPERATOR,
        work=_cancel,
    ),
    Operation(
        method="POST",
        path=REDRIVE,
        name="v1.admin.redrive-dlq",
        summary="Makes parked deliveries due again: those whose claims were lost again and again.",
        takes=Nothing,
        gives={204: None},
        access=Access.OPERATOR,
        work=_redrive,
    ),
)
