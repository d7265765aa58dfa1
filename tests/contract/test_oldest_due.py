"""Since when the store says that deliveries wait: their own due times, not when their lane is looked at."""

from __future__ import annotations

from marketbell.store.base import Store
from marketbell.testing.stores import Scene

SECOND = 1_000
MINUTE = 60_000


async def oldest(store: Store, scene: Scene) -> int | None:
    """What the store says now."""
    return (await store.gauges(now=scene.now)).oldest_due


async def test_a_lane_that_is_looked_at_again_and_again_grows_older(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    for _ in range(4):
        await scene.publish(application, endpoint)
        scene.pass_time(SECOND)
    began = scene.now - 4 * SECOND
    for taken in range(1, 4):
        scene.pass_time(MINUTE)
        assert len(await scene.claim(limit=1, lease=9 * MINUTE)) == 1
        assert await oldest(store, scene) == began + taken * SECOND
    scene.pass_time(MINUTE)
    assert len(await scene.claim(lease=9 * MINUTE)) == 1
    assert await oldest(store, scene) is None


async def test_what_a_receiver_holds_back_counts_and_what_a_person_pauses_does_not(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    began = scene.now
    await scene.publish(application, endpoint)
    await store.hold(endpoint.id, scene.now + 60 * MINUTE)
    scene.pass_time(MINUTE)
    assert await oldest(store, scene) == began
    await scene.update(endpoint, paused=True)
    assert await oldest(store, scene) is None


async def test_what_waits_for_another_of_its_order_or_for_a_later_time_does_not_count(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    first = await scene.publish(application, endpoint, order_key=b"k", lease=9 * MINUTE)
    await scene.publish(application, endpoint, order_key=b"k")
    scene.pass_time(MINUTE)
    assert await oldest(store, scene) is None
    await scene.record(first.claims[0], 500, again_at=scene.now + MINUTE)
    assert await oldest(store, scene) is None
    scene.pass_time(2 * MINUTE)
    assert await oldest(store, scene) == scene.now - MINUTE
