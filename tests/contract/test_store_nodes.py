"""Several nodes on one PostgreSQL: what one of them does the others see, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

import pytest

from marketbell.control.rekeying import rekey
from marketbell.errors import ConflictError, LimitReachedError, MarketbellError, StaleError
from marketbell.model import Application, Endpoint, SigningKey
from marketbell.store.base import (
    ApiKey,
    ApiKeyDraft,
    ApplicationDraft,
    EndpointDraft,
    EventType,
    Idempotency,
    Once,
    Publication,
    Published,
    Repeated,
    Store,
)
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import PostgresGround
from support.opened import SECRETS_KEY
from support.tasks import begin, failed, manual, run

MINUTE = 60_000
HOUR = 3_600_000

T = TypeVar("T")


@pytest.fixture
async def nodes(many: PostgresGround) -> AsyncIterator[tuple[Store, ...]]:
    """Three of them."""
    async with AsyncExitStack() as until:
        yield tuple([await until.enter_async_context(many.opened(node=node)) for node in range(3)])


async def by_each(
    nodes: Sequence[Store], act: Callable[[Store], Awaitable[T]]
) -> tuple[list[T], list[MarketbellError]]:
    """What came of something that all nodes do at the same time: values, and refusals."""
    ended = await asyncio.gather(*map(act, nodes), return_exceptions=True)
    refused = [one for one in ended if isinstance(one, MarketbellError)]
    values = [one for one in ended if not isinstance(one, BaseException)]
    assert len(values) + len(refused) == len(ended), ended
    return values, refused


def event_type(name: str) -> EventType:
    return EventType(
        organization=ORGANIZATION, name=name, description="", created_at=START, updated_at=START
    )


def mark(key: bytes = b"k" * 16) -> Once:
    return Once(
        Idempotency(key=key, body=b"b" * 16, auto=True),
        lambda made: cast(Application, made).public_id.encode(),
    )


# -- made once ----------------------------------------------------------------------------


async def test_a_uid_is_given_once(nodes: Sequence[Store]) -> None:
    draft = ApplicationDraft(name="x", uid="seller-1")
    made, refused = await by_each(
        nodes, lambda node: node.create_application(ORGANIZATION, draft, now=START)
    )
    assert len(made) == 1
    assert [type(one) for one in refused] == [ConflictError] * 2
    application = cast(Application, made[0])
    one = EndpointDraft(
        url="https://x.example/", uid="e-1", secret=SigningKey(kind="v1", secret=bytes(32))
    )
    _made, refused = await by_each(
        nodes,
        lambda node: node.create_endpoint(application.id, one, now=START, endpoints_max=50),
    )
    assert [type(one) for one in refused] == [ConflictError] * 2


async def test_an_application_that_all_ask_for_is_made_once(nodes: Sequence[Store]) -> None:
    draft = ApplicationDraft(name="x", uid="seller-1")
    made, refused = await by_each(
        nodes, lambda node: node.get_or_create_application(ORGANIZATION, draft, now=START)
    )
    assert not refused
    found = cast("list[tuple[Application, bool]]", made)
    assert len({application.id for application, _ in found}) == 1
    assert sorted(new for _, new in found) == [False, False, True]


async def test_limits_hold_for_all_nodes_together(nodes: Sequence[Store]) -> None:
    scene = Scene(nodes[0])
    application = await scene.application()
    for _ in range(4):
        await scene.endpoint(application)
    _, refused = await by_each(
        nodes, lambda node: Scene(node).endpoint(application, endpoints_max=5)
    )
    assert [type(one) for one in refused] == [LimitReachedError] * 2
    await nodes[0].create_event_type(event_type("a.a"))
    names = iter("bcd")
    _, refused = await by_each(
        nodes, lambda node: node.create_event_type(event_type(f"a.{next(names)}"), limit=2)
    )
    assert [type(one) for one in refused] == [LimitReachedError] * 2


async def test_a_post_happens_once_and_all_get_its_answer(nodes: Sequence[Store]) -> None:
    made, refused = await by_each(
        nodes,
        lambda node: node.create_application(
            ORGANIZATION, ApplicationDraft(name="x"), now=START, once=mark()
        ),
    )
    assert not refused
    (first,) = (one for one in made if isinstance(one, Application))
    assert [one for one in made if isinstance(one, Repeated)] == [
        Repeated(first.public_id.encode())
    ] * 2


@pytest.mark.parametrize("by", ["idempotency", "event_id"])
async def test_a_message_is_kept_once(nodes: Sequence[Store], by: str) -> None:
    application = await Scene(nodes[0]).application()
    key = Idempotency(key=b"m" * 16, body=b"b" * 16, auto=False)

    async def publish(node: Store) -> Published:
        message = Scene(node).message(
            application, **({"event_id": "e-1"} if by == "event_id" else {})
        )
        (verdict,) = await node.publish(
            [
                Publication(
                    message=message,
                    revision=application.revision,
                    births=(),
                    idempotency=key if by == "idempotency" else None,
                )
            ]
        )
        if isinstance(verdict, MarketbellError):
            raise verdict
        return verdict

    kept, refused = await by_each(nodes, publish)
    if by == "event_id":
        assert [type(one) for one in refused] == [ConflictError] * 2
        return
    assert not refused
    assert sorted(one.repeated for one in kept) == [False, True, True]
    assert len({one.message.public_id for one in kept}) == 1


# -- changed by several -------------------------------------------------------------------


async def test_of_two_changes_of_one_thing_one_is_stale(nodes: Sequence[Store]) -> None:
    application, endpoint = await Scene(nodes[0]).seller()
    draft = EndpointDraft(url="https://y.example/")
    changed, refused = await by_each(
        nodes,
        lambda node: node.update_endpoint(
            application.id, endpoint.public_id, draft, now=START, revision=endpoint.revision
        ),
    )
    assert [type(one) for one in refused] == [StaleError] * 2
    assert [one.revision for one in changed] == [endpoint.revision + 1]
    owner = await nodes[1].application(ORGANIZATION, application.public_id)
    _, refused = await by_each(
        nodes,
        lambda node: node.update_application(
            ORGANIZATION,
            application.public_id,
            ApplicationDraft(name="y"),
            now=START,
            revision=owner.revision,
        ),
    )
    assert [type(one) for one in refused] == [StaleError] * 2
    await nodes[0].create_event_type(event_type("a.a"))
    revision = await nodes[1].event_types_revision(ORGANIZATION)
    _, refused = await by_each(
        nodes,
        lambda node: node.put_event_types([event_type("a.a")], now=START, revision=revision),
    )
    assert [type(one) for one in refused] == [StaleError] * 2


async def test_every_change_gives_another_revision(nodes: Sequence[Store]) -> None:
    application, endpoint = await Scene(nodes[0]).seller()
    before = await nodes[0].application(ORGANIZATION, application.public_id)
    for _ in range(5):
        await by_each(
            nodes,
            lambda node: node.update_endpoint(
                application.id,
                endpoint.public_id,
                EndpointDraft(url="https://y.example/"),
                now=START,
            ),
        )
    after = await nodes[1].application(ORGANIZATION, application.public_id)
    assert after.revision == before.revision + 15


async def test_an_endpoint_that_the_server_disables_meanwhile_is_never_half_enabled(
    nodes: Sequence[Store],
) -> None:
    """Whatever the order: enabled and free to send, or disabled and held."""
    one, two, _ = nodes
    application, endpoint = await Scene(one).seller()
    await Scene(one).publish(application, endpoint)
    draft = EndpointDraft(url=endpoint.url, secret=None)
    for _ in range(20):
        await asyncio.gather(
            one.disable_endpoint(endpoint.id, now=START),
            two.update_endpoint(application.id, endpoint.public_id, draft, now=START),
        )
        found = await one.endpoint(application.id, endpoint.public_id)
        claims = await Scene(two).claim(lease=MINUTE)
        assert bool(claims) is not found.disabled
        await two.release(claims)
        await two.update_endpoint(application.id, endpoint.public_id, draft, now=START)


async def test_what_was_matched_before_another_nodes_change_is_stale(
    nodes: Sequence[Store],
) -> None:
    one, two, _ = nodes
    application = await Scene(one).application()

    async def verdict(revision: int) -> object:
        message = Scene(two).message(application)
        return (await two.publish([Publication(message=message, revision=revision, births=())]))[0]

    seen = (await two.subscribers(ORGANIZATION, application.public_id)).revision
    assert isinstance(await verdict(seen), Published)
    for change in (
        lambda: Scene(one).endpoint(application),
        lambda: one.create_event_type(event_type("part.updated")),
        lambda: one.put_event_types([event_type("part.updated")], now=START),
        lambda: one.delete_event_type(ORGANIZATION, "part.updated"),
    ):
        await cast(Awaitable[Any], change())
        assert isinstance(await verdict(seen), StaleError)
        seen = (await two.subscribers(ORGANIZATION, application.public_id)).revision
        assert isinstance(await verdict(seen), Published)


# -- who waits for whom -------------------------------------------------------------------


async def test_a_change_that_waits_for_another_nodes_holds_up_no_message(
    many: PostgresGround, nodes: Sequence[Store]
) -> None:
    application, endpoint = await Scene(nodes[0]).seller()
    with many.hold_control():
        waiting = asyncio.ensure_future(Scene(nodes[0]).application())
        for _ in range(20):
            await Scene(nodes[0]).publish(application, endpoint)
        (claim, *_) = await Scene(nodes[0]).claim(lease=MINUTE)
        await Scene(nodes[0]).record(claim, 200)
        await nodes[0].ping()
        assert await nodes[0].endpoint(application.id, endpoint.public_id)
        assert not waiting.done()
    assert await waiting


# -- tasks --------------------------------------------------------------------------------


async def test_a_task_is_claimed_by_one_node(nodes: Sequence[Store]) -> None:
    scene = Scene(nodes[0])
    _application, endpoint = await scene.seller()
    for _ in range(2):
        await begin(scene, endpoint)
    claimed, _ = await by_each(
        nodes, lambda node: node.claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    )
    ids = sorted(task.id for task in claimed if task is not None)
    assert len(ids) == len(set(ids)) == 2


async def test_a_dead_nodes_task_is_taken_over_when_its_lease_has_ended(
    many: PostgresGround, nodes: Sequence[Store]
) -> None:
    scene = Scene(nodes[0])
    application, endpoint = await scene.seller()
    wanted = [await failed(scene, application, endpoint) for _ in range(5)]
    await begin(scene, endpoint)
    dead = await nodes[1].claim_task(now=scene.now, lease_until=scene.now + MINUTE)
    assert dead is not None
    many.cut()
    assert await nodes[2].claim_task(now=scene.now, lease_until=scene.now + MINUTE) is None
    heir = Scene(nodes[2], now=scene.now + MINUTE)
    await run(heir)
    assert sorted(await manual(heir)) == sorted(wanted)
    assert not await nodes[1].fail_task(dead, "It is fenced.", now=heir.now)


async def test_tasks_that_all_nodes_run_do_everything_once(nodes: Sequence[Store]) -> None:
    scene = Scene(nodes[0])
    application, endpoint = await scene.seller()
    wanted = [await failed(scene, application, endpoint) for _ in range(12)]
    task = await begin(scene, endpoint)
    await by_each(nodes, lambda node: run(Scene(node, now=scene.now)))
    done = await nodes[1].task(ORGANIZATION, task.public_id)
    assert (done.made, done.skipped, done.looked) == (12, 0, 12)
    assert sorted(await manual(scene)) == sorted(wanted)


# -- access, secrets ----------------------------------------------------------------------


async def test_what_takes_access_away_anywhere_has_a_higher_revision(
    nodes: Sequence[Store],
) -> None:
    last = 0
    for turn in range(5):
        organizations = iter(f"org_{turn}_{node}" for node in range(3))
        await by_each(
            nodes,
            lambda node, names=organizations: node.end_token(  # type: ignore[misc]
                next(names), b"d" * 32, expires_at=START + HOUR, now=START
            ),
        )
        revision, changed = await nodes[turn % 3].access_changes(last)
        assert revision == last + 3
        assert set(changed) == {f"org_{turn}_{node}" for node in range(3)}
        last = revision


async def test_no_use_of_a_key_is_lost(nodes: Sequence[Store]) -> None:
    drafts = [
        ApiKeyDraft(
            public_id=f"key_{'0' * 26}{number}",
            organization=ORGANIZATION,
            application=None,
            name="x",
            scopes=None,
            digest=bytes(32),
            expires_at=None,
        )
        for number in range(3)
    ]
    for draft in drafts:
        made = await nodes[0].create_api_key(draft, now=START, keys_max=9)
        assert isinstance(made, ApiKey)
    turn = iter(range(3))

    async def note(node: Store) -> None:
        own = next(turn)
        await node.note_keys_used({drafts[own].public_id: START + own, drafts[0].public_id: START})

    await by_each(nodes, note)
    for number, draft in enumerate(drafts):
        key = await nodes[1].api_key(ORGANIZATION, draft.public_id)
        assert key.last_used_at in {START, START + number}


async def test_secrets_are_sealed_anew_by_two_nodes_while_they_change(
    many: PostgresGround,
) -> None:
    async with many.opened() as store:
        scene = Scene(store)
        application = await scene.application()
        endpoints = [
            await scene.endpoint(application, headers=(("X-Key", "old"),)) for _ in range(30)
        ]
    new = b"n" * 32
    old = (SECRETS_KEY,)
    async with (
        many.opened(secrets_key=new, old_keys=old, node=1) as one,
        many.opened(secrets_key=new, old_keys=old, node=2) as two,
    ):

        async def change(node: Store, these: Sequence[Endpoint]) -> None:
            for endpoint in these:
                await Scene(node).update(endpoint, headers=(("X-Key", "new"),))

        await asyncio.gather(rekey(one, step=3), rekey(two, step=3), change(one, endpoints[::2]))
    async with many.opened(secrets_key=new) as store:
        for place, endpoint in enumerate(endpoints):
            found = await store.endpoint(application.id, endpoint.public_id)
            assert found.headers == (("X-Key", "old" if place % 2 else "new"),)
            assert found.secrets == endpoint.secrets
