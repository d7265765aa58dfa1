"""Applications in a store: identity, revisions, slices, soft deletion, once-only creation."""

from __future__ import annotations

import hashlib

import pytest

from marketbell import ids
from marketbell.errors import ConflictError, InvalidError, NotFoundError, StaleError
from marketbell.model import Application, OrderOnFailure, Policy
from marketbell.store.base import (
    ApplicationDraft,
    Change,
    Idempotency,
    Once,
    Page,
    Publication,
    Repeated,
    Store,
)
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

OTHER = "org_other"


def once(key: str, body: bytes = b"{}", *, auto: bool = False) -> Once:
    """A mark as control/ makes it; the answer is the application's public id."""

    def render(made: object) -> bytes:
        assert isinstance(made, Application)
        return made.public_id.encode()

    return Once(
        Idempotency(
            key=hashlib.blake2b(key.encode(), digest_size=16).digest(),
            body=hashlib.blake2b(body, digest_size=16).digest(),
            auto=auto,
        ),
        render,
    )


async def test_an_application_is_read_back_as_it_was_made(store: Store) -> None:
    draft = ApplicationDraft(
        name="Zażółć Parts",
        uid="seller-7",
        metadata={"tier": "gold", "ключ": "ß"},
        policy=Policy(
            dialect="ovoko",
            retry_schedule=(7_000, 35_000, 175_000),
            timeout=10_000,
            max_in_flight=3,
            order_by="/part/id",
            order_on_failure=OrderOnFailure.HOLD,
        ),
        throttle_rate=50,
    )
    made = await store.create_application(ORGANIZATION, draft, now=START)
    assert isinstance(made, Application)
    assert ids.is_id(ids.APPLICATION, made.public_id)
    assert (made.name, made.uid, made.metadata) == (draft.name, draft.uid, draft.metadata)
    assert (made.policy, made.throttle_rate) == (draft.policy, 50)
    assert made.created_at == made.updated_at == START
    assert await store.application(ORGANIZATION, made.public_id) == made
    assert await store.application(ORGANIZATION, "seller-7") == made


async def test_an_empty_policy_stays_empty(scene: Scene) -> None:
    assert (await scene.application()).policy == Policy()


async def test_an_empty_retry_schedule_is_not_an_unset_one(scene: Scene) -> None:
    application = await scene.application(policy=Policy(retry_schedule=()))
    assert application.policy.retry_schedule == ()


async def test_another_organization_sees_nothing(store: Store, scene: Scene) -> None:
    application = await scene.application(uid="mine")
    for ref in (application.public_id, "mine"):
        with pytest.raises(NotFoundError):
            await store.application(OTHER, ref)
        with pytest.raises(NotFoundError):
            await store.update_application(OTHER, ref, ApplicationDraft(name="x"), now=START)
        with pytest.raises(NotFoundError):
            await store.delete_application(OTHER, ref, now=START)
        with pytest.raises(NotFoundError):
            await store.subscribers(OTHER, ref)
    assert (await store.applications(OTHER, Page())).data == ()


async def test_a_uid_is_taken_within_its_organization_only(store: Store, scene: Scene) -> None:
    await scene.application(uid="seller-7")
    with pytest.raises(ConflictError, match="seller-7"):
        await scene.application(uid="seller-7")
    assert (await scene.application(OTHER, uid="seller-7")).uid == "seller-7"
    assert len((await store.applications(ORGANIZATION, Page())).data) == 1


async def test_a_uid_is_free_at_once_after_deletion(store: Store, scene: Scene) -> None:
    first = await scene.application(uid="seller-7")
    await store.delete_application(ORGANIZATION, "seller-7", now=START)
    for ref in ("seller-7", first.public_id):
        with pytest.raises(NotFoundError):
            await store.application(ORGANIZATION, ref)
    second = await scene.application(uid="seller-7")
    assert second.id != first.id
    assert await store.application(ORGANIZATION, "seller-7") == second


async def test_an_update_replaces_all_and_raises_the_revision(store: Store, scene: Scene) -> None:
    before = await scene.application(uid="a", metadata={"x": "1"}, throttle_rate=5)
    after = await store.update_application(
        ORGANIZATION, "a", ApplicationDraft(name="New", uid="b"), now=START + 5
    )
    assert (after.name, after.uid, after.metadata, after.throttle_rate) == ("New", "b", {}, None)
    assert after.revision > before.revision
    assert (after.created_at, after.updated_at) == (START, START + 5)
    with pytest.raises(NotFoundError):
        await store.application(ORGANIZATION, "a")


