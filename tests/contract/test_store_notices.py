"""Notices for operators: written with what they tell of, or not at all."""

from __future__ import annotations

import pytest

from marketbell.model import Claim, DeliveryState, Endpoint, Verdict
from marketbell.store.base import Ages, Result, Store
from marketbell.store.operational_plane import HIDDEN, HIDDEN_UID, NoticeKind
from marketbell.testing.stores import ORGANIZATION, Scene

MINUTE = 60_000
DAY = 86_400_000


@pytest.fixture
async def operator(scene: Scene) -> Endpoint:
    """An operational endpoint of the organization that the scene's sellers belong to."""
    hidden = await scene.application(HIDDEN + ORGANIZATION, uid=HIDDEN_UID)
    return await scene.endpoint(hidden)


async def told(store: Store) -> list[NoticeKind]:
    """What is noted, oldest first; forgotten then."""
    waiting = await store.notices(100)
    assert all(one.organization == ORGANIZATION for one in waiting)
    await store.drop_notices(waiting)
    return [one.notice.kind for one in waiting]


async def fail(scene: Scene, claim: Claim, times: int) -> Claim:
    """Fail so many attempts of a delivery, each to be tried again; its next claim."""
    for _ in range(times):
        await scene.record(claim, 500, again_at=scene.now)
        (claim,) = await scene.claim()
    return claim


async def born(scene: Scene, store: Store) -> tuple[Claim, Endpoint]:
    """The claim of a new seller's first delivery, its endpoint told of."""
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await told(store)
    return claim, endpoint


async def test_without_an_operational_endpoint_nothing_is_written(
    store: Store, scene: Scene
) -> None:
    claim, endpoint = await born(scene, store)
    claim = await fail(scene, claim, 5)
    await scene.record(claim, 500)
    await scene.update(endpoint, disabled=True)
    assert await told(store) == []


async def test_nor_with_one_that_is_disabled_or_another_organizations(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    await scene.update(operator, disabled=True)
    strange = await scene.application("org_other")
    await scene.endpoint(strange)
    await scene.seller()
    assert await told(store) == []


async def test_the_fourth_failure_is_told_and_no_other(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    claim, _endpoint = await born(scene, store)
    claim = await fail(scene, claim, 3)
    assert await told(store) == []
    claim = await fail(scene, claim, 1)
    assert await told(store) == [NoticeKind.FAILING]
    claim = await fail(scene, claim, 3)
    assert await told(store) == []
    await scene.record(claim)
    assert await told(store) == [NoticeKind.RECOVERED]


async def test_success_before_the_fourth_failure_is_no_news(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    claim, _endpoint = await born(scene, store)
    await scene.record(await fail(scene, claim, 3))
    assert await told(store) == []


async def test_the_end_is_told_and_so_is_a_resend_that_succeeds(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    claim, endpoint = await born(scene, store)
    await scene.record(claim, 500)
    assert await told(store) == [NoticeKind.EXHAUSTED]
    for _ in range(2):
        await store.resend(
            endpoint.application_id, claim.message.public_id, endpoint.public_id, now=scene.now
        )
        (again,) = await scene.claim()
        await scene.record(again)
    assert await told(store) == [NoticeKind.RECOVERED]


async def test_an_attempt_that_is_recorded_twice_is_told_once(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    claim, _endpoint = await born(scene, store)
    claim = await fail(scene, claim, 3)
    verdict = Verdict(state=DeliveryState.PENDING, due_at=scene.now)
    result = Result(claim=claim, attempt=scene.attempt(claim, 500), verdict=verdict)
    await store.record([result, result])
    await store.record([result])
    await scene.record(claim, 500, again_at=scene.now)
    assert await told(store) == [NoticeKind.FAILING]


async def test_a_failure_of_a_lost_claim_moves_nothing_and_is_no_news(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    claim, _endpoint = await born(scene, store)
    late = await fail(scene, claim, 3)
    scene.pass_time(2 * MINUTE)
    (current,) = await scene.claim()
    await scene.record(late, 500, again_at=scene.now)
    await scene.record(late, 500)
    assert await told(store) == []
    await scene.record(current, 500, again_at=scene.now)
    assert await told(store) == [NoticeKind.FAILING]


async def test_the_server_disables_and_says_since_when(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    _claim, endpoint = await born(scene, store)
    await store.note_health(endpoint.id, scene.now - DAY)
    await store.disable_endpoint(endpoint.id, now=scene.now)
    await store.disable_endpoint(endpoint.id, now=scene.now)
    (waiting,) = await store.notices(10)
    notice = waiting.notice
    assert (notice.kind, notice.by_server) == (NoticeKind.DISABLED, True)
    assert (notice.endpoint, notice.failing_since) == (endpoint.public_id, scene.now - DAY)


async def test_the_endpoints_of_a_deleted_application_are_told(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    application, _endpoint = await scene.seller()
    await scene.endpoint(application)
    await told(store)
    await store.delete_application(ORGANIZATION, application.public_id, now=scene.now)
    assert await told(store) == [NoticeKind.DELETED, NoticeKind.DELETED]


async def test_operational_endpoints_themselves_are_not_told_of(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    hidden = await store.application(HIDDEN + ORGANIZATION, HIDDEN_UID)
    other = await scene.endpoint(hidden)
    await scene.update(other, description="d")
    (claim,) = (await scene.publish(hidden, other, lease=MINUTE)).claims
    await scene.record(claim, 500)
    await store.disable_endpoint(other.id, now=scene.now)
    assert await store.notices(10) == ()


async def test_announcements_go_with_their_messages(
    store: Store, scene: Scene, operator: Endpoint
) -> None:
    claim, endpoint = await born(scene, store)
    await scene.record(claim, 500)
    assert await store.prune_announced(limit=10) == 0
    scene.pass_time(9 * DAY)
    application = await store.application(ORGANIZATION, (await name_of(store, endpoint)))
    await scene.deliver(application, endpoint)
    await scene.prune(Ages(payloads=DAY, attempts=DAY, messages=DAY, audit=DAY))
    assert await store.prune_announced(limit=10) == 1


async def name_of(store: Store, endpoint: Endpoint) -> str:
    """The id of the application that an endpoint belongs to."""
    waiting = await store.notices(1)
    return waiting[0].notice.application
