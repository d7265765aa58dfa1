"""Publishing: each message has its own verdict, and what is answered as kept is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketbell.errors import (
    ConflictError,
    MarketbellError,
    NotFoundError,
    OutcomeUnknownError,
    StaleError,
    UnavailableError,
)
from marketbell.model import Application, Claim, DeliveryState, Endpoint, Message, Trigger
from marketbell.store.base import (
    Announced,
    ApplicationDraft,
    Birth,
    EndpointDraft,
    MessageFilter,
    Page,
    Publication,
    Published,
    Store,
)
from marketbell.store.batch import Executor, Work
from marketbell.store.written_store import WrittenStore
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import after_a_crash, opened


def publication(
    scene: Scene,
    application: Application,
    births: Sequence[Birth] = (),
    *,
    revision: int | None = None,
    **fields: Any,
) -> Publication:
    return Publication(
        message=scene.message(application, **fields),
        revision=application.revision if revision is None else revision,
        births=tuple(births),
    )


async def fresh(scene: Scene, application: Application) -> Application:
    return await scene.store.application(ORGANIZATION, application.public_id)


async def shop(scene: Scene, endpoints: int = 1) -> tuple[Application, list[Endpoint]]:
    """An application as it is once it has so many endpoints."""
    application = await scene.application()
    made = [await scene.endpoint(application) for _ in range(endpoints)]
    return await fresh(scene, application), made


async def only(store: Store, publications: Sequence[Publication]) -> Published | MarketbellError:
    (verdict,) = await store.publish(publications)
    return verdict


def kept(verdict: Published | MarketbellError) -> Published:
    assert isinstance(verdict, Published)
    return verdict


async def all_messages(store: Store, application: Application) -> tuple[Message, ...]:
    part = await store.messages(application.id, MessageFilter(), Page(limit=1_000))
    return part.data


# -- what is kept -------------------------------------------------------------------------


async def test_a_message_is_kept_as_it_came(store: Store, scene: Scene) -> None:
    application, _ = await shop(scene)
    wanted = publication(
        scene,
        application,
        event_id="evt-1",
        payload='{ "ž" :\t1 }'.encode(),
        channels=("a", "b"),
        tags=("t",),
        occurred_at=scene.now - 5_000,
    )
    published = kept(await only(store, [wanted]))
    assert published.message == msgspec.structs.replace(wanted.message, id=published.message.id)
    assert published.message.id > 0
    assert not published.repeated
    assert await store.message(application.id, wanted.message.public_id) == published.message


async def test_messages_have_rising_numbers_in_order_of_publishing(
    store: Store, scene: Scene
) -> None:
    application, _ = await shop(scene)
    numbers = []
    for _ in range(3):
        verdicts = await store.publish([publication(scene, application) for _ in range(4)])
        numbers += [kept(verdict).message.id for verdict in verdicts]
    assert numbers == sorted(set(numbers))


async def test_what_is_answered_as_kept_survives_a_crash_at_once(
    store: Store, scene: Scene, database_file: Path, tmp_path: Path
) -> None:
    application, (endpoint,) = await shop(scene)
    published = await scene.publish(application, endpoint, payload=b'{"kept":true}')
    async with opened(after_a_crash(database_file, tmp_path / "crashed")) as survivor:
        found = await survivor.message(application.id, published.message.public_id)
        assert found == published.message
        states = await survivor.delivery_states(found.id)
        assert states == {endpoint.public_id: DeliveryState.PENDING}


async def test_a_message_for_no_endpoint_is_kept_all_the_same(store: Store, scene: Scene) -> None:
    application, _ = await shop(scene, 0)
    published = kept(await only(store, [publication(scene, application)]))
    assert published.claims == ()
    assert await all_messages(store, application) == (published.message,)


async def test_nothing_to_publish_is_no_error(store: Store) -> None:
    assert await store.publish([]) == []


# -- deliveries ---------------------------------------------------------------------------


async def test_each_birth_becomes_a_delivery_that_waits_for_its_time(
    store: Store, scene: Scene
) -> None:
    application, (now, later) = await shop(scene, 2)
    births = [
        Birth(endpoint_id=now.id, due_at=scene.now),
        Birth(endpoint_id=later.id, due_at=scene.now + 60_000),
    ]
    published = kept(await only(store, [publication(scene, application, births)]))
    assert await store.delivery_states(published.message.id) == {
        now.public_id: DeliveryState.PENDING,
        later.public_id: DeliveryState.PENDING,
    }
    first = await scene.claim(lease=600_000)
    assert [claim.endpoint_id for claim in first] == [now.id]
    scene.pass_time(59_999)
    assert await scene.claim() == ()
    scene.pass_time(1)
    (claim,) = await scene.claim()
    assert (claim.endpoint_id, claim.due_at) == (later.id, scene.now)
    assert claim.born_at == published.message.created_at


async def test_a_delivery_born_claimed_is_claim_one_and_nobody_elses(
    store: Store, scene: Scene
) -> None:
    application, (endpoint, other) = await shop(scene, 2)
    births = [
        Birth(endpoint_id=endpoint.id, due_at=scene.now, lease_until=scene.now + 60_000),
        Birth(endpoint_id=other.id, due_at=scene.now),
    ]
    published = kept(await only(store, [publication(scene, application, births)]))
    assert published.claims == (
        Claim(
            message=published.message,
            endpoint_id=endpoint.id,
            endpoint_revision=0,
            claim_number=1,
            attempt_count=0,
            born_at=scene.now,
            due_at=scene.now,
            lease_until=scene.now + 60_000,
            trigger=Trigger.SCHEDULED,
        ),
    )
    states = await store.delivery_states(published.message.id)
    assert states[endpoint.public_id] is DeliveryState.SENDING
    assert [claim.endpoint_id for claim in await scene.claim()] == [other.id]


async def test_a_claim_that_was_born_and_forgotten_comes_back_with_its_lease(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint, lease=30_000)
    scene.pass_time(29_999)
    assert await scene.claim() == ()
    scene.pass_time(1)
    (claim,) = await scene.claim()
    assert (claim.claim_number, claim.attempt_count) == (2, 0)


# -- verdicts -----------------------------------------------------------------------------


async def test_each_message_of_a_call_has_its_own_verdict_in_order(
    store: Store, scene: Scene
) -> None:
    application, _ = await shop(scene)
    stranger = msgspec.structs.replace(application, id=application.id + 1_000)
    verdicts = await store.publish(
        [
            publication(scene, application, event_id="one"),
            publication(scene, application, revision=application.revision - 1),
            publication(scene, stranger),
            publication(scene, application, event_id="one"),
            publication(scene, application, event_id="two"),
        ]
    )
    assert [type(verdict) for verdict in verdicts] == [
        Published,
        StaleError,
        NotFoundError,
        ConflictError,
        Published,
    ]
    found = await all_messages(store, application)
    assert {message.event_id for message in found} == {"one", "two"}


async def test_an_event_id_is_taken_within_its_application_only(store: Store, scene: Scene) -> None:
    one, _ = await shop(scene)
    other, _ = await shop(scene)
    for application in (one, other):
        kept(await only(store, [publication(scene, application, event_id="evt")]))
    verdict = await only(store, [publication(scene, one, event_id="evt")])
    assert isinstance(verdict, ConflictError)
    assert not isinstance(verdict, StaleError)
    assert "'evt'" in verdict.detail


async def test_messages_without_an_event_id_never_collide(store: Store, scene: Scene) -> None:
    application, _ = await shop(scene)
    verdicts = await store.publish([publication(scene, application) for _ in range(5)])
    assert all(isinstance(verdict, Published) for verdict in verdicts)


async def test_a_refused_message_leaves_nothing_behind(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    births = [Birth(endpoint_id=endpoint.id, due_at=scene.now, lease_until=scene.now + 1_000)]
    stale = publication(scene, application, births, revision=application.revision + 1, event_id="e")
    assert isinstance(await only(store, [stale]), StaleError)
    assert await all_messages(store, application) == ()
    scene.pass_time(10_000)
    assert await scene.claim(lanes=[endpoint.id]) == ()
    kept(await only(store, [publication(scene, application, event_id="e")]))


@pytest.mark.parametrize(
    "change",
    ["new endpoint", "changed endpoint", "deleted endpoint", "disabled endpoint", "application"],
)
async def test_every_change_that_can_change_a_fan_out_makes_it_stale(
    store: Store, scene: Scene, change: str
) -> None:
    application, (endpoint,) = await shop(scene)
    kept(await only(store, [publication(scene, application)]))
    now = scene.now
    if change == "new endpoint":
        await scene.endpoint(application)
    elif change == "changed endpoint":
        draft = EndpointDraft(url=endpoint.url, event_types=frozenset({"part.updated"}))
        await store.update_endpoint(application.id, endpoint.public_id, draft, now=now)
    elif change == "deleted endpoint":
        await store.delete_endpoint(application.id, endpoint.public_id, now=now)
    elif change == "disabled endpoint":
        await store.disable_endpoint(endpoint.id, now=now)
    else:
        await store.update_application(
            ORGANIZATION, application.public_id, ApplicationDraft(name="new"), now=now
        )
    assert isinstance(await only(store, [publication(scene, application)]), StaleError)
    again = await fresh(scene, application)
    assert again.revision > application.revision
    kept(await only(store, [publication(scene, again)]))


async def test_nothing_is_published_for_an_application_that_is_gone(
    store: Store, scene: Scene
) -> None:
    application, _ = await shop(scene)
    await store.delete_application(ORGANIZATION, application.public_id, now=scene.now)
    assert isinstance(await only(store, [publication(scene, application)]), NotFoundError)


async def test_one_row_that_the_database_refuses_fails_its_caller_alone(
    store: Store, scene: Scene
) -> None:
    application, _ = await shop(scene)
    no_text = "msg_" + "\ud800"
    calls = [store.publish([publication(scene, application)]) for _ in range(6)]
    calls.insert(3, store.publish([publication(scene, application, public_id=no_text)]))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [3]
    assert len(await all_messages(store, application)) == 6


async def test_one_row_that_the_database_refuses_fails_alone_among_those_of_one_call(
    store: Store, scene: Scene
) -> None:
    application, _ = await shop(scene)
    publications = [publication(scene, application) for _ in range(7)]
    publications[4] = publication(scene, application, public_id="msg_" + "\ud800")
    verdicts = await store.publish(publications)
    refused = [place for place, one in enumerate(verdicts) if isinstance(one, UnavailableError)]
    assert refused == [4]
    messages = [one.message for one in verdicts if isinstance(one, Published)]
    assert [one.public_id for one in messages] == [
        one.message.public_id for place, one in enumerate(publications) if place != 4
    ]
    assert len(await all_messages(store, application)) == 6


class Unsure:
    """The real executor, of which the caller does not learn how one of its commits ended."""

    def __init__(self, inner: Executor, which: int) -> None:
        self._inner = inner
        self._left = which

    def commit(self, works: Sequence[Work]) -> list[Announced]:
        """See Executor.commit."""
        self._left -= 1
        changes = self._inner.commit(works)
        if not self._left:
            raise OutcomeUnknownError("It may have been kept.")
        return changes


async def test_what_is_not_known_of_a_part_is_not_known_of_the_call(
    store: Store, scene: Scene
) -> None:
    assert isinstance(store, WrittenStore)
    application, _ = await shop(scene)
    publications = [publication(scene, application) for _ in range(4)]
    publications[1] = publication(scene, application, public_id="msg_" + "\ud800")
    writer = store._writer
    writer._executor = Unsure(writer._executor, which=5)  # that of the last two
    with pytest.raises(OutcomeUnknownError):
        await store.publish(publications)
    await store.ping()
    assert len(await all_messages(store, application)) == 3


async def test_a_caller_that_is_cancelled_does_not_withdraw_its_messages(
    store: Store, scene: Scene
) -> None:
    application, _ = await shop(scene)
    task = asyncio.create_task(store.publish([publication(scene, application, event_id="gone")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.ping()
    (message,) = await all_messages(store, application)
    assert message.event_id == "gone"
