"""Endpoints that are paused and resumed: their lane is held and let go."""

from __future__ import annotations

import pytest

from marketbell.errors import NotFoundError
from marketbell.store.base import Idempotency, Once, Repeated, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene


async def test_what_waits_is_held_and_let_go(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await scene.publish(application, endpoint)
    await store.pause_endpoint(application.id, endpoint.public_id, paused=True, now=START)
    paused = await store.endpoint(application.id, endpoint.public_id)
    assert (paused.paused, paused.revision) == (True, endpoint.revision + 1)
    assert await scene.claim() == ()
    await scene.publish(application, endpoint)
    assert await scene.claim() == ()
    await store.pause_endpoint(application.id, endpoint.public_id, paused=False, now=START)
    assert len(await scene.claim()) == 2


async def test_one_that_is_paused_already_stays_as_it_is(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    for _ in range(2):
        await store.pause_endpoint(application.id, endpoint.public_id, paused=True, now=START)
    found = await store.endpoint(application.id, endpoint.public_id)
    assert found.revision == endpoint.revision + 1


async def test_a_disabled_one_is_not_let_go_by_a_resume(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await scene.publish(application, endpoint)
    await store.pause_endpoint(application.id, endpoint.public_id, paused=True, now=START)
    paused = await store.endpoint(application.id, endpoint.public_id)
    await scene.update(paused, disabled=True)
    await store.pause_endpoint(application.id, endpoint.public_id, paused=False, now=START)
    assert await scene.claim() == ()
    found = await store.endpoint(application.id, endpoint.public_id)
    await scene.update(found, disabled=False)
    assert len(await scene.claim()) == 1


async def test_a_repeated_pause_does_not_undo_a_resume(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=True), lambda _made: b"")

    async def pause(paused: bool, once: Once | None) -> Repeated | None:
        return await store.pause_endpoint(
            application.id, endpoint.public_id, paused=paused, now=START, once=once
        )

    assert await pause(True, mark) is None
    assert await pause(False, None) is None
    assert await pause(True, mark) == Repeated(b"")
    assert not (await store.endpoint(application.id, endpoint.public_id)).paused


async def test_one_that_is_not_there_cannot_be_paused(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    other = await scene.application()
    with pytest.raises(NotFoundError):
        await store.pause_endpoint(other.id, endpoint.public_id, paused=True, now=START)
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    with pytest.raises(NotFoundError):
        await store.pause_endpoint(application.id, endpoint.public_id, paused=True, now=START)
