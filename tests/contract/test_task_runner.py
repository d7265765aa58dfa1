"""The runner of background tasks over a real store: pace, faults, giving up, and going on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from marketbell.control.task_runner import TaskLimits, TaskRunner
from marketbell.errors import ConflictError, UnavailableError
from marketbell.model import Application, Endpoint
from marketbell.store.base import (
    Page,
    Selection,
    Step,
    Store,
    Task,
    TaskDraft,
    TaskFilter,
    TaskKind,
    TaskStatus,
)
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import Ground

DAY = 86_400_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(ground: Ground, clock: FakeClock) -> AsyncIterator[Store]:
    async with ground.opened(clock) as opened:
        yield opened


class Stage:
    """A runner over a store, with a seller of whose messages so many have failed."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.faults: list[Exception] = []
        """With which steps break off, one after the other."""
        self._take_step = store.take_step
        self.woken = 0
        self.waiting = 0
        self.application: Application
        self.endpoint: Endpoint

    async def take_step(self, task: Task, step: Step, *, now: int, due_at: int) -> bool:
        if self.faults:
            raise self.faults.pop(0)
        return await self._take_step(task, step, now=now, due_at=due_at)

    @property
    def scene(self) -> Scene:
        return Scene(self.store, now=self.clock.now())

    async def fill(self, count: int) -> Task:
        self.application, self.endpoint = await self.scene.seller()
        for _ in range(count):
            (claim,) = (
                await self.scene.publish(self.application, self.endpoint, lease=60_000)
            ).claims
            await self.scene.record(claim, 500)
        return await self.begin()

    async def begin(self) -> Task:
        draft = TaskDraft(
            kind=TaskKind.RECOVER,
            organization=ORGANIZATION,
            application_id=self.application.id,
            endpoint_id=self.endpoint.id,
            selection=Selection(until=self.clock.now() + 1),
        )
        made = await self.store.create_task(draft, now=self.clock.now(), running_max=9)
        assert isinstance(made, Task)
        return made

    def runner(self, **limits: Any) -> TaskRunner:
        def wake() -> None:
            self.woken += 1

        return TaskRunner(
            self.store,
            self.clock,
            limits=TaskLimits(**{"rows": 4, "made": 2, **limits}),
            waiting_rows=lambda: self.waiting,
            wake=wake,
        )

    async def shown(self, task: Task) -> Task:
        return await self.store.task(ORGANIZATION, task.public_id)

    async def until(
        self, condition: Callable[[Task], bool], task: Task, *, passing: int = 500
    ) -> Task:
        """The task once it is as it should be; time goes on meanwhile."""
        async with asyncio.timeout(60):
            while True:
                shown = await self.shown(task)
                if condition(shown):
                    return shown
                self.clock.advance(passing)
                await asyncio.sleep(0.005)


