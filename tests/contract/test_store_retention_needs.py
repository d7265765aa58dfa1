"""Retention: what stays past its age because something needs it, and when it goes after all."""

from __future__ import annotations

import pytest

from marketbell.errors import NotFoundError
from marketbell.model import DeliveryState
from marketbell.store.base import (
    Ages,
    EndpointDraft,
    MessageFilter,
    Page,
    Pruned,
    Store,
    Waiting,
)
from marketbell.store.walk import ROUND_MS
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene

MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)


async def last_message(scene: Scene) -> None:
    """A message of now, so that the ones before it are not the last."""
    await scene.publish(await scene.application())


async def test_what_an_unfinished_delivery_needs_stays(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    published = await scene.publish(application, endpoint, lease=MINUTE)
    await scene.deliver(application, endpoint)
    message = published.message
    scene.pass_time(60 * DAY)
    await last_message(scene)
    assert await scene.prune(AGES) == Pruned(payloads=1, attempts=1, messages=1)
    assert (await store.message(application.id, message.public_id)).payload == message.payload
    (claim,) = await scene.claim()
    await scene.record(claim)
    scene.pass_time(ROUND_MS)
    after = await scene.prune(AGES)
    assert (after.payloads, after.messages) == (1, 1)
    with pytest.raises(NotFoundError):
        await store.message(application.id, message.public_id)


async def test_what_a_paused_endpoint_waits_for_stays(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application, paused=True)
    message = (await scene.publish(application, endpoint)).message
    scene.pass_time(60 * DAY)
    await last_message(scene)
    assert await scene.prune(AGES) == Pruned()
    assert (await store.message(application.id, message.public_id)).payload
    since = START + 10 * DAY
    assert await store.waiting(AGES, now=since - 1) == Waiting(deliveries=0, keys=0, since=None)
    assert await store.waiting(AGES, now=since) == Waiting(deliveries=1, keys=0, since=since)


async def test_what_a_disabled_endpoint_waits_for_is_cancelled_with_its_payload(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    other = await scene.endpoint(application)
    alone = (await scene.publish(application, endpoint)).message
    both = (await scene.publish(application, endpoint, other)).message
    young_at = START + 5 * DAY
    await store.disable_endpoint(endpoint.id, now=START)
    scene.now = young_at
    young = (await scene.publish(application, endpoint)).message
    scene.now = START + 10 * DAY
    assert await scene.prune(AGES) == Pruned(payloads=1, cancelled=2)
    states = {
        message.id: await store.delivery_states(message.id) for message in (alone, both, young)
    }
    assert states[alone.id] == {endpoint.public_id: DeliveryState.CANCELLED}
    assert states[both.id] == {
        endpoint.public_id: DeliveryState.CANCELLED,
        other.public_id: DeliveryState.PENDING,
    }
    assert states[young.id] == {endpoint.public_id: DeliveryState.PENDING}
    assert (await store.message(application.id, both.public_id)).payload
    assert (await store.message(application.id, young.public_id)).payload


async def test_an_attempt_in_flight_at_a_disabled_endpoint_keeps_its_payload(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    await scene.publish(application, endpoint, lease=90 * DAY)
    await store.disable_endpoint(endpoint.id, now=START)
    scene.pass_time(20 * DAY)
    assert await scene.prune(AGES) == Pruned()


async def test_a_held_key_keeps_the_payload_that_resolves_it(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    first = (await scene.publish(application, endpoint, order_key=KEY)).message
    second = (await scene.publish(application, endpoint, order_key=KEY)).message
    (claim,) = await scene.claim()
    await scene.record(claim, 500, hold_key=True)
    scene.pass_time(60 * DAY)
    await last_message(scene)
    assert await scene.prune(AGES) == Pruned(attempts=1)
    waiting = Waiting(deliveries=1, keys=1, since=START + 10 * DAY)
    assert await store.waiting(AGES, now=scene.now) == waiting
    await store.resend(application.id, first.public_id, endpoint.public_id, now=scene.now)
    (claim,) = await scene.claim()
    await scene.record(claim)
    (claim,) = await scene.claim()
    assert claim.message.id == second.id


async def test_an_order_goes_on_behind_what_was_cancelled(store: Store, scene: Scene) -> None:
    """The first of a key is cancelled for its age; the second is young, and its turn has come."""
    application, endpoint = await scene.seller()
    await scene.publish(application, endpoint, order_key=KEY)
    scene.pass_time(9 * DAY)
    second = (await scene.publish(application, endpoint, order_key=KEY)).message
    await store.disable_endpoint(endpoint.id, now=scene.now)
    scene.pass_time(DAY)
    assert await scene.prune(AGES) == Pruned(payloads=1, cancelled=1)
    await store.update_endpoint(
        application.id, endpoint.public_id, EndpointDraft(url=endpoint.url), now=scene.now
    )
    (claim,) = await scene.claim()
    assert claim.message.id == second.id


async def test_a_payload_may_be_kept_for_its_own_time(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    short = await scene.deliver(application, endpoint, kept_for=HOUR)
    common = await scene.deliver(application, endpoint)
    long = await scene.deliver(application, endpoint, kept_for=50 * DAY)
    needed = (await scene.publish(application, endpoint, kept_for=HOUR)).message

    async def kept() -> list[int]:
        found = await store.messages(application.id, MessageFilter(), Page())
        return [message.id for message in found.data if message.payload]

    scene.pass_time(HOUR - 1)
    assert await scene.prune(AGES) == Pruned()
    scene.pass_time(1)
    assert await scene.prune(AGES) == Pruned(payloads=1)
    assert await kept() == [needed.id, long.id, common.id]
    (claim,) = await scene.claim()
    await scene.record(claim)
    scene.pass_time(ROUND_MS)
    assert await scene.prune(AGES) == Pruned(payloads=1)
    scene.now = START + 10 * DAY
    assert await scene.prune(AGES) == Pruned(payloads=1)
    assert await kept() == [long.id]
    # The message stays as long as the payload was promised.
    scene.now = START + 49 * DAY
    await last_message(scene)
    gone = await scene.prune(AGES)
    assert (gone.messages, gone.payloads) == (3, 0)
    assert await kept() == [long.id]
    scene.now = START + 50 * DAY + ROUND_MS
    gone = await scene.prune(AGES)
    assert (gone.messages, gone.payloads) == (1, 1)
    assert short.id < common.id


async def test_a_shorter_age_holds_for_what_was_kept_before(store: Store, scene: Scene) -> None:
    """The age is the setting's, whatever it was when the message came."""
    application = await scene.application()
    await scene.publish(application)
    scene.pass_time(2 * DAY)
    shorter = Ages(payloads=DAY, attempts=20 * DAY, messages=30 * DAY)
    assert await scene.prune(shorter) == Pruned(payloads=1)


async def test_a_message_from_the_future_holds_up_nothing(store: Store, scene: Scene) -> None:
    """A clock that ran a year ahead for a while leaves rows that are due late, and no others."""
    application, endpoint = await scene.seller()
    first = await scene.deliver(application, endpoint)
    scene.now = START + 365 * DAY
    ahead = [await scene.deliver(application, endpoint) for _ in range(25)]
    scene.now = START
    last = await scene.deliver(application, endpoint)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    gone = await scene.prune(AGES, limit=10)
    assert gone == Pruned(payloads=2, attempts=2, messages=2)
    for message in ahead:
        assert (await store.message(application.id, message.public_id)).payload
    for message in (first, last):
        with pytest.raises(NotFoundError):
            await store.message(application.id, message.public_id)
    scene.now = START + 400 * DAY
    assert (await scene.prune(AGES, limit=10)).messages == 25
