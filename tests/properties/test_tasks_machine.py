"""Background tasks against a model: lost claims, late steps, crashes, cancelling, and traffic beside them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from marketbell.control.replays import Refused, next_step
from marketbell.errors import ConflictError
from marketbell.model import DeliveryState
from marketbell.store.base import Selection, Step, Task, TaskDraft, TaskKind, TaskStatus
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import SECRETS_KEY, after_a_crash

T = TypeVar("T")

LEASE = 60_000
DAY = 86_400_000
KINDS = (TaskKind.RECOVER, TaskKind.BULK_REPLAY, TaskKind.REPLAY_MISSING)
PENDING, SENDING = DeliveryState.PENDING, DeliveryState.SENDING
DELIVERED, FAILED = DeliveryState.DELIVERED, DeliveryState.FAILED


def wanted_by(kind: TaskKind, state: DeliveryState | None) -> bool:
    """Which messages a task of a kind is for; every message is the endpoint's."""
    if kind is TaskKind.BULK_REPLAY:
        return state in {DELIVERED, FAILED}
    if kind is TaskKind.REPLAY_MISSING:
        return state is None
    return state in {FAILED, None}


class TasksMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, each message of a task's walk is dealt with once."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="marketbell-tasks-"))
        self.path = self.folder / "marketbell.db"
        self.clock = FakeClock(still=True)
        self.opened = 0
        self.states: dict[int, DeliveryState | None] = {}
        """The delivery of every message, as it must stand."""
        self.tasks: dict[int, Task] = {}
        """Every task as it must stand."""
        self.held: list[Task] = []
        """Claims that somebody has, alive or not."""
        self.leases: dict[int, int] = {}
        """When each task may be claimed; those not here, at once."""
        self.enabled = True
        self.store = self.open()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def open(self) -> SqliteStore:
        async def open_it() -> SqliteStore:
            options = SqliteOptions(path=self.path)
            limits = WriterLimits(wait_s=30.0)
            return SqliteStore(options, Box([SECRETS_KEY]), self.clock, limits)

        return self.run(open_it())

    @property
    def now(self) -> int:
        return self.clock.now()

    @property
    def scene(self) -> Scene:
        return Scene(self.store, now=self.now)

    @initialize()
    def begin(self) -> None:
        self.application, self.endpoint = self.run(self.scene.seller())
        self.publish([FAILED, DELIVERED, None, PENDING] * 2)
        for kind in KINDS:
            self.begin_task(kind)

    # -- traffic ------------------------------------------------------------------------

    @rule(ends=st.lists(st.sampled_from((DELIVERED, FAILED, PENDING, None)), max_size=4))
    def publish(self, ends: list[DeliveryState | None]) -> None:
        for end in ends:
            to = () if end is None else (self.endpoint,)
            lease = LEASE if end in {DELIVERED, FAILED} else 0
            published = self.run(self.scene.publish(self.application, *to, lease=lease))
            for claim in published.claims:
                self.run(self.scene.record(claim, 200 if end is DELIVERED else 500))
            self.states[published.message.id] = end

    @precondition(lambda self: self.enabled)
    @rule(good=st.booleans(), limit=st.integers(1, 5))
    def deliver(self, good: bool, limit: int) -> None:
        for claim in self.run(self.scene.claim(limit=limit)):
            assert self.states[claim.message.id] is PENDING
            self.run(self.scene.record(claim, 200 if good else 500))
            # What was delivered once stays so; that a resend of it failed is told elsewhere.
            shown = self.run(self.store.delivery_states(claim.message.id))
            assert shown[self.endpoint.public_id] in ({DELIVERED} if good else {DELIVERED, FAILED})
            self.states[claim.message.id] = shown[self.endpoint.public_id]

    @rule()
    def switch(self) -> None:
        self.enabled = not self.enabled
        self.run(self.scene.update(self.endpoint, disabled=not self.enabled))

    # -- tasks --------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS))
    def begin_task(self, kind: TaskKind) -> None:
        draft = TaskDraft(
            kind=kind,
            organization=ORGANIZATION,
            application_id=self.application.id,
            endpoint_id=self.endpoint.id,
            selection=Selection(until=self.now + 1),
        )
        work = self.store.create_task(draft, now=self.now, running_max=99)
        if not self.enabled:
            with pytest.raises(ConflictError, match="disabled"):
                self.run(work)
            return
        made = cast(Task, self.run(work))
        self.tasks[made.id] = made

    @rule()
    def claim(self) -> None:
        due = any(
            task.status is TaskStatus.RUNNING and self.due_at(task) <= self.now
            for task in self.tasks.values()
        )
        task = self.run(self.store.claim_task(now=self.now, lease_until=self.now + LEASE))
        assert (task is not None) == due
        if task is None:
            self.clock.advance(LEASE)
        else:
            known = self.tasks[task.id]
            assert task.claim_number == known.claim_number + 1
            assert task.position == known.position
            self.tasks[task.id] = task
            self.leases[task.id] = self.now + LEASE
            self.held.append(task)

    def due_at(self, task: Task) -> int:
        return self.leases.get(task.id, 0)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), rows=st.integers(1, 4), most=st.integers(1, 3))
    def step(self, data: st.DataObject, rows: int, most: int) -> None:
        claim = data.draw(st.sampled_from(self.held))
        sight = self.run(self.store.task_sight(claim, now=self.now, rows=rows, due_max=99))
        step = next_step(claim, sight, rows=rows, most=most)
        if isinstance(step, Refused):
            assert not self.enabled
            failed = self.run(self.store.fail_task(claim, step.error, now=self.now))
            # Its claim says whether it may: the endpoint is disabled wherever the walk stands.
            assert failed == self.claimed(claim)
            if failed:
                self.end(claim.id, TaskStatus.FAILED)
            return
        alive = self.alive(claim)
        assert alive == self.run(self.store.take_step(claim, step, now=self.now, due_at=self.now))
        if alive:
            self.take(claim, step, rows)
            # The answer was lost, and it is made again.
            again = self.store.take_step(claim, step, now=self.now, due_at=self.now)
            assert not self.run(again)

    def claimed(self, claim: Task) -> bool:
        task = self.tasks[claim.id]
        return task.status is TaskStatus.RUNNING and task.claim_number == claim.claim_number

    def alive(self, claim: Task) -> bool:
        return self.claimed(claim) and self.tasks[claim.id].position == claim.position

    def take(self, claim: Task, step: Step, rows: int) -> None:
        """What the step must have done."""
        walked = [key for key in sorted(self.states) if claim.position < key <= claim.last][
            : step.looked
        ]
        assert step.looked == len(walked) <= rows
        wanted = [key for key in walked if wanted_by(claim.kind, self.states[key])]
        assert list(step.message_ids) == wanted
        for key in wanted:
            self.states[key] = PENDING
        known = self.tasks[claim.id]
        status = TaskStatus.FINISHED if step.finished else TaskStatus.RUNNING
        assert known.position <= step.position
        self.tasks[claim.id] = Task(
            **{
                **{name: getattr(known, name) for name in Task.__struct_fields__},
                "position": step.position,
                "looked": known.looked + step.looked,
                "made": known.made + len(wanted),
                "status": status,
                "updated_at": self.now,
            }
        )
        self.leases[claim.id] = self.now

    def end(self, task_id: int, status: TaskStatus) -> None:
        shown = self.run(self.store.task(ORGANIZATION, self.tasks[task_id].public_id))
        assert shown.status is status
        self.tasks[task_id] = shown

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = self.tasks[data.draw(st.sampled_from(sorted(self.tasks)))]
        cancel = self.store.cancel_task(ORGANIZATION, task.public_id, now=self.now)
        if task.status in {TaskStatus.FINISHED, TaskStatus.FAILED}:
            with pytest.raises(ConflictError):
                self.run(cancel)
            return
        self.run(cancel)
        self.end(task.id, TaskStatus.CANCELLED)

    @rule(passed=st.sampled_from((1, LEASE, DAY)))
    def pass_time(self, passed: int) -> None:
        self.clock.advance(passed)

    @rule()
    def crash(self) -> None:
        """The process is killed: another one finds the file as it is on disk."""
        self.opened += 1
        crashed = after_a_crash(self.path, self.folder / str(self.opened))
        self.run(self.store.aclose())
        self.path = crashed
        self.store = self.open()
        self.leases.clear()
        self.held.clear()

    # -- what must hold -----------------------------------------------------------------

    @invariant()
    def every_delivery_stands_as_it_must(self) -> None:
        for key, state in self.states.items():
            shown = self.run(self.store.delivery_states(key)).get(self.endpoint.public_id)
            assert shown is state, key

    @invariant()
    def every_task_stands_as_it_must(self) -> None:
        for task in self.tasks.values():
            shown = self.run(self.store.task(ORGANIZATION, task.public_id))
            assert shown == task

    def teardown(self) -> None:
        try:
            if not self.enabled:
                self.switch()
            self.clock.advance(DAY)
            self.held.clear()
            while task := self.run(
                self.store.claim_task(now=self.now, lease_until=self.now + LEASE)
            ):
                self.tasks[task.id] = task
                sight = self.run(self.store.task_sight(task, now=self.now, rows=3, due_max=99))
                step = next_step(task, sight, rows=3, most=2)
                assert isinstance(step, Step)
                taken = self.store.take_step(task, step, now=self.now, due_at=self.now)
                assert self.run(taken)
                self.take(task, step, 3)
            self.every_delivery_stands_as_it_must()
            self.every_task_stands_as_it_must()
            assert all(task.status is not TaskStatus.RUNNING for task in self.tasks.values())
        finally:
            self.run(self.store.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)


TestTasks = TasksMachine.TestCase
TestTasks.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


class LongerTasksMachine(TasksMachine):
    """The same, for a night."""


TestTasksForLonger = pytest.mark.slow(LongerTasksMachine.TestCase)
TestTasksForLonger.settings = settings(max_examples=500, stateful_step_count=60, deadline=None)