@pytest.fixture
def stage(store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(store, clock)
    monkeypatch.setattr(store, "take_step", made.take_step)
    return made


def further(made: int, task: Task) -> bool:
    return task.made > made or over(task)


def over(task: Task) -> bool:
    return task.status is not TaskStatus.RUNNING


async def test_a_task_is_run_to_its_end(stage: Stage) -> None:
    task = await stage.fill(7)
    runner = stage.runner()
    runner.start()
    done = await stage.until(over, task)
    assert (done.status, done.looked, done.made) == (TaskStatus.FINISHED, 7, 7)
    assert stage.woken == 4
    # One that is made while it sleeps is begun at once, without a look at the clock.
    later = await stage.begin()
    await stage.until(over, later, passing=0)
    await runner.stop()


async def test_no_step_begins_while_much_waits_for_the_writer(stage: Stage) -> None:
    task = await stage.fill(3)
    stage.waiting = 201
    runner = stage.runner()
    for _ in range(3):
        await runner._turn()
    assert (await stage.shown(task)).claim_number == 0
    stage.waiting = 200
    runner.start()
    await stage.until(over, task)
    await runner.stop()


async def test_deliveries_are_made_no_faster_than_they_are_sent(stage: Stage) -> None:
    """So a new message never waits for more than a few that a task has made."""
    task = await stage.fill(9)
    runner = stage.runner(ahead=4)
    runner.start()
    waiting = await stage.until(lambda task: task.claim_number > 6, task)
    assert (waiting.status, waiting.made) == (TaskStatus.RUNNING, 4)
    for _ in range(3):
        for claim in await stage.scene.claim():
            await stage.scene.record(claim)
        waiting = await stage.until(partial(further, waiting.made), task)
    await stage.until(over, task)
    await runner.stop()
    assert (await stage.shown(task)).made == 9


async def test_a_store_that_is_away_is_waited_for(stage: Stage) -> None:
    task = await stage.fill(3)
    stage.faults = [UnavailableError("away") for _ in range(3)]
    runner = stage.runner(failures=2)
    runner.start()
    done = await stage.until(over, task)
    await runner.stop()
    assert (done.status, done.made, done.failures) == (TaskStatus.FINISHED, 3, 0)


async def test_a_step_that_breaks_off_is_tried_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    task = await stage.fill(3)
    stage.faults = [RuntimeError("a fault of ours")] * 3
    runner = stage.runner()
    runner.start()
    done = await stage.until(over, task)
    await runner.stop()
    assert (done.status, done.made) == (TaskStatus.FINISHED, 3)
    broken = [one for one in caplog.records if one.message == "a step of a task broke off"]
    named = {(one.__dict__["kind"], one.__dict__["task"]) for one in broken}
    assert named == {(task.kind.value, task.public_id)}


async def test_a_task_whose_steps_all_break_off_fails_with_a_sentence(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    task = await stage.fill(3)
    stage.faults = [RuntimeError("a fault of ours")] * 3
    runner = stage.runner(failures=3)
    runner.start()
    done = await stage.until(over, task)
    await runner.stop()
    assert done.status is TaskStatus.FAILED
    assert done.error == "3 steps in a row broke off; the server's log says why."
    assert "task failed" in caplog.text


async def test_a_step_that_is_refused_fails_the_task_with_the_reason(stage: Stage) -> None:
    task = await stage.fill(3)
    stage.faults = [ConflictError("It cannot be.")]
    runner = stage.runner()
    assert await runner.look()
    done = await stage.shown(task)
    assert (done.status, done.error) == (TaskStatus.FAILED, "It cannot be.")


async def test_a_task_of_an_endpoint_that_is_disabled_fails(stage: Stage) -> None:
    task = await stage.fill(3)
    runner = stage.runner()
    assert await runner.look()
    await stage.scene.update(stage.endpoint, disabled=True)
    assert await runner.look()
    done = await stage.shown(task)
    assert (done.status, done.made) == (TaskStatus.FAILED, 2)
    assert done.error == "The endpoint is disabled; enable it and start a new task."


async def test_another_runner_goes_on_where_one_was_stopped(stage: Stage) -> None:
    task = await stage.fill(9)
    first = stage.runner()
    assert await first.look()
    assert (await stage.shown(task)).made == 2
    second = stage.runner()
    second.start()
    done = await stage.until(over, task)
    await second.stop()
    assert (done.looked, done.made) == (9, 9)


async def test_a_stop_ends_a_long_rest(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketbell.control.task_runner._LOOK_S", 600.0)
    runner = stage.runner()
    runner.start()
    async with asyncio.timeout(60):
        while not runner._bell._waiters:  # noqa: ASYNC110 - nothing tells that it rests
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await runner.stop()


async def test_what_ended_long_ago_is_forgotten(stage: Stage) -> None:
    await stage.fill(1)
    runner = stage.runner(retention=DAY)
    while await runner.look():
        continue
    stage.clock.advance(2 * DAY)
    runner.start()
    async with asyncio.timeout(60):
        while True:
            if not (await stage.store.tasks(ORGANIZATION, TaskFilter(), Page())).data:
                break
            await asyncio.sleep(0.005)
    await runner.stop()


async def test_a_clock_that_is_set_back_holds_up_no_task(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketbell.control.task_runner._LOOK_S", 0.01)
    task = await stage.fill(4)
    stage.clock.jump(-3_600_000)
    runner = stage.runner()
    runner.start()
    done = await stage.until(over, task, passing=0)
    await runner.stop()
    assert (done.status, done.made) == (TaskStatus.FINISHED, 4)
