"""Background tasks and crashes: a step is there whole or not at all; and parked deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from marketbell.model import Application, Endpoint, Instant
from marketbell.store import task_steps
from marketbell.store.base import ParkedPlace, Step, Store
from marketbell.store.resending import make_due
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import Ground
from support.opened import opened
from support.tasks import again, begin, failed, manual, run, step

SECOND = 1_000
MINUTE = 60_000
DAY = 86_400_000


# -- parked deliveries --------------------------------------------------------------------


async def park(scene: Scene, application: Application, endpoint: Endpoint) -> int:
    message = (await scene.publish(application, endpoint)).message
    for _ in range(20):
        assert len(await scene.claim(lease=SECOND)) == 1
        scene.pass_time(MINUTE)
    return message.id


async def test_parked_deliveries_of_an_organization_are_made_due(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    theirs = await scene.application("org_other")
    strange = await scene.endpoint(theirs)
    ours = [await park(scene, application, endpoint) for _ in range(3)]
    await park(scene, theirs, strange)
    driven, place = 0, cast(ParkedPlace | None, ParkedPlace())
    while place is not None:
        count, place = await store.redrive_parked(ORGANIZATION, place, now=scene.now, limit=2)
        driven += count
    assert driven == 3
    claims = await scene.claim()
    assert [claim.message.id for claim in claims] == ours
    assert (await store.gauges(now=scene.now)).parked == 1


# -- crashes ------------------------------------------------------------------------------


async def story(scene: Scene) -> tuple[Application, Endpoint, list[int]]:
    """A seller of whose seven messages four have failed."""
    application, endpoint = await scene.seller()
    wanted = []
    for place in range(7):
        if place % 2:
            await scene.deliver(application, endpoint)
        else:
            wanted.append(await failed(scene, application, endpoint))
    return application, endpoint, wanted


async def finish(store: Store, now: Instant, before: Callable[[], None] = lambda: None) -> None:
    """Run every task to its end; `before` is called between any two transactions."""
    scene = Scene(store, now=now)
    while True:
        before()
        task = await store.claim_task(now=now, lease_until=now + MINUTE)
        if task is None:
            return
        before()
        assert await step(scene, task)


async def outcome(store: Store, public_id: str, now: Instant) -> tuple[object, ...]:
    """What the task says of itself, and what it has made due."""
    task = await store.task(ORGANIZATION, public_id)
    made = await manual(Scene(store, now=now))
    return (task.status, task.position, task.looked, task.made, task.skipped, tuple(made))


async def test_a_crash_between_any_two_steps_loses_and_repeats_nothing(ground: Ground) -> None:
    crashes: list[Ground] = []

    def crash() -> None:
        crashes.append(ground.after_a_crash())

    async with ground.opened() as store:
        scene = Scene(store)
        _application, endpoint, wanted = await story(scene)
        task = await begin(scene, endpoint)
        await finish(store, scene.now, crash)
        expected = await outcome(store, task.public_id, scene.now)
    assert expected[-1] == tuple(wanted)
    assert len(crashes) >= 7
    for crashed in crashes:
        now = scene.now + MINUTE  # a lease that nobody gives back ends by itself
        async with crashed.opened(FakeClock(now)) as store:
            await finish(store, now)
            assert await outcome(store, task.public_id, now) == expected


async def test_a_claim_of_the_last_process_is_over_when_the_store_is_opened(
    database_file: Path,
) -> None:
    """One process alone has the file; elsewhere another node may be alive."""
    async with opened(database_file) as store:
        scene = Scene(store)
        _application, endpoint = await scene.seller()
        await begin(scene, endpoint)
        assert await store.claim_task(now=scene.now, lease_until=scene.now + DAY)
    async with opened(database_file, FakeClock(scene.now)) as store:
        assert await store.claim_task(now=scene.now, lease_until=scene.now + DAY)


async def test_a_step_that_breaks_in_the_middle_is_undone_whole(
    store: Store, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, endpoint = await scene.seller()
    messages = [await failed(scene, application, endpoint) for _ in range(2)]
    task = await begin(scene, endpoint)
    claimed = await store.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert claimed is not None
    calls: list[object] = []

    def breaking(*args: object, **kwargs: object) -> bool:
        calls.append(args)
        if len(calls) == 2:
            raise ValueError("the second one breaks")
        return make_due(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(task_steps, "make_due", breaking)
    both = Step(position=messages[-1], looked=2, message_ids=messages, finished=True)
    with pytest.raises(Exception, match="the second one breaks"):
        await store.take_step(claimed, both, now=scene.now, due_at=scene.now)
    monkeypatch.undo()
    assert await scene.claim() == ()
    assert (await again(scene, task)).position == task.first
    assert await store.take_step(claimed, both, now=scene.now, due_at=scene.now)
    assert await manual(scene) == messages


async def test_publishing_goes_on_beside_steps(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    for _ in range(20):
        await failed(scene, application, endpoint)
    task = await begin(scene, endpoint)
    published: Sequence[object] = ()

    async def publish() -> None:
        nonlocal published
        published = [await scene.publish(application, endpoint) for _ in range(10)]

    await asyncio.gather(run(scene), publish())
    assert len(published) == 10
    assert (await again(scene, task)).made == 20
    assert len(await scene.claim(limit=1_000)) == 30
