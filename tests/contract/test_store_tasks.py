"""Background tasks in the store: what they make due, who may make a step, and the list of them."""

from __future__ import annotations

from typing import Any

import pytest

from marketbell.control.replays import Refused, next_step
from marketbell.errors import ConflictError, LimitReachedError, NotFoundError
from marketbell.model import DeliveryState, Trigger
from marketbell.store.base import (
    Idempotency,
    Once,
    Page,
    Repeated,
    Selection,
    Step,
    Store,
    Task,
    TaskDraft,
    TaskFilter,
    TaskKind,
    TaskStatus,
)
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene
from support.tasks import again, begin, failed, manual, run, step, try_to_begin

SECOND = 1_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000

ALL = TaskFilter()


# -- what is made -------------------------------------------------------------------------


async def test_what_failed_is_made_due_now_in_small_steps(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    wanted = [await failed(scene, application, endpoint) for _ in range(5)]
    await scene.deliver(application, endpoint)
    scene.pass_time(HOUR)
    task = await begin(scene, endpoint)
    assert (task.status, task.progress, task.made) == (TaskStatus.RUNNING, 0.0, 0)
    await run(scene)
    done = await again(scene, task)
    assert (done.status, done.looked, done.made, done.skipped) == (TaskStatus.FINISHED, 6, 5, 0)
    assert (done.progress, done.position) == (1.0, done.last)
    assert await manual(scene) == wanted


async def test_what_was_missed_while_disabled_is_made(store: Store, scene: Scene) -> None:
    application, one = await scene.seller()
    before = (await scene.publish(application)).message
    scene.pass_time(SECOND)
    endpoint = await scene.endpoint(application, event_types=frozenset({"a"}))
    missed = (await scene.publish(application, event_type="a")).message
    await scene.publish(application, event_type="b")
    await begin(scene, endpoint)
    await run(scene)
    assert await manual(scene) == [missed.id]
    # What is from before it was made is for a replay of what is missing.
    await begin(scene, endpoint, TaskKind.REPLAY_MISSING)
    await run(scene)
    assert await manual(scene) == []
    every = await scene.update(endpoint, event_types=None)
    await begin(scene, every, TaskKind.REPLAY_MISSING)
    await run(scene)
    assert before.id in await manual(scene)
    assert one.id != endpoint.id


async def test_no_pair_is_ever_unfinished_twice(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    waiting = (await scene.publish(application, endpoint)).message
    (sending,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    message = await failed(scene, application, endpoint)
    for kind in (TaskKind.RECOVER, TaskKind.BULK_REPLAY, TaskKind.REPLAY_MISSING):
        await begin(scene, endpoint, kind)
        await begin(scene, endpoint, kind)
    await run(scene)
    claims = await scene.claim()
    assert [claim.message.id for claim in claims] == [waiting.id, message]
    assert [claim.trigger for claim in claims] == [Trigger.SCHEDULED, Trigger.MANUAL]
    assert sending.message.id not in {claim.message.id for claim in claims}


async def test_waiting_deliveries_are_hurried_only_if_they_are_asked_for(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await scene.record(claim, 500, again_at=scene.now + DAY)
    await begin(scene, endpoint, TaskKind.BULK_REPLAY)
    await run(scene)
    assert await scene.claim() == ()
    await begin(scene, endpoint, TaskKind.BULK_REPLAY, state=DeliveryState.PENDING)
    await run(scene)
    assert await manual(scene) == [claim.message.id]


async def test_a_payload_that_is_gone_is_skipped_and_counted(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    for _ in range(3):
        await failed(scene, application, endpoint)
    purge = TaskDraft(
        kind=TaskKind.PURGE_CONTENT,
        organization=ORGANIZATION,
        application_id=application.id,
        endpoint_id=None,
        selection=Selection(until=scene.now + 1),
    )
    waiting = (await scene.publish(application, endpoint)).message
    purged = await store.create_task(purge, now=scene.now, running_max=10)
    assert isinstance(purged, Task)
    await run(scene)
    assert (await again(scene, purged)).made == 4
    states = await store.delivery_states(waiting.id)
    assert states == {endpoint.public_id: DeliveryState.CANCELLED}
    task = await begin(scene, endpoint)
    await run(scene)
    done = await again(scene, task)
    assert (done.made, done.skipped) == (0, 3)
    assert await scene.claim() == ()


async def test_only_messages_of_the_time_are_looked_at(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    for _ in range(10):
        await failed(scene, application, endpoint)
        scene.pass_time(HOUR)
    since, until = START + 4 * HOUR, START + 6 * HOUR
    task = await begin(scene, endpoint, since=since, until=until)
    await failed(scene, application, endpoint)
    await run(scene)
    done = await again(scene, task)
    # A minute around it is looked at as well, for commits that came late.
    assert (done.looked, done.made) == (3, 2)


async def test_a_time_that_a_clock_showed_twice_is_looked_at_whole(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    await failed(scene, application, endpoint)
    scene.pass_time(HOUR)
    await failed(scene, application, endpoint)
    expected = scene.now
    scene.pass_time(-HOUR // 2)
    await store.follow_clock(expected=expected, now=scene.now)
    await failed(scene, application, endpoint)
    for since, until, made in (
        (START + HOUR // 4, START + 3 * HOUR // 4, 1),
        (START + 3 * HOUR // 4, START + 2 * HOUR, 1),
    ):
        task = await begin(scene, endpoint, since=since, until=until)
        await run(scene)
        assert (await again(scene, task)).made == made


async def test_what_comes_later_is_no_part_of_it(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await failed(scene, application, endpoint)
    task = await begin(scene, endpoint)
    await failed(scene, application, endpoint)
    await run(scene)
    assert (await again(scene, task)).made == 1


async def test_a_step_about_a_disabled_or_deleted_endpoint_is_refused(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    await failed(scene, application, endpoint)
    task = await begin(scene, endpoint)
    claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert claimed is not None
    await scene.update(endpoint, disabled=True)
    sight = await store.task_sight(claimed, now=scene.now, rows=10, due_max=10)
    refused = next_step(claimed, sight, rows=10, most=10)
    assert isinstance(refused, Refused)
    assert "disabled" in refused.error
    # One that was disabled after the look gets nothing either.
    last = Step(position=task.last, looked=1, message_ids=(task.last,), finished=True)
    assert await store.take_step(claimed, last, now=scene.now, due_at=scene.now)
    await scene.update(endpoint, disabled=False)
    assert await scene.claim() == ()
    other = await begin(scene, endpoint)
    await store.delete_endpoint(application.id, endpoint.public_id, now=scene.now)
    sight = await store.task_sight(other, now=scene.now, rows=10, due_max=10)
    assert isinstance(next_step(other, sight, rows=10, most=10), Refused)
    assert await store.fail_task(claimed, "no", now=scene.now) is False


# -- claims and fences --------------------------------------------------------------------


async def test_a_task_is_claimed_by_one_at_a_time(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    await begin(scene, endpoint)
    first = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert first is not None
    assert await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE) is None
    scene.pass_time(MINUTE)
    second = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert second is not None
    assert second.claim_number == first.claim_number + 1
    # What the first does now is not done, and changes nothing.
    assert await step(scene, first) is False
    assert await store.fail_task(first, "late", now=scene.now) is False
    await store.put_off_task(first, until=scene.now, failures=9)
    assert await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE) is None
    assert await step(scene, second) is True


async def test_a_step_that_was_kept_is_not_made_again(store: Store, scene: Scene) -> None:
    """The answer to a commit was lost; its caller asks once more."""
    application, endpoint = await scene.seller()
    message = await failed(scene, application, endpoint)
    await failed(scene, application, endpoint)
    task = await begin(scene, endpoint)
    claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert claimed is not None
    one = Step(position=message, looked=1, message_ids=(message,))
    assert await store.take_step(claimed, one, now=scene.now, due_at=scene.now)
    (claim,) = await scene.claim()
    await scene.record(claim)
    assert not await store.take_step(claimed, one, now=scene.now, due_at=scene.now)
    assert await scene.claim() == ()
    assert (await again(scene, task)).made == 1


async def test_tasks_take_turns(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    for _ in range(6):
        await failed(scene, application, endpoint)
    tasks = [await begin(scene, endpoint) for _ in range(2)]
    order = []
    for _ in range(4):
        scene.pass_time(1)
        claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
        assert claimed is not None
        order.append(claimed.id)
        await step(scene, claimed, rows=1)
    assert order == [tasks[0].id, tasks[1].id] * 2


async def test_a_task_that_is_put_off_waits(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    await begin(scene, endpoint)
    claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert claimed is not None
    await store.put_off_task(claimed, until=scene.now + HOUR, failures=3)
    assert await store.next_task_at() == scene.now + HOUR
    assert await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE) is None
    scene.pass_time(HOUR)
    later = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert later is not None
    assert later.failures == 3
    await step(scene, later, rows=1)
    assert (await again(scene, later)).failures == 0


async def test_a_cancelled_task_does_nothing_more(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await failed(scene, application, endpoint)
    task = await begin(scene, endpoint)
    claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert claimed is not None
    cancelled = await store.cancel_task(ORGANIZATION, task.public_id, now=scene.now + 5)
    assert (cancelled.status, cancelled.updated_at) == (TaskStatus.CANCELLED, scene.now + 5)
    assert await step(scene, claimed) is False
    assert await scene.claim() == ()
    assert await store.next_task_at() is None
    assert await store.running_tasks() == 0
    # Twice is once.
    assert await store.cancel_task(ORGANIZATION, task.public_id, now=scene.now) == cancelled
    other = await begin(scene, endpoint)
    await run(scene)
    with pytest.raises(ConflictError, match="finished"):
        await store.cancel_task(ORGANIZATION, other.public_id, now=scene.now)


async def test_a_failed_task_says_why(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    await begin(scene, endpoint)
    claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert claimed is not None
    assert await store.fail_task(claimed, "The endpoint is gone.", now=scene.now)
    done = await again(scene, claimed)
    assert (done.status, done.error) == (TaskStatus.FAILED, "The endpoint is gone.")


# -- the list -----------------------------------------------------------------------------


async def test_an_organization_runs_so_many_at_a_time(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    one = await begin(scene, endpoint, running_max=2)
    await begin(scene, endpoint, running_max=2)
    with pytest.raises(LimitReachedError, match="2 background tasks"):
        await begin(scene, endpoint, running_max=2)
    await store.cancel_task(ORGANIZATION, one.public_id, now=scene.now)
    await begin(scene, endpoint, running_max=2)
    assert await store.running_tasks() == 2


async def test_a_repeated_request_is_answered_as_the_first(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=False), lambda _made: b"{}")
    await try_to_begin(scene, endpoint, once=mark)
    assert await try_to_begin(scene, endpoint, once=mark) == Repeated(b"{}")
    assert len((await store.tasks(ORGANIZATION, ALL, Page())).data) == 1


async def test_tasks_are_listed_by_organization_status_and_kind(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    one = await begin(scene, endpoint)
    other = await begin(scene, endpoint, TaskKind.BULK_REPLAY)
    await store.cancel_task(ORGANIZATION, one.public_id, now=scene.now)

    async def listed(which: TaskFilter, **page: Any) -> list[str]:
        part = await store.tasks(ORGANIZATION, which, Page(**page))
        return [task.public_id for task in part.data]

    assert await listed(ALL) == [one.public_id, other.public_id]
    assert await listed(ALL, descending=True, limit=1) == [other.public_id]
    assert await listed(ALL, after=one.public_id) == [other.public_id]
    running = TaskFilter(statuses=frozenset({TaskStatus.RUNNING}))
    assert await listed(running) == [other.public_id]
    assert await listed(TaskFilter(kind=TaskKind.RECOVER)) == [one.public_id]
    assert (await store.tasks("org_other", ALL, Page())).data == ()
    for ref in (one.public_id, "qtask_no"):
        with pytest.raises(NotFoundError):
            await store.task("org_other", ref)


async def test_what_ended_long_ago_is_forgotten(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    tasks = [await begin(scene, endpoint) for _ in range(4)]
    for task in tasks[:3]:
        await store.cancel_task(ORGANIZATION, task.public_id, now=scene.now)
        scene.pass_time(DAY)
    assert await store.prune_tasks(START + DAY + 1, limit=1) == 1
    assert await store.prune_tasks(START + DAY + 1, limit=9) == 1
    assert await store.prune_tasks(START + DAY + 1, limit=9) == 0
    left = (await store.tasks(ORGANIZATION, ALL, Page())).data
    assert [task.id for task in left] == [tasks[2].id, tasks[3].id]


async def test_a_new_task_rings(store: Store, scene: Scene) -> None:
    _application, endpoint = await scene.seller()
    rung: list[bool] = []
    store.on_task(lambda: rung.append(True))
    await begin(scene, endpoint)
    assert rung == [True]
