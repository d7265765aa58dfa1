"""The tasks of a store: their protocol over the writer and the readers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from marketbell.model import Instant
from marketbell.store import task_steps, tasks
from marketbell.store.base import Once, Page, Repeated, Slice
from marketbell.store.resource import Resource
from marketbell.store.statements import statements
from marketbell.store.task_plane import (
    ParkedPlace,
    Sight,
    Step,
    Task,
    TaskDraft,
    TaskFilter,
    TaskStatus,
)
from marketbell.store.transaction import Transaction

_SQL = statements("tasks")


class TaskResource(Resource):
    """Tasks over a writer and readers."""

    @cached_property
    def _task_listeners(self) -> list[Callable[[], None]]:
        return []

    def on_task(self, listener: Callable[[], None]) -> None:
        """See Tasks.on_task."""
        self._task_listeners.append(listener)

    async def create_task(
        self, draft: TaskDraft, *, now: Instant, running_max: int, once: Once | None = None
    ) -> Task | Repeated:
        """See Tasks.create_task."""
        made = await self._write(
            lambda transaction: tasks.create_task(
                transaction, draft, now=now, running_max=running_max, mark=once
            )
        )
        for listener in self._task_listeners:
            listener()
        return made

    async def task(self, organization: str, ref: str) -> Task:
        """See Tasks.task."""
        return await self._read(lambda transaction: tasks.task(transaction, organization, ref))

    async def tasks(self, organization: str, which: TaskFilter, page: Page) -> Slice[Task]:
        """See Tasks.tasks."""
        return await self._read(
            lambda transaction: tasks.tasks(transaction, organization, which, page)
        )

    async def cancel_task(self, organization: str, ref: str, *, now: Instant) -> Task:
        """See Tasks.cancel_task."""
        return await self._write(
            lambda transaction: tasks.cancel_task(transaction, organization, ref, now=now)
        )

    async def claim_task(self, *, now: Instant, lease_until: Instant) -> Task | None:
        """See Tasks.claim_task."""
        return await self._write(
            lambda transaction: tasks.claim_task(transaction, now=now, lease_until=lease_until)
        )

    async def task_sight(self, task: Task, *, now: Instant, rows: int, due_max: int) -> Sight:
        """See Tasks.task_sight."""
        return await self._read(
            lambda transaction: tasks.sight(
                transaction, self._box, task, now=now, rows=rows, due_max=due_max
            )
        )

    async def take_step(self, task: Task, step: Step, *, now: Instant, due_at: Instant) -> bool:
        """See Tasks.take_step."""
        return await self._write(
            lambda transaction: task_steps.take_step(
                transaction, task, step, now=now, due_at=due_at
            )
        )

    async def put_off_task(self, task: Task, *, until: Instant, failures: int) -> None:
        """See Tasks.put_off_task."""
        await self._write(
            lambda transaction: transaction.change(
                _SQL["task_put_off"],
                {
                    "id": task.id,
                    "claim_number": task.claim_number,
                    "until": until,
                    "failures": failures,
                },
            )
        )

    async def fail_task(self, task: Task, error: str, *, now: Instant) -> bool:
        """See Tasks.fail_task."""
        return await self._write(
            lambda transaction: tasks.end(
                transaction,
                task.id,
                TaskStatus.FAILED,
                error,
                claim_number=task.claim_number,
                now=now,
            )
        )

    async def next_task_at(self) -> Instant | None:
        """See Tasks.next_task_at."""
        return await self._read(lambda transaction: _first(transaction, "task_next_at"))

    async def release_tasks(self, *, now: Instant) -> None:
        """See Tasks.release_tasks."""
        await self._write(lambda transaction: tasks.release_all(transaction, now))

    async def running_tasks(self) -> int:
        """See Tasks.running_tasks."""
        return await self._read(lambda transaction: _first(transaction, "tasks_running") or 0)

    async def prune_tasks(self, before: Instant, *, limit: int) -> int:
        """See Tasks.prune_tasks."""
        return await self._write(lambda transaction: tasks.prune(transaction, before, limit=limit))

    async def redrive_parked(
        self, organization: str, place: ParkedPlace, *, now: Instant, limit: int
    ) -> tuple[int, ParkedPlace | None]:
        """See Tasks.redrive_parked."""
        return await self._write(
            lambda transaction: task_steps.redrive_parked(
                transaction, organization, place, now=now, limit=limit
            )
        )


def _first(transaction: Transaction, name: str) -> int | None:
    row = transaction.row(_SQL[name])
    return row[0] if row else None  # type: ignore[return-value]
