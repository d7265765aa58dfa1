"""Endpoints in a store: what they are, their secrets at rest, and how their lanes hold and go on."""

from __future__ import annotations

import pytest

from marketbell import ids
from marketbell.errors import ConflictError, LimitReachedError, NotFoundError
from marketbell.model import SLOTS, Endpoint, Policy, SigningKey
from marketbell.store.base import EndpointDraft, Page, Store
from marketbell.store.configuration import slot_of
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene

HOUR = 3_600_000
KEY = b"order-1"


async def test_an_endpoint_is_read_back_as_it_was_made(store: Store, scene: Scene) -> None:
    application = await scene.application()
    draft = EndpointDraft(
        url="https://seller.example/hooks?a=1&b=%20",
        uid="main",
        description="Główny",
        event_types=frozenset({"part.updated", "order.created"}),
        channels=frozenset({"pl"}),
        headers=(("X-Key", "s3cret"), ("x-key", "twice")),
        metadata={"a": "b"},
        policy=Policy(dialect="sellercenter", timeout=5_000),
        throttle_rate=2,
        paused=True,
        version=3,
        secret=SigningKey(kind="v1a", secret=b"p" * 64),
    )
    made = await store.create_endpoint(application.id, draft, now=START, endpoints_max=5)
    assert isinstance(made, Endpoint)
    assert ids.is_id(ids.ENDPOINT, made.public_id)
    for name in EndpointDraft.__struct_fields__:
        if name != "secret":
            assert getattr(made, name) == getattr(draft, name)
    assert made.secrets == (draft.secret,)
    assert (made.application_id, made.created_at, made.updated_at) == (application.id, START, START)
    assert await store.endpoint(application.id, "main") == made
    assert await store.endpoint(application.id, made.public_id) == made


async def test_no_filter_and_an_empty_filter_are_not_the_same(scene: Scene) -> None:
    application = await scene.application()
    everything = await scene.endpoint(application)
    nothing = await scene.endpoint(application, event_types=frozenset(), channels=frozenset())
    assert (everything.event_types, everything.channels) == (None, None)
    assert (nothing.event_types, nothing.channels) == (frozenset(), frozenset())


async def test_slots_are_even_and_always_the_same(scene: Scene) -> None:
    made = await scene.endpoint(await scene.application())
    assert made.slot == slot_of(made.public_id)
    assert slot_of("ep_2hPOoCLSTJgnuKWQrNrpNOFgZFo") == 259
    slots = {slot_of(ids.new_id(ids.ENDPOINT, START)) for _ in range(20_000)}
    assert slots == set(range(SLOTS))


async def test_another_application_sees_nothing(store: Store, scene: Scene) -> None:
    endpoint = await scene.endpoint(await scene.application(), uid="main")
    other = await scene.application()
    for ref in (endpoint.public_id, "main"):
        with pytest.raises(NotFoundError):
            await store.endpoint(other.id, ref)
        with pytest.raises(NotFoundError):
            await store.delete_endpoint(other.id, ref, now=START)
        with pytest.raises(NotFoundError):
            await store.update_endpoint(other.id, ref, EndpointDraft(url=endpoint.url), now=START)
    assert (await store.endpoints(other.id, Page())).data == ()


async def test_an_application_may_have_so_many_endpoints(store: Store, scene: Scene) -> None:
    application = await scene.application()
    first = await scene.endpoint(application, endpoints_max=2)
    await scene.endpoint(application, endpoints_max=2)
    with pytest.raises(LimitReachedError, match="endpoints_per_application_max"):
        await scene.endpoint(application, endpoints_max=2)
    await store.delete_endpoint(application.id, first.public_id, now=START)
    await scene.endpoint(application, endpoints_max=2)


async def test_a_uid_is_free_at_once_after_deletion(store: Store, scene: Scene) -> None:
    application = await scene.application()
    first = await scene.endpoint(application, uid="main")
    with pytest.raises(ConflictError, match="main"):
        await scene.endpoint(application, uid="main")
    await store.delete_endpoint(application.id, "main", now=START)
    with pytest.raises(NotFoundError):
        await store.endpoint(application.id, first.public_id)
    second = await scene.endpoint(application, uid="main")
    assert (await store.endpoint(application.id, "main")).id == second.id != first.id


async def test_an_update_replaces_all_but_the_secret(store: Store, scene: Scene) -> None:
    application = await scene.application()
    before = await scene.endpoint(application, uid="a", headers=(("X", "1"),))
    scene.pass_time(10)
    after = await store.update_endpoint(
        application.id, "a", EndpointDraft(url="https://new.example/"), now=scene.now
    )
    assert (after.url, after.uid, after.headers) == ("https://new.example/", None, ())
    assert after.secrets == before.secrets
    assert after.revision > before.revision
    assert (after.created_at, after.updated_at) == (START, START + 10)


async def test_an_update_may_bring_another_secret_at_once(scene: Scene) -> None:
    endpoint = await scene.endpoint(await scene.application())
    key = SigningKey(kind="v1", secret=b"n" * 32)
    assert (await scene.update(endpoint, secret=key)).secrets == (key,)


async def test_an_update_to_a_taken_uid_changes_nothing(store: Store, scene: Scene) -> None:
    application = await scene.application()
    await scene.endpoint(application, uid="a")
    b = await scene.endpoint(application, uid="b")
    with pytest.raises(ConflictError):
        await scene.update(b, uid="a", url="https://changed.example/")
    assert await store.endpoint(application.id, "b") == b


async def test_slices_come_in_order_of_creation(store: Store, scene: Scene) -> None:
    application = await scene.application()
    made = [await scene.endpoint(application) for _ in range(5)]
    await scene.endpoint(await scene.application())
    first = await store.endpoints(application.id, Page(limit=3))
    assert (list(first.data), first.done) == (made[:3], False)
    rest = await store.endpoints(application.id, Page(limit=3, after=made[2].public_id))
    assert (list(rest.data), rest.done) == (made[3:], True)
    back = await store.endpoints(application.id, Page(limit=2, before=made[2].public_id))
    assert (list(back.data), back.done) == (made[:2], True)
