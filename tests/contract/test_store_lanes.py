"""How an endpoint's lane and its ordered keys hold, and how they go on."""

from __future__ import annotations

import pytest

from marketbell.model import Application, DeliveryState, Endpoint, OrderOnFailure, Policy
from marketbell.store.base import ApplicationDraft, AttemptFilter, Page, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

HOUR = 3_600_000
KEY = b"order-1"


async def waiting(scene: Scene) -> tuple[Application, Endpoint]:
    """An endpoint with one delivery that is due, and one that is due in an hour."""
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    (claim,) = await scene.claim()
    await scene.record(claim, 500, again_at=scene.now + HOUR)
    await scene.publish(application, endpoint)
    return application, endpoint


@pytest.mark.parametrize("way", ["paused", "disabled"])
async def test_a_held_endpoint_sends_nothing_until_it_goes_on(scene: Scene, way: str) -> None:
    application, endpoint = await waiting(scene)
    held = await scene.update(endpoint, **{way: True})
    await scene.publish(application, endpoint)
    scene.pass_time(2 * HOUR)
    assert await scene.claim() == ()
    assert await scene.claim(lanes=[endpoint.id]) == ()
    await scene.update(held, **{way: False})
    claims = await scene.claim()
    assert len(claims) == 3
    assert {claim.endpoint_revision for claim in claims} == {endpoint.revision + 2}


@pytest.mark.parametrize("way", ["paused", "disabled"])
async def test_an_endpoint_may_be_made_held(scene: Scene, way: str) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application, **{way: True})
    await scene.publish(application, endpoint)
    assert await scene.claim() == ()
    await scene.update(endpoint, **{way: False})
    assert len(await scene.claim()) == 1


async def test_an_endpoint_held_for_two_reasons_waits_for_both(scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application, paused=True, disabled=True)
    await scene.publish(application, endpoint)
    endpoint = await scene.update(endpoint, paused=False)
    assert await scene.claim() == ()
    await scene.update(endpoint, disabled=False)
    assert len(await scene.claim()) == 1


async def test_what_a_held_lane_learns_meanwhile_does_not_release_it(
    store: Store, scene: Scene
) -> None:
    """Attempts in flight when it was paused end later, and may ask for a rest or a retry."""
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    (claim,) = await scene.claim()
    await scene.update(endpoint, paused=True)
    await scene.record(claim, 503, again_at=scene.now + 1_000)
    await store.hold(endpoint.id, scene.now + 2_000)
    await scene.publish(application, endpoint)
    scene.pass_time(HOUR)
    assert await scene.claim(lanes=[endpoint.id]) == ()
    assert await scene.claim() == ()


async def test_a_change_of_something_else_keeps_a_rest(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    await store.hold(endpoint.id, scene.now + 5_000)
    await scene.update(endpoint, description="new")
    assert await scene.claim() == ()
    scene.pass_time(5_000)
    assert len(await scene.claim()) == 1


async def test_a_receiver_may_have_its_endpoint_disabled(store: Store, scene: Scene) -> None:
    application, endpoint = await waiting(scene)
    await store.note_health(endpoint.id, START)
    assert await store.disable_endpoint(endpoint.id, now=START + 9) == endpoint.public_id
    found = await store.endpoint(application.id, endpoint.public_id)
    assert (found.disabled, found.updated_at, found.failing_since) == (True, START + 9, None)
    assert await scene.claim() == ()
    assert await store.disable_endpoint(endpoint.id, now=START + 10) is None
    assert await store.endpoint(application.id, endpoint.public_id) == found
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    await store.disable_endpoint(endpoint.id, now=START + 11)
    assert await store.disable_endpoint(987_654, now=START + 11) is None


async def test_health_is_forgotten_when_an_endpoint_is_enabled(store: Store, scene: Scene) -> None:
    endpoint = await scene.endpoint(await scene.application(), disabled=True)
    await store.note_health(endpoint.id, START)
    assert await store.failing_since(START + 1, 10) == ()
    enabled = await scene.update(endpoint, disabled=False)
    assert enabled.failing_since is None
    await store.note_health(endpoint.id, START + 5)
    assert await store.failing_since(START + 5, 10) == ()
    assert await store.failing_since(START + 6, 10) == (endpoint.id,)
    found = await store.endpoint(endpoint.application_id, endpoint.public_id)
    assert found.failing_since == START + 5


async def test_a_deleted_endpoint_sends_nothing(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    published = await scene.publish(application, endpoint, lease=60_000)
    await scene.publish(application, endpoint)
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    assert await scene.claim() == ()
    assert await scene.claim(lanes=[endpoint.id]) == ()
    # The attempt that was in flight is recorded all the same.
    await scene.record(published.claims[0], 500, again_at=scene.now)
    assert await scene.claim() == ()
    rows = await store.attempts(application.id, AttemptFilter(endpoint_id=endpoint.id), Page())
    assert [row.next_at for row in rows.data] == [None]
    states = await store.delivery_states(published.message.id)
    assert states == {endpoint.public_id: DeliveryState.CANCELLED}


# -- keys that wait for a failed delivery ---------------------------------------------------


async def held_key(
    scene: Scene, order_on_failure: OrderOnFailure | None = None
) -> tuple[Application, Endpoint]:
    """An endpoint with a key that a failed delivery holds, and one delivery behind it."""
    application = await scene.application()
    endpoint = await scene.endpoint(application, policy=Policy(order_on_failure=order_on_failure))
    await scene.publish(application, endpoint, order_key=KEY)
    await scene.publish(application, endpoint, order_key=KEY)
    (claim,) = await scene.claim()
    await scene.record(claim, 500, hold_key=True)
    assert await scene.claim() == ()
    return application, endpoint


async def test_an_endpoint_that_moves_on_lets_its_held_keys_go(scene: Scene) -> None:
    _application, endpoint = await held_key(scene, OrderOnFailure.HOLD)
    endpoint = await scene.update(endpoint, description="still holding")
    assert await scene.claim() == ()
    await scene.update(endpoint, policy=Policy(order_on_failure=OrderOnFailure.MOVE_ON))
    assert len(await scene.claim()) == 1


async def test_an_application_that_moves_on_lets_held_keys_go(store: Store, scene: Scene) -> None:
    application, _endpoint = await held_key(scene)
    other, _own = await held_key(scene, OrderOnFailure.HOLD)

    async def say(owner: Application, order_on_failure: OrderOnFailure) -> int:
        await store.update_application(
            ORGANIZATION,
            owner.public_id,
            ApplicationDraft(name="x", policy=Policy(order_on_failure=order_on_failure)),
            now=scene.now,
        )
        return len(await scene.claim())

    assert await say(application, OrderOnFailure.HOLD) == 0
    assert await say(application, OrderOnFailure.MOVE_ON) == 1
    # The endpoint's own word stands above the application's.
    assert await say(other, OrderOnFailure.MOVE_ON) == 0
