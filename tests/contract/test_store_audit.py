"""The audit log: one entry for each transaction that changed something, and none for any other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import UNSET, structs

from marketbell.errors import ConflictError
from marketbell.model import Policy, SigningKey
from marketbell.store.base import (
    Ages,
    ApplicationDraft,
    AuditEntry,
    AuditFilter,
    FieldChange,
    Idempotency,
    Once,
    Origin,
    Page,
    Repeated,
    Store,
    changing,
)
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

DAY = 86_400_000

ORIGIN = Origin(
    organization=ORGANIZATION,
    actor="token org_x",
    operation="v1.thing.change",
    at=START,
    path="/api/v1/thing",
    address="203.0.113.9",
    request_id="r-1",
)


async def log(store: Store, **which: Any) -> tuple[AuditEntry, ...]:
    part = await store.audit_log(ORGANIZATION, AuditFilter(**which), Page())
    assert part.done
    return part.data


async def test_a_change_leaves_one_entry(store: Store, scene: Scene) -> None:
    with changing(ORIGIN):
        application = await scene.application(name="seller", uid="s-1", metadata={"tier": "gold"})
    (entry,) = await log(store)
    assert (entry.actor, entry.operation, entry.at) == ("token org_x", "v1.thing.change", START)
    assert (entry.path, entry.address, entry.request_id) == (
        "/api/v1/thing",
        "203.0.113.9",
        "r-1",
    )
    assert (entry.application, entry.endpoint) == (application.public_id, None)
    assert entry.fields == (
        FieldChange("uid", None, "s-1"),
        FieldChange("name", None, "seller"),
        FieldChange("metadata.tier", None, "gold"),
    )


async def test_without_an_origin_there_is_none(store: Store, scene: Scene) -> None:
    await scene.seller()
    assert await log(store) == ()


async def test_an_update_tells_old_and_new_but_no_secret(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(
        application,
        url="https://a.example/",
        headers=(("X-Key", "hidden-1"), ("X-Old", "hidden-2")),
    )
    with changing(ORIGIN):
        await scene.update(
            endpoint,
            url="https://b.example/",
            event_types=frozenset({"b", "a"}),
            headers=(("X-Key", "hidden-3"),),
            policy=Policy(timeout=5_000),
            secret=SigningKey(kind="v1", secret=b"hidden-4" * 4),
        )
        await store.rotate_secret(
            application.id,
            endpoint.public_id,
            SigningKey(kind="v1", secret=b"hidden-5" * 4),
            overlap_until=0,
            secrets_max=10,
            now=START,
        )
    rotated, updated = await log(store)
    assert (updated.application, updated.endpoint) == (application.public_id, endpoint.public_id)
    assert updated.fields == (
        FieldChange("url", "https://a.example/", "https://b.example/"),
        FieldChange("eventTypes", None, ["a", "b"]),
        FieldChange("headers.X-Key"),
        FieldChange("headers.X-Old"),
        FieldChange("secret"),
        FieldChange("metadata.marketbell.timeout", None, 5_000),
    )
    assert rotated.fields == (FieldChange("secret", UNSET, UNSET),)
    assert (rotated.application, rotated.endpoint) == (application.public_id, endpoint.public_id)
    assert "hidden" not in repr(await log(store))


async def test_what_is_deleted_is_named(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    with changing(ORIGIN):
        await store.delete_endpoint(application.id, endpoint.public_id, now=START)
        await store.delete_application(ORGANIZATION, application.public_id, now=START)
    second, first = await log(store)
    assert (first.application, first.endpoint) == (application.public_id, endpoint.public_id)
    assert (second.application, second.endpoint) == (application.public_id, None)


async def test_what_the_request_names_is_found_by_uid(store: Store, scene: Scene) -> None:
    application = await scene.application(uid="s-1")
    endpoint = await scene.endpoint(application, uid="e-1")
    published = await scene.publish(application, endpoint)
    with changing(structs.replace(ORIGIN, application="s-1", endpoint="e-1")):
        await store.resend(application.id, published.message.public_id, "e-1", now=START)
    (entry,) = await log(store)
    assert (entry.application, entry.endpoint) == (application.public_id, endpoint.public_id)


async def test_what_is_refused_leaves_none(store: Store, scene: Scene) -> None:
    await scene.application(uid="s-1")
    with changing(ORIGIN), pytest.raises(ConflictError):
        await scene.application(uid="s-1")
    assert await log(store) == ()


async def test_a_repeated_request_leaves_no_second_one(store: Store) -> None:
    once = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=False), lambda _made: b"{}")
    draft = ApplicationDraft(name="seller")
    with changing(ORIGIN):
        await store.create_application(ORGANIZATION, draft, now=START, once=once)
        again = await store.create_application(ORGANIZATION, draft, now=START, once=once)
    assert isinstance(again, Repeated)
    assert len(await log(store)) == 1


async def test_a_transaction_that_is_rolled_back_leaves_none(store: Store, scene: Scene) -> None:
    # A lone surrogate cannot be stored: the batch is undone and halved, its neighbour kept.
    with changing(ORIGIN):
        made, refused = await asyncio.gather(
            scene.application(name="good"),
            scene.application(name="bad \ud800"),
            return_exceptions=True,
        )
    assert isinstance(refused, Exception)
    (entry,) = await log(store)
    assert not isinstance(made, BaseException)
    assert entry.application == made.public_id


async def test_a_task_that_outlives_the_request_leaves_none(store: Store, scene: Scene) -> None:
    with changing(ORIGIN):
        task = asyncio.get_running_loop().create_task(_later(scene))
    await task
    assert await log(store) == ()


async def _later(scene: Scene) -> None:
    await asyncio.sleep(0)
    await scene.application()


async def test_the_data_plane_leaves_none(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    with changing(ORIGIN):
        await scene.publish(application, endpoint)
        (claim,) = await scene.claim()
        await scene.record(claim, 200)
        await store.hold(endpoint.id, START + 1)
        await store.note_health(endpoint.id, START)
    assert await log(store) == ()


async def test_the_server_disabling_an_endpoint_is_told(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await store.disable_endpoint(endpoint.id, now=START + 5)
    await store.disable_endpoint(endpoint.id, now=START + 6)
    (entry,) = await log(store)
    assert (entry.actor, entry.operation, entry.at) == (
        "marketbell",
        "endpoint.disabled",
        START + 5,
    )
    assert (entry.application, entry.endpoint) == (application.public_id, endpoint.public_id)
    assert entry.fields == (FieldChange("disabled", False, True),)


async def test_filters_and_pages(store: Store, scene: Scene) -> None:
    made = []
    for count in range(12):
        origin = structs.replace(
            ORIGIN,
            at=START + count * DAY,
            actor=f"actor {count % 2}",
            operation=f"op {count % 3}",
        )
        with changing(origin):
            made.append(await scene.application(name=f"seller {count}"))
    whole = [entry.application for entry in await log(store)]
    assert whole == [application.public_id for application in reversed(made)]
    assert len(await log(store, actor="actor 1")) == 6
    assert len(await log(store, operation="op 2")) == 4
    assert len(await log(store, actor="actor 1", operation="op 2")) == 2
    (one,) = await log(store, application=made[4].public_id)
    assert one.at == START + 4 * DAY
    assert await log(store, application=made[4].public_id, actor="actor 1") == ()
    within = await log(store, since=START + 3 * DAY, until=START + 5 * DAY)
    assert [entry.at for entry in within] == [START + 4 * DAY, START + 3 * DAY]
    seen: list[str | None] = []
    page = Page(limit=5)
    while True:
        part = await store.audit_log(ORGANIZATION, AuditFilter(), page)
        seen += [entry.application for entry in part.data]
        if part.done:
            break
        page = Page(limit=5, after=part.data[-1].public_id)
    assert seen == whole
    back = await store.audit_log(
        ORGANIZATION, AuditFilter(), Page(limit=5, before=part.data[0].public_id)
    )
    assert [entry.application for entry in back.data] == whole[5:10]


async def test_another_organization_sees_nothing(store: Store, scene: Scene) -> None:
    with changing(ORIGIN):
        await scene.application()
    assert (await store.audit_log("org_other", AuditFilter(), Page())).data == ()


async def test_it_is_kept_as_long_as_its_retention_says(store: Store, scene: Scene) -> None:
    for day in (0, 5, 9):
        with changing(structs.replace(ORIGIN, at=START + day * DAY)):
            await scene.application()
    scene.now = START + 10 * DAY
    ages = Ages(payloads=DAY, attempts=DAY, messages=DAY, audit=5 * DAY)
    while (await store.prune(ages, now=scene.now, limit=2)).more:
        pass
    assert [entry.at for entry in await log(store)] == [START + 9 * DAY]


async def test_a_long_value_is_cut(store: Store, scene: Scene) -> None:
    with changing(ORIGIN):
        await scene.application(name="x" * 5_000)
    ((name,),) = [entry.fields for entry in await log(store)]
    assert name == FieldChange("name", None, "x" * 500 + "…")
