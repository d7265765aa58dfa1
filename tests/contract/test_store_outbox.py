"""The outbox in the store: a row goes with its message, or is kept as rejected; never both, never neither."""

from __future__ import annotations

import asyncio

import pytest

from marketbell.errors import ConflictError, InvalidError, NotFoundError, StaleError, TakenError
from marketbell.model import Application
from marketbell.store.base import (
    Idempotency,
    Once,
    OutboxKey,
    Page,
    Publication,
    Published,
    Rejected,
    Rejection,
    Repeated,
    Store,
)
from marketbell.testing.stores import ORGANIZATION, Scene
from support.outbox_rows import put, reject

BODY = b'{"eventType":"a",  "payload":{}}'


def of_row(scene: Scene, application: Application, key: OutboxKey, **fields: object) -> Publication:
    return Publication(
        message=scene.message(application, **fields),
        revision=application.revision,
        births=(),
        outbox=key,
    )


async def left(store: Store) -> int:
    return (await store.outbox_figures()).waiting


async def test_a_row_goes_with_its_message(store: Store, scene: Scene) -> None:
    application = await scene.application()
    keys = await put(store, BODY, BODY, application="a", at=scene.now)
    (verdict,) = await store.publish([of_row(scene, application, keys[0])])
    assert isinstance(verdict, Published)
    assert await put(store, application="a", at=scene.now) == keys[1:]


async def test_a_row_is_published_once(store: Store, scene: Scene) -> None:
    application = await scene.application()
    (key,) = await put(store, BODY, application="a", at=scene.now)
    publications = [of_row(scene, application, key) for _ in range(5)]
    verdicts = await asyncio.gather(*(store.publish([one]) for one in publications))
    assert sum(isinstance(verdict, Published) for (verdict,) in verdicts) == 1
    assert sum(isinstance(verdict, TakenError) for (verdict,) in verdicts) == 4
    (again,) = await store.publish([of_row(scene, application, (key[0], key[1] + 1))])
    assert isinstance(again, TakenError)


async def test_a_row_whose_message_is_refused_stays(store: Store, scene: Scene) -> None:
    application = await scene.application()
    await store.publish([of_row_less(scene, application)])
    keys = await put(store, BODY, BODY, BODY, application="a", at=scene.now)
    stale = of_row(scene, application, keys[1])
    verdicts = await store.publish(
        [
            of_row(scene, application, keys[0], event_id="e-1"),
            Publication(message=stale.message, revision=99, births=(), outbox=keys[1]),
            of_row(scene, application, keys[2]),
        ]
    )
    assert [type(verdict) for verdict in verdicts] == [ConflictError, StaleError, Published]
    assert await put(store, application="a", at=scene.now) == keys[:2]


def of_row_less(scene: Scene, application: Application) -> Publication:
    message = scene.message(application, event_id="e-1")
    return Publication(message=message, revision=application.revision, births=())


async def test_a_rejected_row_is_kept_once_with_the_reason(store: Store, scene: Scene) -> None:
    (key,) = await put(store, BODY, application="nobody", at=scene.now - 5)
    rejection = Rejection(
        key=key, organization=ORGANIZATION, code="not_found", reason="There is none."
    )
    assert await store.reject_from_outbox([rejection], now=scene.now) == 1
    assert await store.reject_from_outbox([rejection], now=scene.now) == 0
    assert await left(store) == 0
    (found,) = (await store.rejected(ORGANIZATION, Page())).data
    assert found == Rejected(
        public_id=found.public_id,
        application="nobody",
        created_at=scene.now - 5,
        rejected_at=scene.now,
        code="not_found",
        reason="There is none.",
    )
    whole = await store.rejected_one(ORGANIZATION, found.public_id)
    assert whole.body == BODY
    assert (await store.rejected("org_other", Page())).data == ()
    with pytest.raises(NotFoundError):
        await store.rejected_one("org_other", found.public_id)


async def test_a_rejected_one_goes_back_as_it_came(store: Store, scene: Scene) -> None:
    (one,) = await reject(store, ORGANIZATION, BODY, now=scene.now)
    once = Once(Idempotency(bytes(16), bytes(16), auto=False), lambda _made: b"answer")
    for organization, public_id in (("org_other", one.public_id), (ORGANIZATION, "rej_1")):
        with pytest.raises(NotFoundError):
            await store.requeue_rejected(organization, public_id, now=scene.now)
    assert await left(store) == 0
    again = [
        await store.requeue_rejected(ORGANIZATION, one.public_id, now=scene.now, once=once)
        for _ in range(2)
    ]
    assert isinstance(again[0], Rejected)
    assert again[1] == Repeated(b"answer")
    (key,) = await put(store, application="", at=scene.now)
    assert (await store.rejected(ORGANIZATION, Page())).data == ()
    rejection = Rejection(key=key, organization=ORGANIZATION, code="c", reason="r")
    await store.reject_from_outbox([rejection], now=scene.now)
    (back,) = (await store.rejected(ORGANIZATION, Page())).data
    assert back.created_at == one.created_at
    assert (await store.rejected_one(ORGANIZATION, back.public_id)).body == BODY


async def test_rejected_ones_are_listed_newest_first_and_forgotten(
    store: Store, scene: Scene
) -> None:
    made = [(await reject(store, ORGANIZATION, BODY, now=scene.now + n))[0] for n in range(5)]
    made.reverse()
    first = await store.rejected(ORGANIZATION, Page(limit=2))
    rest = await store.rejected(ORGANIZATION, Page(limit=5, after=made[1].public_id))
    back = await store.rejected(ORGANIZATION, Page(limit=2, before=made[3].public_id))
    assert [*first.data] == made[:2]
    assert [*rest.data] == made[2:]
    assert [*back.data] == made[1:3]
    assert (first.done, rest.done) == (False, True)
    with pytest.raises(InvalidError, match="rej_"):
        await store.rejected(ORGANIZATION, Page(after="msg_1"))
    await store.drop_rejected(ORGANIZATION, made[0].public_id)
    with pytest.raises(NotFoundError):
        await store.drop_rejected(ORGANIZATION, made[0].public_id)
    assert await store.prune_rejected(before=scene.now + 3, limit=2) == 2
    assert await store.prune_rejected(before=scene.now + 3, limit=2) == 1
    assert [*(await store.rejected(ORGANIZATION, Page())).data] == [made[1]]
    assert (await store.outbox_figures()).rejected == 1


async def test_whose_an_application_is_that_a_row_names(store: Store, scene: Scene) -> None:
    mine = await scene.application(uid="kaunas")
    await scene.application("operational:org_x", uid="kaunas")
    asked = ["kaunas", mine.public_id, "nobody"]
    assert await store.outbox_owners(asked) == dict.fromkeys(asked, ORGANIZATION)
    other = await scene.application("org_other", uid="kaunas")
    vilnius = await scene.application("org_other", uid="vilnius")
    asked += [other.public_id, "vilnius", vilnius.public_id]
    assert await store.outbox_owners(asked) == {
        "kaunas": None,
        mine.public_id: ORGANIZATION,
        "nobody": None,
        other.public_id: "org_other",
        "vilnius": "org_other",
        vilnius.public_id: "org_other",
    }
    assert await store.outbox_owners([]) == {}
