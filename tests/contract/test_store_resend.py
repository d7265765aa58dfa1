"""Resends: what each state of a delivery, an endpoint and an order makes of them."""

from __future__ import annotations

import pytest

from marketbell.errors import ConflictError, GoneError
from marketbell.model import DeliveryState, Trigger
from marketbell.store.base import Ages, Idempotency, MessageFilter, Once, Repeated, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene

SECOND = 1_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"

ALL = MessageFilter()


async def test_a_delivered_message_is_sent_again(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    scene.pass_time(DAY)
    await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    (claim,) = await scene.claim()
    assert claim.message == message
    assert claim.trigger is Trigger.MANUAL
    assert (claim.attempt_count, claim.born_at, claim.due_at) == (0, scene.now, scene.now)
    assert claim.claim_number > 1
    await scene.record(claim, 500)
    # It was delivered once, and stays so.
    assert await store.delivery_states(message.id) == {endpoint.public_id: DeliveryState.DELIVERED}


async def test_a_claim_of_before_does_not_move_what_was_made_due_again(
    store: Store, scene: Scene
) -> None:
    """A success that comes late ends a delivery while a later claim of it is still at work."""
    application, endpoint = await scene.seller()
    (first,) = (await scene.publish(application, endpoint, lease=SECOND)).claims
    scene.pass_time(MINUTE)
    (second,) = await scene.claim()
    await scene.record(first)
    await store.resend(application.id, first.message.public_id, endpoint.public_id, now=scene.now)
    (third,) = await scene.claim()
    assert third.claim_number > second.claim_number
    await scene.record(second, 500)
    assert await store.delivery_states(first.message.id) == {
        endpoint.public_id: DeliveryState.SENDING
    }
    await scene.record(third, 500, again_at=scene.now)
    assert len(await scene.claim()) == 1


async def test_a_failed_message_has_its_whole_schedule_before_it(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await scene.record(claim, 500, again_at=START)
    (claim,) = await scene.claim()
    assert claim.attempt_count == 1
    await scene.record(claim, 500)
    await store.resend(application.id, claim.message.public_id, endpoint.public_id, now=START + 5)
    scene.pass_time(5)
    (claim,) = await scene.claim()
    assert (claim.attempt_count, claim.trigger) == (0, Trigger.MANUAL)
    await scene.record(claim, 500, again_at=START + 9)
    scene.pass_time(5)
    (claim,) = await scene.claim()
    assert claim.attempt_count == 1


async def test_a_waiting_delivery_is_due_now(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await scene.record(claim, 500, again_at=START + DAY)
    assert await scene.claim() == ()
    await store.resend(application.id, claim.message.public_id, endpoint.public_id, now=START + 5)
    scene.pass_time(5)
    (again,) = await scene.claim()
    assert (again.attempt_count, again.trigger, again.born_at) == (0, Trigger.MANUAL, START + 5)
    assert again.claim_number == claim.claim_number + 1


async def test_while_a_retry_is_under_way_a_resend_is_refused(store: Store, scene: Scene) -> None:
    """It would be lost if that were the last one, and failed."""
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await scene.record(claim, 500, again_at=START)
    (retry,) = await scene.claim()
    again = (application.id, claim.message.public_id, endpoint.public_id)
    with pytest.raises(ConflictError, match="retry of this delivery is under way"):
        await store.resend(*again, now=START)
    await scene.record(retry, 500)
    await store.resend(*again, now=START)
    assert [one.trigger for one in await scene.claim()] == [Trigger.MANUAL]


async def test_a_first_attempt_under_way_is_left_alone(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await store.resend(application.id, claim.message.public_id, endpoint.public_id, now=START)
    assert await scene.claim() == ()
    await scene.record(claim)
    assert await scene.claim() == ()


async def test_a_parked_delivery_is_due_again(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = (await scene.publish(application, endpoint)).message
    for _ in range(20):
        assert len(await scene.claim(lease=SECOND)) == 1
        scene.pass_time(MINUTE)
    assert await scene.claim() == ()
    assert (await store.gauges(now=scene.now)).parked == 1
    await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    assert len(await scene.claim()) == 1
    assert (await store.gauges(now=scene.now)).parked == 0


async def test_an_endpoint_that_never_had_the_message_gets_it(store: Store, scene: Scene) -> None:
    application, one = await scene.seller()
    message = await scene.deliver(application, one)
    late = await scene.endpoint(application)
    await store.resend(application.id, message.public_id, late.public_id, now=scene.now)
    (claim,) = await scene.claim()
    assert (claim.endpoint_id, claim.message) == (late.id, message)


async def test_a_paused_endpoint_gets_it_when_it_goes_on(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    await scene.update(endpoint, paused=True)
    await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    assert await scene.claim() == ()
    await scene.update(endpoint, paused=False)
    assert len(await scene.claim()) == 1


async def test_a_disabled_endpoint_is_refused(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    await scene.update(endpoint, disabled=True)
    with pytest.raises(ConflictError, match="disabled"):
        await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)


async def test_what_retention_took_cannot_be_sent_again(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    scene.pass_time(2 * DAY)
    ages = Ages(payloads=DAY, attempts=9 * DAY, messages=9 * DAY)
    assert (await store.prune(ages, now=scene.now, limit=100)).payloads == 1
    with pytest.raises(GoneError, match="no longer kept"):
        await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    assert (await store.message(application.id, message.public_id)).payload == b""


async def test_a_repeated_resend_happens_once(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint)
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=True), lambda _made: b"{}")
    refs = (application.id, message.public_id, endpoint.public_id)
    assert await store.resend(*refs, now=scene.now, once=mark) is None
    (claim,) = await scene.claim()
    await scene.record(claim)
    assert await store.resend(*refs, now=scene.now, once=mark) == Repeated(b"{}")
    assert await scene.claim() == ()


async def test_a_resend_leaves_the_order_and_lets_the_next_go(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    first = (await scene.publish(application, endpoint, order_key=KEY)).message
    second = (await scene.publish(application, endpoint, order_key=KEY)).message
    third = (await scene.publish(application, endpoint, order_key=KEY)).message
    (claim,) = await scene.claim()
    assert claim.message.id == first.id
    await scene.record(claim, 500, again_at=START + DAY)
    assert await scene.claim() == ()
    await store.resend(application.id, first.public_id, endpoint.public_id, now=scene.now)
    again, following = await scene.claim()
    assert (again.message.id, again.order_key) == (first.id, None)
    assert (following.message.id, following.order_key) == (second.id, KEY)
    # One that was blocked goes out of turn, and the order goes on without it.
    await store.resend(application.id, third.public_id, endpoint.public_id, now=scene.now)
    (out_of_turn,) = await scene.claim()
    assert out_of_turn.message.id == third.id
    await scene.record(following)
    assert await scene.claim() == ()


async def test_a_resend_that_succeeds_releases_the_key_that_waits_for_it(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    first = (await scene.publish(application, endpoint, order_key=KEY)).message
    second = (await scene.publish(application, endpoint, order_key=KEY)).message
    (claim,) = await scene.claim()
    await scene.record(claim, 500, hold_key=True)
    # A resend of one that waits behind it does not release the others.
    third = (await scene.publish(application, endpoint, order_key=KEY)).message
    await store.resend(application.id, third.public_id, endpoint.public_id, now=scene.now)
    (claim,) = await scene.claim()
    assert claim.message.id == third.id
    await scene.record(claim)
    assert await scene.claim() == ()
    await store.resend(application.id, first.public_id, endpoint.public_id, now=scene.now)
    (claim,) = await scene.claim()
    assert claim.message.id == first.id
    await scene.record(claim)
    (claim,) = await scene.claim()
    assert claim.message.id == second.id