async def test_an_update_to_a_taken_uid_changes_nothing(store: Store, scene: Scene) -> None:
    await scene.application(uid="a")
    b = await scene.application(uid="b")
    with pytest.raises(ConflictError):
        await store.update_application(
            ORGANIZATION, "b", ApplicationDraft(name="x", uid="a"), now=START
        )
    assert await store.application(ORGANIZATION, "b") == b
    kept = await store.update_application(
        ORGANIZATION, "b", ApplicationDraft(name="x", uid="b"), now=START
    )
    assert kept.uid == "b"


async def test_an_update_raises_the_revision_of_every_endpoint(store: Store, scene: Scene) -> None:
    """An endpoint's policy stands on its application's, so claims must see a new revision."""
    application = await scene.application()
    before = [await scene.endpoint(application) for _ in range(3)]
    other = await scene.endpoint(await scene.application())
    await store.update_application(
        ORGANIZATION, application.public_id, ApplicationDraft(name="x"), now=START
    )
    after = (await store.subscribers(ORGANIZATION, application.public_id)).endpoints
    assert [e.revision for e in after] == [e.revision + 1 for e in before]
    assert await store.endpoint(other.application_id, other.public_id) == other


async def test_deleting_deletes_the_endpoints_with_it(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await store.delete_application(ORGANIZATION, application.public_id, now=START)
    with pytest.raises(NotFoundError):
        await store.endpoint(application.id, endpoint.public_id)
    with pytest.raises(NotFoundError):
        await scene.endpoint(application)


async def test_subscribers_are_the_live_endpoints_with_their_secrets(
    store: Store, scene: Scene
) -> None:
    application = await scene.application(uid="s")
    first = await scene.endpoint(application)
    gone = await scene.endpoint(application)
    second = await scene.endpoint(application, disabled=True)
    await store.delete_endpoint(application.id, gone.public_id, now=START)
    found = await store.subscribers(ORGANIZATION, "s")
    assert found.endpoints == (first, second)
    assert found.application == await store.application(ORGANIZATION, "s")
    assert found.endpoints[0].secrets


async def test_what_was_matched_before_any_change_is_stale(store: Store, scene: Scene) -> None:
    """A fan-out names the revision that it was matched at; every change makes it out of date."""
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    seen = {(await store.application(ORGANIZATION, application.public_id)).revision}
    await scene.publish(application, endpoint)

    async def check() -> None:
        revision = (await store.application(ORGANIZATION, application.public_id)).revision
        assert revision > max(seen)
        seen.add(revision)

    await store.update_application(
        ORGANIZATION, application.public_id, ApplicationDraft(name="x"), now=START
    )
    await check()
    second = await scene.endpoint(application)
    await check()
    await store.disable_endpoint(second.id, now=START)
    await check()
    await store.delete_endpoint(application.id, second.public_id, now=START)
    await check()

    (verdict,) = await store.publish(
        [Publication(message=scene.message(application), revision=min(seen), births=())]
    )
    assert isinstance(verdict, StaleError)


async def test_listeners_hear_of_changes(store: Store, scene: Scene) -> None:
    heard: list[Change] = []
    store.on_change(heard.append)
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await store.update_application(
        ORGANIZATION, application.public_id, ApplicationDraft(name="x"), now=START
    )
    await store.delete_application(ORGANIZATION, application.public_id, now=START)
    assert heard[1] == Change(application.id, endpoint.id)
    assert heard[2] == Change(application.id, None)
    assert set(heard[3:]) == {Change(application.id, endpoint.id), Change(application.id, None)}


async def test_slices_come_in_order_of_creation_both_ways(store: Store, scene: Scene) -> None:
    made = [await scene.application() for _ in range(7)]
    await store.delete_application(ORGANIZATION, made.pop(3).public_id, now=START)
    first = await store.applications(ORGANIZATION, Page(limit=4))
    assert (list(first.data), first.done) == (made[:4], False)
    rest = await store.applications(ORGANIZATION, Page(limit=4, after=first.data[-1].public_id))
    assert (list(rest.data), rest.done) == (made[4:], True)
    back = await store.applications(ORGANIZATION, Page(limit=3, before=rest.data[0].public_id))
    assert (list(back.data), back.done) == (made[1:4], False)
    down = await store.applications(ORGANIZATION, Page(limit=2, descending=True))
    assert (list(down.data), down.done) == ([made[5], made[4]], False)
    down = await store.applications(
        ORGANIZATION, Page(limit=9, descending=True, after=made[4].public_id)
    )
    assert (list(down.data), down.done) == (made[3::-1], True)
    up = await store.applications(
        ORGANIZATION, Page(limit=2, descending=True, before=made[2].public_id)
    )
    assert (list(up.data), up.done) == ([made[4], made[3]], False)


async def test_a_slice_goes_on_behind_an_application_that_was_deleted(
    store: Store, scene: Scene
) -> None:
    made = [await scene.application() for _ in range(3)]
    await store.delete_application(ORGANIZATION, made[1].public_id, now=START)
    page = Page(limit=5, after=made[1].public_id)
    assert (await store.applications(ORGANIZATION, page)).data == (made[2],)


async def test_an_id_that_is_kept_nowhere_stands_where_it_would(store: Store, scene: Scene) -> None:
    first = await scene.application()
    between = ids.new_id(ids.APPLICATION, START + 100)
    scene.pass_time(1_000)
    second = await scene.application()
    late = ids.new_id(ids.APPLICATION, START + 9_000)
    for page, expected in (
        (Page(after=between), (second,)),
        (Page(before=between), (first,)),
        (Page(after=between, descending=True), (first,)),
        (Page(before=between, descending=True), (second,)),
        (Page(after=late), ()),
        (Page(after=late, descending=True), (second, first)),
    ):
        assert (await store.applications(ORGANIZATION, page)).data == expected


async def test_an_iterator_of_another_kind_is_refused(store: Store) -> None:
    with pytest.raises(InvalidError, match="app_") as caught:
        await store.applications(ORGANIZATION, Page(after="msg_1"))
    assert caught.value.field == ("query", "iterator")


async def test_a_repeated_creation_is_answered_as_the_first(store: Store) -> None:
    draft = ApplicationDraft(name="x")
    made = await store.create_application(ORGANIZATION, draft, now=START, once=once("k"))
    assert isinstance(made, Application)
    again = await store.create_application(ORGANIZATION, draft, now=START + 1, once=once("k"))
    assert again == Repeated(made.public_id.encode())
    assert len((await store.applications(ORGANIZATION, Page())).data) == 1


async def test_a_key_with_another_body_is_refused(store: Store) -> None:
    draft = ApplicationDraft(name="x")
    await store.create_application(ORGANIZATION, draft, now=START, once=once("k", b"1"))
    with pytest.raises(ConflictError, match="idempotency-key"):
        await store.create_application(ORGANIZATION, draft, now=START, once=once("k", b"2"))


async def test_a_refused_creation_leaves_no_mark(store: Store) -> None:
    taken = ApplicationDraft(name="x", uid="u")
    await store.create_application(ORGANIZATION, taken, now=START)
    with pytest.raises(ConflictError):
        await store.create_application(ORGANIZATION, taken, now=START, once=once("k"))
    await store.delete_application(ORGANIZATION, "u", now=START)
    made = await store.create_application(ORGANIZATION, taken, now=START, once=once("k"))
    assert isinstance(made, Application)


@pytest.mark.parametrize(
    ("auto", "kept_for", "gone_after"),
    [(True, 15 * 60_000, 21 * 60_000), (False, 24 * 3_600_000, 31 * 3_600_000)],
    ids=["made by an SDK", "given by a caller"],
)
async def test_a_key_is_kept_as_long_as_promised(
    store: Store, auto: bool, kept_for: int, gone_after: int
) -> None:
    draft = ApplicationDraft(name="x")
    for start in (START, START + 7 * 60_000 + 13):
        key = f"k{start}"
        await store.create_application(ORGANIZATION, draft, now=start, once=once(key, auto=auto))
        kept = await store.create_application(
            ORGANIZATION, draft, now=start + kept_for, once=once(key, auto=auto)
        )
        assert isinstance(kept, Repeated)
        anew = await store.create_application(
            ORGANIZATION, draft, now=start + gone_after, once=once(key, auto=auto)
        )
        assert isinstance(anew, Application)
