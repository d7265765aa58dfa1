"""What a store tells when a payload is removed for good: who may have it in memory, and what is cancelled."""

from __future__ import annotations

from marketbell.model import DeliveryState
from marketbell.store.base import Change, Store
from marketbell.store.written_store import WrittenStore
from marketbell.testing.stores import Scene

MINUTE = 60_000


async def test_claims_are_called_back_and_every_cancelled_delivery_is_counted(
    store: Store, scene: Scene
) -> None:
    assert isinstance(store, WrittenStore)
    cancelled: list[int] = []
    changed: list[Change] = []
    store.on_cancelled = cancelled.append
    application = await scene.application()
    waiting, busy = [await scene.endpoint(application) for _ in range(2)]
    message = (await scene.publish(application, waiting, busy)).message
    claims = {claim.endpoint_id: claim for claim in await scene.claim()}
    await scene.record(claims[waiting.id], 500, again_at=scene.now + MINUTE)
    store.on_change(changed.append)
    await store.expunge_payload(application.id, message.public_id, now=scene.now)
    assert changed == [Change(application.id, busy.id)]
    assert cancelled == [1]
    await store.release([claims[busy.id]])
    assert await scene.claim() == ()
    assert cancelled == [1, 1]
    states = await store.delivery_states(message.id)
    assert set(states.values()) == {DeliveryState.CANCELLED}
    assert len(states) == 2
