"""Background tasks in stories: begun, stepped and run as the runner does it, one call at a time."""

from __future__ import annotations

from typing import Any

from marketbell.control.replays import next_step
from marketbell.model import Application, Endpoint, Trigger
from marketbell.store.base import Once, Repeated, Selection, Step, Task, TaskDraft, TaskKind
from marketbell.testing.stores import ORGANIZATION, Scene

MINUTE = 60_000


async def begin(
    scene: Scene,
    endpoint: Endpoint,
    kind: TaskKind = TaskKind.RECOVER,
    *,
    running_max: int = 10,
    **selection: Any,
) -> Task:
    """A new task about an endpoint, over all that there is."""
    made = await try_to_begin(scene, endpoint, kind, running_max=running_max, **selection)
    assert isinstance(made, Task)
    return made


async def try_to_begin(
    scene: Scene,
    endpoint: Endpoint,
    kind: TaskKind = TaskKind.RECOVER,
    *,
    running_max: int = 10,
    once: Once | None = None,
    **selection: Any,
) -> Task | Repeated:
    """The same; or how the request was answered that `once` marks."""
    return await scene.store.create_task(
        TaskDraft(
            kind=kind,
            organization=ORGANIZATION,
            application_id=endpoint.application_id,
            endpoint_id=endpoint.id,
            selection=Selection(**{"until": scene.now + 1, **selection}),
        ),
        now=scene.now,
        running_max=running_max,
        once=once,
    )


async def step(scene: Scene, task: Task, *, rows: int = 3, most: int = 2) -> bool:
    """One step of a claimed task, as the runner makes it; False if it was not taken."""
    sight = await scene.store.task_sight(task, now=scene.now, rows=rows, due_max=100)
    wanted = next_step(task, sight, rows=rows, most=most)
    assert isinstance(wanted, Step), wanted
    return await scene.store.take_step(task, wanted, now=scene.now, due_at=scene.now)


async def run(scene: Scene, *, rows: int = 3, most: int = 2) -> None:
    """All steps of all tasks."""
    while task := await scene.store.claim_task(now=scene.now, lease_until=scene.now + MINUTE):
        assert await step(scene, task, rows=rows, most=most)


async def failed(scene: Scene, application: Application, endpoint: Endpoint) -> int:
    """A message whose delivery has failed for good."""
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await scene.record(claim, 500)
    return claim.message.id


async def again(scene: Scene, task: Task) -> Task:
    """The task as it stands now."""
    return await scene.store.task(ORGANIZATION, task.public_id)


async def manual(scene: Scene) -> list[int]:
    """The messages whose deliveries a task has made due."""
    claims = await scene.claim(limit=1_000)
    assert all(claim.trigger is Trigger.MANUAL and claim.order_key is None for claim in claims)
    return [claim.message.id for claim in claims]
